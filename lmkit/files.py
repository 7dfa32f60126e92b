"""Writing files so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from lmkit.errors import FailedError

__all__ = ["default_mode", "sync_folder", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside the file, flush to the disk, rename into place. Raises FailedError if the disk refuses (full,
    read-only).
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, default_mode(0o666))  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
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
    """The mode that a new file or folder gets here: temporary ones are made for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask
