"""The lines of an ARPA file as checked numbers; every fault is a DataError that names the file and the line.

    \\data\\              text before it is ignored
    ngram 1=3            how many n-grams of each order follow
    \\1-grams:
    -0.5 word -0.3       log10 probability, the words, and unless it is 0 the log10 of the back-off weight
    \\end\\
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import DataError
from lmkit.files import open_regular

__all__ = ["ArpaFile", "Section"]

LONGEST_LINE = 1 << 20  # bytes; a file that is not text must not be read as one line
HIGHEST_ORDER = 16
LINES_PER_REPORT = 1 << 14
LARGEST_WEIGHT = 1e3  # log10; sums of weights stay far from infinity
DATA, END = b"\\data\\", b"\\end\\"
COUNT = re.compile(rb"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})")


class Section(NamedTuple):
    """The n n-grams of one order k: words (n, k) as numbers, log10 of probabilities and back-off weights (n,), and the
    line (n,) of each.
    """

    words: NDArray[np.int64]
    log10_probs: NDArray[np.float64]
    log10_backoffs: NDArray[np.float64]
    lines: NDArray[np.int64]


class ArpaFile:
    """An ARPA file read from front to back: ``counts``, then ``section`` for each order.

    What is allocated grows with the lines that are there, never with the counts that the file declares. report: called
    now and then with the share of the file that was read.
    """

    def __init__(self, path: str | os.PathLike[str], report: Callable[[float], None] | None = None) -> None:
        self.path = os.fspath(path)
        self._report = report or (lambda share: None)
        try:
            self._file = open_regular(path)
        except FileNotFoundError:
            raise DataError(f"There is no ARPA file {self.path}.") from None
        except (OSError, ValueError) as error:
            shown = getattr(error, "strerror", None) or error
            raise DataError(f"The ARPA file {self.path} cannot be read: {shown}.") from error
        self._lines = self._numbered()
        self.line = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def error(self, message: str, line: int | None = None) -> DataError:
        """The error for a fault in a line, the one read last unless another is given."""
        return DataError(f"{self.path}, line {line or max(1, self.line)}: {message}")

    def counts(self) -> list[int]:
        """The declared number of n-grams of each order from 1 on; reads up to the head of the first section."""
        for line in self._lines:
            if line == DATA:
                break
        else:
            raise self.error("this is not an ARPA file: no line says \\data\\.")
        counts: list[int] = []
        for line in self._lines:
            if line.startswith(b"\\"):
                self._expect(line, b"\\1-grams:" if counts else b"ngram 1=")
                return counts
            match = COUNT.fullmatch(line)
            if match is None or int(match[1]) != len(counts) + 1:
                raise self.error(f"{_quote(line)} does not say how many {len(counts) + 1}-grams there are (ngram k=n).")
            counts.append(int(match[2]))
            if len(counts) > HIGHEST_ORDER:
                raise self.error(f"n-grams longer than {HIGHEST_ORDER} words are not supported.")
        raise self._cut_off()

    def section(self, order: int, counts: list[int], numbers: Mapping[bytes, int]) -> Section:
        """The n-grams of one order, up to the next head of a section or the end; words become their numbers."""
        words, lines = array("q"), array("q")
        probs, backoffs = array("d"), array("d")
        declared = counts[order - 1]
        for line in self._lines:
            if line.startswith(b"\\"):
                break
            fields = line.split()
            if len(fields) != order + 1 and len(fields) != order + 2:
                raise self.error(f"{_quote(line)} is no {order}-gram with its log10 probability and back-off weight.")
            if len(lines) == declared:
                raise self.error(f"there are more {order}-grams than the {declared:,} that the file declares.")
            try:
                probs.append(float(fields[0]))
                backoffs.append(float(fields[-1]) if len(fields) > order + 1 else 0.0)
                words.extend(map(numbers.__getitem__, fields[1 : order + 1]))
            except ValueError:
                raise self.error(f"{_quote(line)} does not hold numbers where they belong.") from None
            except KeyError as error:
                raise self.error(f"the word {_quote(error.args[0])} is not among the 1-grams.") from None
            lines.append(self.line)
        else:
            raise self._cut_off()
        if len(lines) < declared:
            raise self.error(f"the file declares {declared:,} {order}-grams, but there are {len(lines):,}.")
        self._expect(line, b"\\%d-grams:" % (order + 1) if order < len(counts) else END)
        section = Section(_integers(words).reshape(-1, order), _floats(probs), _floats(backoffs), _integers(lines))
        self._check(section)
        return section

    def _check(self, section: Section) -> None:
        # What is not a number fails both comparisons.
        wrong = ~(section.log10_probs <= 0) | ~(np.abs(section.log10_backoffs) < LARGEST_WEIGHT)
        if wrong.any():
            index = int(np.argmax(wrong))
            probability, weight = section.log10_probs[index], section.log10_backoffs[index]
            raise self.error(
                f"a log10 probability must be 0 or less and a log10 weight below {LARGEST_WEIGHT:g}, "
                f"not {probability:g} and {weight:g}.",
                int(section.lines[index]),
            )

    def _expect(self, line: bytes, expected: bytes) -> None:
        if line != expected:
            raise self.error(f"{_quote(line)} stands where {_quote(expected)} should.")

    def _cut_off(self) -> DataError:
        return self.error("the file ends before \\end\\: it was cut off.")

    def _numbered(self) -> Iterator[bytes]:
        """The lines that are not blank, without white space around them; ``line`` counts all."""
        lines: Iterable[bytes] = iter(partial(self._file.readline, LONGEST_LINE), b"")
        size, read = os.fstat(self._file.fileno()).st_size, 0
        try:
            for self.line, line in enumerate(lines, 1):
                read += len(line)
                if self.line % LINES_PER_REPORT == 0:
                    self._report(min(1.0, read / max(1, size)))
                if len(line) == LONGEST_LINE:
                    raise self.error(f"the line is longer than {LONGEST_LINE:,} bytes: this is not an ARPA file.")
                if self.line == 1 and line.startswith(b"\x1f\x8b"):
                    raise self.error("the file is compressed: unpack it first (gunzip).")
                line = line.strip()
                if line:
                    yield line
        except OSError as error:
            raise DataError(f"The ARPA file {self.path} cannot be read: {error}.") from error


def _quote(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return repr(text if len(text) <= 60 else text[:60] + "...").replace("\\\\", "\\")


def _integers(values: array[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _floats(values: array[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
