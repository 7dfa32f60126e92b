"""A lock on a folder that its owner's end, however it comes, opens again."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from pathlib import Path

from lmkit.errors import FailedError, RunError

__all__ = ["LOCK", "FolderLock", "is_locked"]

LOCK = "lock"
HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)  # by another process


class FolderLock:
    """Held from its making until ``release``, the end of the process, or when nothing refers to it any more.

    The file stays; the system's lock on it does not. Raises RunError if another one holds it, or the folder cannot be
    written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror or error}.") from error
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno in HELD:
                raise RunError(f"{folder} is in use: another training is writing into it.") from error
            raise RunError(f"{folder} cannot be locked: {error.strerror or error}. Use another disk.") from error
        self.folder = folder
        self._file = os.fstat(handle)  # while it is open, no other file gets its number
        self._close = weakref.finalize(self, _close, handle)

    def check(self) -> None:
        """Raise FailedError where the lock in the folder is not this one any more: the folder was removed or replaced,
        and another process may hold the lock that is there now. Asked before each write. Raises OSError where the disk
        does not say.
        """
        try:
            same = os.path.samestat(os.stat(self.folder / LOCK, follow_symlinks=False), self._file)
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise FailedError(
                f"{self.folder} was removed or replaced while it was being trained: this training ends here and writes "
                "nothing more into it."
            )

    def release(self) -> None:
        """Open the lock; more than once does no harm."""
        self._close()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock on a folder; False where that cannot be found out."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        _lock(handle)
    except OSError as error:
        return error.errno in HELD
    finally:
        os.close(handle)
    return False


def _lock(handle: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)
