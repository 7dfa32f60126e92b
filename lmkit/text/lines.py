"""Lines by their hash: which come again, in constant memory however long a line or a text is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from lmkit.text.line_hash import NONE, Hashes, OpenLine, hash_lines
from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.source import ChunkPiece

__all__ = ["MANY_DUPLICATES", "MUCH_OVERLAP", "SHORTEST_LINE", "LineCounts", "LineHasher", "line_hashes"]

SHORTEST_LINE = 40  # characters: shorter lines (names of speakers, headings) come again in honest texts
MOST_LINES = 1 << 20  # different ones that are kept; with more, a fixed share of them
MANY_DUPLICATES = 0.05
MUCH_OVERLAP = 0.01  # of what is measured with what was trained on
LINE_END = ord("\n")
FIRST_OF_SEVERAL = 0xC0  # bytes of a character of several that are not its first one are below


class LineCounts:
    """How often each line comes, by hash; in bounded memory.

    When there are too many, only lines whose hash has one more trailing zero bit are kept, all copies of them, so that
    rates stay estimates without bias (distinct sampling, Gibbons 2001).
    """

    def __init__(self, most: int = MOST_LINES) -> None:
        self.most = most
        self.mask = 0
        self.counts: Counter[int] = Counter()

    @classmethod
    def of(cls, pieces: Iterable[ChunkPiece]) -> LineCounts:
        """Those of some documents."""
        found = cls()
        for lines in line_hashes(pieces):
            found.add(lines)
        return found

    def add(self, lines: Hashes) -> None:
        """Count some lines; what is kept does not depend on how many come at once."""
        self.counts.update(self._kept(lines))
        while len(self.counts) > self.most:
            self.mask = 2 * self.mask + 1
            self.counts = Counter({line: count for line, count in self.counts.items() if not line & self.mask})

    @property
    def is_estimate(self) -> bool:
        """Whether some lines were skipped."""
        return self.mask != 0

    @property
    def duplicate_rate(self) -> float:
        """Share of the lines that came before."""
        total = sum(self.counts.values())
        return 1 - len(self.counts) / total if total else 0.0

    def share_known(self, pieces: Iterable[ChunkPiece]) -> tuple[float, int]:
        """Share of the lines of other documents that are among these, and how many were looked up."""
        looked_up = known = 0
        for lines in line_hashes(pieces):
            kept = self._kept(lines)
            looked_up += len(kept)
            known += sum(map(self.counts.__contains__, kept))
        return (known / looked_up if looked_up else 0.0), looked_up

    def _kept(self, lines: Hashes) -> list[int]:
        found: list[int] = (lines[lines & np.uint64(self.mask) == 0] if self.mask else lines).tolist()
        return found


class LineHasher:
    """Gives a 64-bit hash of every line of at least ``shortest`` characters, of a document that comes in chunks."""

    def __init__(self, shortest: int = SHORTEST_LINE) -> None:
        self.shortest = shortest
        self._begin()

    def _begin(self) -> None:
        self._open = OpenLine()
        self._chars = 0

    def add(self, chunk: Chunk) -> Hashes:
        """The lines that a chunk ends, (L,)."""
        (ends,) = np.nonzero(chunk.bytes == LINE_END)
        if not len(ends):
            self._extend(chunk.data)
            return NONE
        self._extend(chunk.data[: ends[0]])
        begun = self.end()
        chars = np.diff(ends) - 1 - _later_bytes(chunk, ends)
        (long,) = np.nonzero(chars >= self.shortest)
        found = hash_lines(chunk.data, ends[long] + 1, ends[long + 1])
        self._extend(chunk.data[ends[-1] + 1 :])
        return np.concatenate([begun, found])

    def end(self) -> Hashes:
        """The line that the document's end ends, if it is long enough, (0,) or (1,)."""
        found = self._open.hash() if self._chars >= self.shortest else NONE
        self._begin()
        return found

    def _extend(self, part: bytes) -> None:
        self._open.extend(part)
        self._chars += len(part) if part.isascii() else len(part.decode("utf-8"))


def _later_bytes(chunk: Chunk, ends: NDArray[np.int64]) -> NDArray[np.int64] | int:
    """How many bytes of the lines between these line ends do not begin a character, (L,)."""
    if not len(chunk.wide):
        return 0
    later = chunk.wide[chunk.bytes[chunk.wide] < FIRST_OF_SEVERAL]
    return np.bincount(np.searchsorted(ends, later), minlength=len(ends) + 1)[1 : len(ends)]


def line_hashes(pieces: Iterable[ChunkPiece], shortest: int = SHORTEST_LINE) -> Iterator[Hashes]:
    """The hashes of the lines of some documents, as the pieces bring them; a line ends with its document."""
    hasher, number = LineHasher(shortest), -1
    for document, chunk in pieces:
        if document != number:
            yield hasher.end()
            number = document
        yield hasher.add(chunk)
    yield hasher.end()
