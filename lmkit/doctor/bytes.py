"""The bytes of a text, before anything decodes them: faults of UTF-8 with their places, line ends, NUL, marks."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from lmkit.doctor.check import FAILED, OK, WARNING, Check
from lmkit.text.reading import _blocks as read_blocks  # the bytes of a file, unpacked: read_text without decoding
from lmkit.text.source import Source

__all__ = ["ByteScan", "Fault", "byte_checks", "scan_source"]

PIECE = 1 << 16  # decoded at once: an error copies what it was given
MOST_FAULTS = 1000  # of one file: a binary file has millions
SHOWN_FAULTS = 10
BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Fault:
    """Bytes that are no UTF-8: in which file, after how many bytes (unpacked), in which line, and which they are."""

    file: str
    offset: int
    line: int
    data: bytes

    def __str__(self) -> str:
        shown = " ".join(f"0x{byte:02x}" for byte in self.data)
        return f"{self.file}, line {self.line:,}, byte offset {self.offset:,}: {shown}."


@dataclass
class ByteScan:
    """What was counted over all files: line ends by kind, NUL, marks, and the faults of UTF-8."""

    files: int = 0
    bytes: int = 0
    line_feeds: int = 0
    pairs: int = 0
    returns: int = 0
    nuls: int = 0
    marked: list[str] = field(default_factory=list)
    utf16: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    more: list[str] = field(default_factory=list)

    def add(self, name: str, blocks: Iterable[bytes]) -> None:
        """Read one file."""
        self.files += 1
        found = self._faults(name, self._counted(name, blocks))
        self.faults += islice(found, MOST_FAULTS)
        if next(found, None) is not None:
            self.more.append(name)
        for _ in found:  # read on for the other counts, even where faults are no longer noted
            if len(self.faults) > MOST_FAULTS:
                break

    def _counted(self, name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the blocks through; a pair of bytes may be cut by a border."""
        last, first = b"", True
        for block in blocks:
            if first:
                self.marked += [name] if block.startswith(BOM) else []
                self.utf16 += [name] if block.startswith(UTF16_MARKS) else []
            pairs = block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            self.bytes += len(block)
            self.pairs += pairs
            self.line_feeds += block.count(b"\n") - pairs
            self.returns += block.count(b"\r") - pairs
            self.nuls += block.count(b"\0")
            last, first = block[-1:], False
            yield block

    def _faults(self, name: str, blocks: Iterable[bytes]) -> Iterator[Fault]:
        """Strict decoding that goes on after each fault, so that all are found and not the first alone."""
        rest, before, line = b"", 0, 1
        for block in (*[], blocks):
            del block
        yield from ()
