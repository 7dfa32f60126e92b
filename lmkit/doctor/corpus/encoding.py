"""The bytes of a text, before anything decodes them: faults of UTF-8 with their offsets, line ends, NUL, marks."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lmkit.doctor.check import FAILED, OK, WARNING, Check
from lmkit.text.sources.reading import read_blocks
from lmkit.text.sources.source import Source
from lmkit.text.traits import RETURNS

__all__ = ["ByteScan", "Fault", "byte_checks", "scan_source"]

PIECE = 1 << 16  # decoded at once: an error copies what it was given
MOST_FAULTS = 1000  # noted of one file: a binary file has millions
SHOWN = 10
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
    """What was counted over all files: bytes, line ends by kind, NUL, marks at the beginning, and the faults of UTF-8.

    ``more`` are the files with more faults than were noted.
    """

    files: int = 0
    size: int = 0
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
        decoder = _Decoder(name)
        last = b""
        for number, block in enumerate(blocks):
            if number == 0:
                self.marked += [name] if block.startswith(BOM) else []
                self.utf16 += [name] if block.startswith(UTF16_MARKS) else []
            pairs = block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            self.size += len(block)
            self.pairs += pairs
            self.line_feeds += block.count(b"\n") - pairs
            self.returns += block.count(b"\r") - pairs
            self.nuls += block.count(b"\0")
            decoder.feed(block)
            last = block[-1:]
        decoder.feed(b"", final=True)
        self.files += 1
        self.faults += decoder.faults
        self.more += [name] if decoder.gave_up else []


class _Decoder:
    """Decodes one file strictly and continues after each fault, so that all are found and not the first alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[Fault] = []
        self.gave_up = False
        self.rest, self.offset, self.line = b"", 0, 1

    def feed(self, block: bytes, *, final: bool = False) -> None:
        data = self.rest + block
        begin = 0
        while begin < len(data) and not self.gave_up:
            end = min(len(data), begin + PIECE)
            try:
                _, used = codecs.utf_8_decode(data[begin:end], "strict", final and end == len(data))
            except UnicodeDecodeError as error:
                self._note(data, begin, error)
                used = error.end
            if used == 0:
                break  # a character that the next block completes
            self.line += data.count(b"\n", begin, begin + used)
            begin += used
        self.rest = data[begin:]
        self.offset += begin

    def _note(self, data: bytes, start: int, error: UnicodeDecodeError) -> None:
        begin = start + error.start
        line = self.line + data.count(b"\n", start, begin)
        if len(self.faults) == MOST_FAULTS:
            self.gave_up = True
        else:
            self.faults.append(Fault(self.name, self.offset + begin, line, data[begin : start + error.end]))


def scan_source(source: Source) -> ByteScan:
    """Read every file of a source; where it has none, what its documents are made of."""
    scan = ByteScan()
    for path in source.files:
        scan.add(str(path), read_blocks(path))
    if scan.files == 0:
        for documents in source.parts.values():
            for document in documents:
                scan.add(document.name, (chunk.encode("utf-8", "surrogatepass") for chunk in document.chunks()))
    return scan


def byte_checks(scan: ByteScan) -> Iterator[Check]:
    """What the bytes show: faults of UTF-8 stop a training, the others change what is learned."""
    yield _utf8(scan)
    yield _line_ends(scan)
    nuls = "They become a token of their own: a binary file may be among the texts."
    yield Check("NUL bytes", WARNING if scan.nuls else OK, f"{scan.nuls:,}", scan.nuls, (nuls,) if scan.nuls else ())
    advice = tuple(f"{name} begins with a byte order mark: it becomes a token." for name in scan.marked[:SHOWN])
    number = len(scan.marked)
    yield Check("byte order marks", WARNING if number else OK, f"{number:,}", number, advice)


def _utf8(scan: ByteScan) -> Check:
    number = len(scan.faults)
    if not number:
        return Check("UTF-8", OK, f"{scan.size:,} bytes in {_files(scan.files)}", 0)
    shown = [str(fault) for fault in scan.faults[:SHOWN]]
    if number > SHOWN:
        shown.append(f"... and {number - SHOWN:,} more.")
    shown += [f"{name} looks like UTF-16: convert it to UTF-8." for name in scan.utf16]
    least = "at least " if scan.more else ""
    files = len({fault.file for fault in scan.faults})
    return Check(
        "UTF-8", FAILED, f"{least}{number:,} faults in {files:,} of {_files(scan.files)}", number, tuple(shown)
    )


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def _line_ends(scan: ByteScan) -> Check:
    kinds = {"\\n": scan.line_feeds, "\\r\\n": scan.pairs, "\\r": scan.returns}
    present = [f"{count:,} {name}" for name, count in kinds.items() if count]
    finding = ", ".join(present) or "none"
    if not scan.pairs and not scan.returns:
        return Check("line endings", OK, finding, 0)
    mixed = ("They are mixed.",) if len(present) > 1 else ()
    return Check("line endings", WARNING, finding, scan.pairs + scan.returns, (*mixed, RETURNS))
