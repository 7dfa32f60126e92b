"""Files as text: strict UTF-8 in chunks, line endings untouched, compressed files unpacked on the way."""

from __future__ import annotations

import codecs
import gzip
import importlib
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from lmkit.errors import DataError
from lmkit.files import open_regular

__all__ = ["decode_chunks", "looks_like_text", "read_blocks", "read_text"]

BLOCK = 1 << 20
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> Iterator[str]:
    """The text of a file (.gz and .zst are unpacked) in chunks of at most about a million characters.

    Raises DataError with the file's name where it cannot be read, and the byte offset (in the unpacked text) where it
    is not UTF-8.
    """
    yield from decode_chunks(read_blocks(path), str(path))


def decode_chunks(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Decode UTF-8 strictly, a character cut by a block's border included; nothing is translated or dropped."""
    rest = b""
    offset = 0
    for block in blocks:
        text, used = _decode(rest + block, offset, name, final=False)
        rest = (rest + block)[used:]
        offset += used
        if text:
            yield text
    _decode(rest, offset, name, final=True)


def looks_like_text(path: Path) -> bool:
    """Whether the first block of a file is UTF-8 without NUL; False where it cannot be unpacked."""
    try:
        block = next(iter(read_blocks(path)), b"")
        codecs.utf_8_decode(block, "strict", False)
    except (DataError, UnicodeDecodeError):
        return False
    return b"\0" not in block


def _decode(data: bytes, offset: int, name: str, *, final: bool) -> tuple[str, int]:
    try:
        return codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError as error:
        place = offset + error.start
        value = data[error.start]
        utf16 = offset == 0 and data[:2] in UTF16_MARKS
        hint = "it looks like UTF-16" if utf16 else f"byte 0x{value:02x} does not belong there"
        raise DataError(f"{name} is not UTF-8 at byte offset {place}: {hint}; convert it to UTF-8 first.") from error


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
        raise DataError(f"{path} may not be read: check its permissions.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or incomplete .gz file ({error}): fetch it again.") from error
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
            raise DataError(f"{self._path} is a damaged or incomplete .zst file ({error}): fetch it again.") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
