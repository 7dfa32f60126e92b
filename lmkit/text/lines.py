"""Lines by their hash: which come again, in constant memory however long a line or a text is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from lmkit.text.sources.source import Piece

__all__ = ["MANY_DUPLICATES", "MUCH_OVERLAP", "SHORTEST_LINE", "LineCounts", "LineHasher", "line_hashes"]

SHORTEST_LINE = 40  # characters: shorter lines (names of speakers, headings) come again in honest texts
MOST_LINES = 1 << 20  # different ones that are kept; with more, a fixed share of them
MANY_DUPLICATES = 0.05
MUCH_OVERLAP = 0.01  # of what is measured with what was trained on


class LineCounts:
    """How often each line comes, by hash; in bounded memory.

    When there are too many, only lines whose hash has one more trailing zero bit are kept, all copies of them, so that
    rates stay estimates without bias (distinct sampling, Gibbons 2001).
    """

    def __init__(self, most: int = MOST_LINES) -> None:
        self.most = most
        self.mask = 0
        self.counts: dict[int, int] = {}

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> LineCounts:
        """Those of some documents."""
        found = cls()
        for line in line_hashes(pieces):
            found.add(line)
        return found

    def add(self, line: int) -> None:
        """Count a line."""
        if line & self.mask:
            return
        self.counts[line] = self.counts.get(line, 0) + 1
        while len(self.counts) > self.most:
            self.mask = 2 * self.mask + 1
            self.counts = {known: count for known, count in self.counts.items() if not known & self.mask}

    @property
    def is_estimate(self) -> bool:
        """Whether some lines were skipped."""
        return self.mask != 0

    @property
    def duplicate_rate(self) -> float:
        """Share of the lines that came before."""
        total = sum(self.counts.values())
        return 1 - len(self.counts) / total if total else 0.0

    def share_known(self, lines: Iterable[int]) -> tuple[float, int]:
        """Share of other lines that are among these, and how many were looked up."""
        looked_up = known = 0
        for line in lines:
            if not line & self.mask:
                looked_up += 1
                known += line in self.counts
        return (known / looked_up if looked_up else 0.0), looked_up


class LineHasher:
    """Gives a 64-bit hash of every line of at least ``shortest`` characters, of a document that comes in chunks."""

    def __init__(self, shortest: int = SHORTEST_LINE) -> None:
        self.shortest = shortest
        self._begin()

    def _begin(self) -> None:
        self._line, self._length = hashlib.blake2b(digest_size=8), 0

    def add(self, chunk: str) -> Iterator[int]:
        """The lines that a chunk ends."""
        *ended, rest = chunk.split("\n")
        if ended:
            self._extend(ended[0])
            yield from self.end()
            for line in ended[1:]:
                if len(line) >= self.shortest:
                    yield int.from_bytes(hashlib.blake2b(line.encode("utf-8"), digest_size=8).digest(), "little")
        self._extend(rest)

    def end(self) -> Iterator[int]:
        """The line that the document's end ends."""
        if self._length >= self.shortest:
            yield int.from_bytes(self._line.digest(), "little")
        self._begin()

    def _extend(self, part: str) -> None:
        self._line.update(part.encode("utf-8"))
        self._length += len(part)


def line_hashes(pieces: Iterable[Piece], shortest: int = SHORTEST_LINE) -> Iterator[int]:
    """The hashes of the lines of some documents; a line ends with its document."""
    hasher, number = LineHasher(shortest), -1
    for document, text in pieces:
        if document != number:
            yield from hasher.end()
            number = document
        yield from hasher.add(text)
    yield from hasher.end()
