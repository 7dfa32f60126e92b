"""Writing files so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from lmkit.errors import FailedError

__all__ = ["default_mode", "replace_file", "sync_folder", "write_atomically"]


def replace_file(path: Path, content: bytes) -> None:
    """Write under a temporary name beside the file, flush to the disk, rename into place. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_atomically(path: Path, content: bytes | str) -> None:
    """``replace_file`` for what a user asked for: raises FailedError if the disk refuses (full, read-only)."""
    try:
        replace_file(path, content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise FailedError(f"Cannot write {path}: {error.strerror or error}.") from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut. Systems that cannot open folders have no such
    call.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def default_mode(mode: int) -> int:
    """The mode that a new folder gets here: temporary ones are made for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask
