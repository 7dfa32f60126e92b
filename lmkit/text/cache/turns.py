"""Work that processes of one machine take turns at, so that what one has made the others find."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["taking_turns"]


@contextlib.contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """No two processes, or threads, are inside for the same file at once; the end of a process, however it comes, lets
    the next one in. Where the system has no such locks all go in: what they make is the same.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a full disk: who makes something says so
        yield
        return
    try:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
