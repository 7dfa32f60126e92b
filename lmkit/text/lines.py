"""Lines by their hash: which come again, in constant memory however long a line or a text is."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.source import ChunkPiece

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
        self.counts: Counter[int] = Counter()

    @classmethod
    def of(cls, pieces: Iterable[ChunkPiece]) -> LineCounts:
        """Those of some documents."""
        found = cls()
        for lines in line_hashes(pieces):
            found.add(lines)
        return found

    def add(self, lines: Iterable[int]) -> None:
        """Count some lines; what is kept does not depend on how many come at once."""
        self.counts.update([line for line in lines if not line & self.mask] if self.mask else lines)
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
        for line in chain.from_iterable(line_hashes(pieces)):
            if not line & self.mask:
                looked_up += 1
                known += line in self.counts
        return (known / looked_up if looked_up else 0.0), looked_up


class LineHasher:
    """Gives a 64-bit hash of every line of at least ``shortest`` characters, of a document that comes in chunks.

    It is the CRC of the line below its length in bytes: that takes a quarter of the time of a cryptographic hash, and
    two different lines of one length have the same once in 2^32 pairs.
    """

    def __init__(self, shortest: int = SHORTEST_LINE) -> None:
        self.shortest = shortest
        self._begin()

    def _begin(self) -> None:
        self._crc = self._bytes = self._chars = 0

    def add(self, chunk: Chunk) -> list[int]:
        """The lines that a chunk ends."""
        first, *lines = chunk.data.split(b"\n")
        self._extend(first)
        if not lines:
            return []
        rest, found = lines.pop(), self.end()
        whole = [line for line in lines if len(line) >= self.shortest]
        if not chunk.data.isascii():
            whole = [line for line in whole if len(line) >= 4 * self.shortest or _chars(line) >= self.shortest]
        found += [len(line) << 32 | zlib.crc32(line) for line in whole]
        self._extend(rest)
        return found

    def end(self) -> list[int]:
        """The line that the document's end ends, if it is long enough."""
        found = [self._bytes << 32 | self._crc] if self._chars >= self.shortest else []
        self._begin()
        return found

    def _extend(self, part: bytes) -> None:
        self._crc = zlib.crc32(part, self._crc)
        self._bytes += len(part)
        self._chars += _chars(part)


def _chars(line: bytes) -> int:
    return len(line) if line.isascii() else len(line.decode("utf-8"))


def line_hashes(pieces: Iterable[ChunkPiece], shortest: int = SHORTEST_LINE) -> Iterator[list[int]]:
    """The hashes of the lines of some documents, as the pieces bring them; a line ends with its document."""
    hasher, number = LineHasher(shortest), -1
    for document, chunk in pieces:
        if document != number:
            yield hasher.end()
            number = document
        yield hasher.add(chunk)
    yield hasher.end()
