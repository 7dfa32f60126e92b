"""Writing files so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from lmkit.errors import FailedError, RunError

__all__ = [
    "check_new_folder",
    "default_mode",
    "exists",
    "is_file",
    "is_folder",
    "remove_temporary_files",
    "replace_file",
    "sync_folder",
    "write_atomically",
]

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}")


def exists(path: Path) -> bool:
    """Whether there is something at a path; False too for a name that no system can hold."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def is_file(path: Path) -> bool:
    """Whether a path is a file; False for what cannot be looked at."""
    return exists(path) and path.is_file()


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for what cannot be looked at."""
    return exists(path) and path.is_dir()


def check_new_folder(path: Path) -> None:
    """Raise RunError where a new folder cannot be made: something is there already, or its place cannot hold one."""
    try:
        path.lstat()
        raise RunError(f"{path} exists already: choose another --out, or remove it first.")
    except ValueError:
        raise RunError(f"{str(path)!r} cannot be the name of a folder: choose another --out.") from None
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"{path} cannot be made: {error.strerror}. Choose another --out.") from None
    place = next((parent for parent in path.absolute().parents if exists(parent)), Path(path.anchor))
    if not place.is_dir():
        raise RunError(f"{path} cannot be made: {place} is a file. Choose another --out.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise RunError(f"{path} cannot be made: {place} may not be written. Choose another --out.")


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


def remove_temporary_files(folder: Path) -> None:
    """Remove what ``replace_file`` leaves in a folder where its process is killed. Nobody may be writing there."""
    if is_folder(folder):
        for path in folder.iterdir():
            if TEMPORARY.fullmatch(path.name) and path.is_file():
                with contextlib.suppress(OSError):
                    path.unlink()


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
