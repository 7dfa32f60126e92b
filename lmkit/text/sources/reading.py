"""Files as text: strict UTF-8 in chunks, line endings untouched, compressed files unpacked on the way."""

from __future__ import annotations

import codecs
import gzip
import importlib
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, NamedTuple, cast

from lmkit.errors import DataError
from lmkit.files import open_regular
from lmkit.text.sources.chunk import Chunk

__all__ = ["decode_chunks", "looks_like_text", "read_blocks", "read_text", "read_utf8"]

BLOCK = 1 << 19  # with what is made of it, it fits into a processor's cache
SAMPLE = 4096  # bytes around a fault that reveal the encoding
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# What people give as text and is none, by its first bytes.
NO_TEXT = {
    b"%PDF-": "is a PDF, not text: extract the text first, for example with `pdftotext`.",
    b"{\\rtf": "is an RTF document: save it as plain text first.",
    b"PK\x03\x04": "is a zip archive, as .docx, .odt and .epub files are: save it as plain text first.",
    b"\xd0\xcf\x11\xe0": "is a Word document: save it as plain text first.",
    b"\x1f\x8b": "is compressed with gzip: give it a name that ends in .gz.",
    b"\x28\xb5\x2f\xfd": "is compressed with Zstandard: give it a name that ends in .zst.",
}


def read_text(path: Path) -> Iterator[str]:
    """The text of a file (.gz and .zst are unpacked) in chunks of at most about a million characters.

    Raises DataError with the file's name where it cannot be read, and the byte offset (in the unpacked text) where it
    is not UTF-8.
    """
    return decode_chunks(read_blocks(path), str(path))


def read_utf8(path: Path) -> Iterator[Chunk]:
    """The same text as ``read_text`` gives, with the same errors, in UTF-8."""
    return whole_characters(read_blocks(path), str(path))


def decode_chunks(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Decode UTF-8 strictly, a character cut by a block's border included; nothing is translated or dropped."""
    for chunk in whole_characters(blocks, name):
        yield chunk.text


def whole_characters(blocks: Iterable[bytes], name: str) -> Iterator[Chunk]:
    """Blocks of UTF-8, cut again between characters. Raises DataError, with the byte offset, for what is not UTF-8."""
    rest = b""
    reached = _Reached(0, 1, True)
    for number, block in enumerate(blocks):
        if number == 0 and (kind := _other_kind(block)):
            raise DataError(f"{name} {kind}")
        data = rest + block
        end = _end_of_characters(data)
        chunk, rest = Chunk(data[:end]), data[end:]
        try:
            _ = chunk.rare
        except UnicodeDecodeError:
            _decode(data, reached, name, final=False)
            raise  # not reached: what is wrong in a part is wrong in the whole
        reached = reached.after(chunk)
        if chunk.data:
            yield chunk
    _decode(rest, reached, name, final=True)


def _end_of_characters(data: bytes) -> int:
    """Where the character begins that the data may end inside of; its end where it ends with a character, or with bytes
    that no character begins with.
    """
    for back in range(1, min(4, len(data) + 1)):
        if data[-back] >= 0xC0:
            try:
                return len(data) - back + codecs.utf_8_decode(data[-back:], "strict", False)[1]
            except UnicodeDecodeError:
                break
        if data[-back] < 0x80:
            break
    return len(data)


def looks_like_text(path: Path) -> bool:
    """Whether the first block of a file is UTF-8 without NUL, and no document of another kind; False where it cannot be
    unpacked.
    """
    try:
        block = next(iter(read_blocks(path)), b"")
        codecs.utf_8_decode(block, "strict", False)
    except (DataError, UnicodeDecodeError):
        return False
    return b"\0" not in block and not _other_kind(block)


class _Reached(NamedTuple):
    """How far a text is decoded: bytes, the line, and whether all of it is ASCII."""

    offset: int
    line: int
    is_ascii: bool

    def after(self, chunk: Chunk) -> _Reached:
        is_ascii = self.is_ascii and chunk.data.isascii()
        return _Reached(self.offset + len(chunk.data), self.line + chunk.line_ends, is_ascii)


def _other_kind(block: bytes) -> str:
    return next((what for mark, what in NO_TEXT.items() if block.startswith(mark)), "")


def _decode(data: bytes, reached: _Reached, name: str, *, final: bool) -> None:
    """Raise DataError, with what to do, where the data is not UTF-8."""
    try:
        codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError as error:
        start, value = error.start, data[error.start]
        fault_at = reached.after(Chunk(data[:start]))
        fault = f"at byte offset {fault_at.offset}, line {fault_at.line:,}: byte 0x{value:02x} does not belong there"
        hint = "It ends in the middle of a character: the file may be cut off."
        if "end of data" not in error.reason:
            hint = _what_to_do(data, fault_at, start, name)
        raise DataError(f"{name} is not UTF-8 {fault}. {hint}") from error


def _what_to_do(data: bytes, fault_at: _Reached, start: int, name: str) -> str:
    """The likeliest encoding of a text that is not UTF-8 at some byte, and the command that converts it."""
    if fault_at.offset == start and data[:2] in UTF16_MARKS:
        return f"It looks like UTF-16: {_conversion('UTF-16', name)}"
    around = data[max(0, start - SAMPLE) : start + SAMPLE]
    if b"\0" in around:
        return "It looks like a binary file: give plain text."
    if not fault_at.is_ascii:
        return "What stands before it is UTF-8: correct that line."
    # Windows-1252 has its quotes and dashes where Latin-1 has control characters
    windows = any(0x80 <= byte < 0xA0 for byte in around[min(start, SAMPLE) :])
    encoding, shown = ("WINDOWS-1252", "Windows-1252") if windows else ("LATIN1", "Latin-1")
    return f"It may be {shown}: {_conversion(encoding, name)}"


def _conversion(encoding: str, name: str) -> str:
    path = Path(name)
    if not path.is_file() or path.suffix in (".gz", ".zst"):
        return f"convert it with `iconv -f {encoding} -t UTF-8` first."
    made = path.with_name(f"{path.stem}-utf8{path.suffix}")
    return f"convert it with `iconv -f {encoding} -t UTF-8 {quote(name)} > {quote(str(made))}`."


def read_blocks(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file, _unpacked(path, file) as unpacked:
            while block := unpacked.read(BLOCK):
                yield block
    except FileNotFoundError:
        raise DataError(f"There is no file {path}: check its name.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file.") from None
    except PermissionError:
        raise DataError(f"{path} is not readable: check its permissions.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or incomplete .gz file ({error}): download it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _unpacked(path: Path, file: BinaryIO) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    return _unpacked_zstandard(path, file) if path.suffix == ".zst" else file


def _unpacked_zstandard(path: Path, file: BinaryIO) -> BinaryIO:
    """The standard library's decoder (Python 3.14 and later), or the package zstandard."""
    for name in ("compression.zstd", "zstandard"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return cast(BinaryIO, io.BufferedReader(_Unpacked(module.open(file, "rb"), path)))
    raise DataError(f"{path} needs a Zstandard decoder: unpack it first, or pip install zstandard.")


class _Unpacked(io.RawIOBase):
    """A decoder's stream whose own errors become DataErrors."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream = stream
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data: bytes = self._stream.read(len(buffer))
        except Exception as error:
            raise DataError(
                f"{self._path} is a damaged or incomplete .zst file ({error}): download it again."
            ) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
