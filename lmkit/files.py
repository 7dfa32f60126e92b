"""Files: written so that a reader finds the old content or the new, never half of it; and opened so that a stranger's
pipe, device or link does no harm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from lmkit.errors import FailedError, RunError

__all__ = [
    "Bytes",
    "Check",
    "always",
    "check_new_folder",
    "default_mode",
    "exists",
    "expanded",
    "is_file",
    "is_folder",
    "open_regular",
    "open_to_append",
    "read_regular",
    "remove_temporary_files",
    "replace_file",
    "sync_folder",
    "write_atomically",
]

Bytes = bytes | memoryview
Check = Callable[[], None]  # asked before a write: raises where it must not be done
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}")


def expanded(name: str | os.PathLike[str]) -> Path:
    """A path with ``~`` as the user's home; a name whose home is not known stays as it is."""
    with contextlib.suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


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


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises OSError also for a pipe, a device or a socket, without waiting for it."""
    return cast(BinaryIO, os.fdopen(_regular(path, os.O_RDONLY), "rb"))


def open_to_append(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file, or make it, for reading and for writing at its end, without a buffer. Raises OSError also for a
    link, which may lead out of its folder, and for what is no regular file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return cast(BinaryIO, os.fdopen(_regular(path, flags), "ab+", buffering=0))


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file. Raises OSError as ``open_regular``, and for a file of more than ``most`` bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return content


def _regular(path: str | os.PathLike[str], flags: int) -> int:
    # O_NONBLOCK: to open a pipe that nobody writes to would take forever
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "it is not a regular file") from error
        if error.errno == errno.ELOOP and Path(path).is_symlink():
            raise OSError(errno.ELOOP, "it is a link, which is not followed here") from error
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    raise OSError(errno.EINVAL, "it is not a regular file")


def check_new_folder(path: Path) -> None:
    """Raise RunError where a new folder cannot be made: something is there already, or its parent cannot hold one."""
    try:
        path.lstat()
        raise RunError(f"{path} exists already: choose another --out, or remove it first.")
    except ValueError:
        raise RunError(f"{str(path)!r} cannot be the name of a folder: choose another --out.") from None
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"{path} cannot be created: {error.strerror}. Choose another --out.") from None
    ancestor = next((parent for parent in path.absolute().parents if exists(parent)), Path(path.anchor))
    if not ancestor.is_dir():
        raise RunError(f"{path} cannot be created: {ancestor} is a file. Choose another --out.")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise RunError(f"{path} cannot be created: {ancestor} is not writable. Choose another --out.")


def always() -> None:
    """The check of files that no other user can write."""


def replace_file(path: Path, content: Bytes, check: Check = always) -> None:
    """Write under a temporary name beside the file, flush to the disk, rename into place. Raises OSError, and what
    ``check`` raises, which is asked before the write and before the rename.
    """
    check()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        check()  # of the folder that the temporary file is in, if it was replaced a moment ago
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_temporary_files(folder: Path) -> None:
    """Remove what ``replace_file`` leaves in a folder where its process is killed. Nothing may be writing there."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir() if is_folder(folder) else ():
            if TEMPORARY.fullmatch(path.name) and path.is_file():
                with contextlib.suppress(OSError):
                    path.unlink()


def write_atomically(path: Path, content: Bytes | str, check: Check = always) -> None:
    """``replace_file`` for what a user asked for: raises FailedError if the disk refuses (full, read-only)."""
    try:
        replace_file(path, content.encode("utf-8") if isinstance(content, str) else content, check)
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
