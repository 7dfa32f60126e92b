"""Traits: what a model would learn from a text without anybody wanting it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from lmkit.text.lines import MANY_DUPLICATES, SHORTEST_LINE, LineCounts, LineHasher
from lmkit.text.sources.chunk import Chunk
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["MEMORISED", "RETURNS", "TABLE", "TraitMeter", "Traits", "text_notes"]

RETURNS = "Each \\r is a character that the model must learn: convert line ends to \\n (dos2unix)."
MEMORISED = "The model memorises repeated text: remove the copies."
TABLE = "The model learns its columns and separators as well: give the text of one column alone."
MOST_LINES = 1 << 16  # different ones: enough for a share in percent
SNIFFED = 1 << 16  # characters
FEWEST_ROWS = 10
FEWEST_COLUMNS = {",": 3, ";": 3, "|": 3, "\t": 2}  # by separator: prose has commas, too
TABLE_SUFFIXES = {".csv", ".tsv"}


@dataclass(frozen=True)
class Traits:
    """line_pairs: how often ``\\r\\n`` comes. repeated: the share of the lines of SHORTEST_LINE characters or more that
    came before. table: whether the text is one, such as a CSV file.
    """

    line_pairs: int = 0
    repeated: float = 0.0
    table: bool = False


def text_notes(traits: Traits, tokenizer: Tokenizer) -> tuple[str, ...]:
    """What to say of a text before a model is trained on it, one line each."""
    notes = []
    if traits.line_pairs and not tokenizer.eos_is_line_end:  # words are read without their white space
        notes.append(f"The text has {traits.line_pairs:,} line ends of Windows (\\r\\n). {RETURNS}")
    if traits.table:
        notes.append(f"The text is a table (CSV). {TABLE}")
    if traits.repeated > MANY_DUPLICATES:
        share = f"{traits.repeated:.0%} of the lines of {SHORTEST_LINE} characters or more"
        notes.append(f"{share} repeat another. {MEMORISED}")
    return tuple(notes)


class TraitMeter:
    """Finds the traits of documents that come in chunks, one after the other; in constant memory."""

    def __init__(self) -> None:
        self._lines = LineCounts(MOST_LINES)
        self._line_pairs = 0
        self._table = False

    def watch(self, name: str, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass the chunks of one document through."""
        hasher, begin, last = LineHasher(), "", b""
        for chunk in chunks:
            data = chunk.data
            if len(begin) < SNIFFED:
                begin += chunk.part(0, SNIFFED - len(begin)).text
            if last == b"\r" or b"\r" in data:
                self._line_pairs += data.count(b"\r\n") + (last == b"\r" and data.startswith(b"\n"))
            last = data[-1:]
            self._lines.add(hasher.add(chunk))
            yield chunk
        self._lines.add(hasher.end())
        self._table = self._table or _is_table(name, begin)

    @property
    def traits(self) -> Traits:
        """What was found so far."""
        return Traits(self._line_pairs, self._lines.duplicate_rate, self._table)


def _is_table(name: str, begin: str) -> bool:
    """Whether a document is called a table, or has one number of fields in all its first rows."""
    if TABLE_SUFFIXES & set(PurePath(name).suffixes):
        return True
    lines = begin.splitlines()
    if len(begin) == SNIFFED:
        lines = lines[:-1]  # it may continue
    return len(lines) >= FEWEST_ROWS and any(
        _columns(lines, separator) >= fewest for separator, fewest in FEWEST_COLUMNS.items()
    )


def _columns(lines: list[str], separator: str) -> int:
    """How many fields every row has, 0 where they differ."""
    if separator not in lines[0]:
        return 0
    try:
        widths = (len(row) for row in csv.reader(lines, delimiter=separator) if row)
        first = next(widths, 0)
        return first if all(width == first for width in widths) else 0  # the first other width ends the reading
    except csv.Error:  # a field that is too long
        return 0
