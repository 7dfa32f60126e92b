"""The two logs of a run: metrics.jsonl, a function of the run alone, and timings.jsonl with the clocks.

A log survives what its disk does: a line that cannot be written waits in memory, and half a line is never left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from lmkit.errors import RunError
from lmkit.files import Check, always, open_regular, open_to_append

__all__ = ["LARGEST_LOG", "LogFile", "finite"]

LARGEST_LOG = 1 << 30
LONGEST_LINE = 1 << 20


class LogFile:
    """JSON lines that are added at the end of a file. length: bytes of whole lines in it; sha256: of these bytes.

    The file is opened for each call and not followed where it is a link, so a run folder from elsewhere cannot make
    lmkit write elsewhere. ``check`` is asked before each write. One thread may add lines while another one flushes them
    to the disk.
    """

    def __init__(self, path: Path, check: Check = always) -> None:
        self.path = path
        self._check = check
        self.length = 0
        self._digest = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._writing = threading.RLock()

    @property
    def sha256(self) -> str:
        """Of the lines that are in the file."""
        return self._digest.hexdigest()

    def content(self, needed: int) -> bytes:
        """What is in the file, nothing where it is missing; of one with more than LARGEST_LOG bytes, which may be a
        stranger's, the first ``needed``. Raises RunError where it is a link or no regular file.
        """
        try:
            with self._opened() as file:
                size = os.fstat(file.fileno()).st_size
                return file.read(size if size <= LARGEST_LOG else max(0, min(needed, size)))
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RunError(f"{self.path} cannot be used: {error.strerror or error}.") from error

    def continue_in(self, content: bytes, length: int, sha256: str | None) -> bool:
        """Continue after the first ``length`` bytes of the file's content; what comes after them is cut off at the next
        ``add``.

        Returns False where the file does not begin with these bytes: it is shorter, or has another sha256. Then it
        continues after the last whole line of them.
        """
        content = content[:length]
        self._digest = hashlib.sha256(content)
        if len(content) == length and sha256 in (None, self.sha256):
            self.length = length
            return True
        whole = content[: content.rfind(b"\n") + 1]
        self._digest, self.length = hashlib.sha256(whole), len(whole)
        return False

    def continue_from(self, length: int, sha256: str | None) -> bool:
        """``continue_in`` the file as it is. Raises RunError as ``content``."""
        return self.continue_in(self.content(length), length, sha256)

    def continue_at_the_end(self) -> None:
        """Continue after the last whole line of what there is, whatever it is: the sha256 is of new lines alone. Raises
        RunError as ``content``.
        """
        try:
            with self._opened() as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LONGEST_LINE))
                tail = file.read(LONGEST_LINE)
        except FileNotFoundError:
            size, tail = 0, b""
        except OSError as error:
            raise RunError(f"{self.path} cannot be used: {error.strerror or error}.") from error
        self.length = size - len(tail) + tail.rfind(b"\n") + 1
        self._digest = hashlib.sha256()

    def add(self, record: Mapping[str, Any]) -> bool:
        """Add a record, and all that wait before it. Returns whether nothing waits any more."""
        line = json.dumps(finite(record), allow_nan=False).encode() + b"\n"
        with self._writing:
            self._waiting.append(line)
            return self.flush()

    def flush(self) -> bool:
        """Try again to write what waits. Returns whether nothing does any more."""
        with self._writing:
            return self._flush()

    def _flush(self) -> bool:
        lines = b"".join(self._waiting)
        try:
            self._check()
            with open_to_append(self.path) as file:
                self._check()  # of the file that was opened, if the folder was replaced a moment ago
                self._append(file, lines)
        except OSError:  # of the close, too: it is there that network disks say they are full
            return False
        self.length += len(lines)
        self._digest.update(lines)
        self._waiting = []
        return True

    def end(self) -> dict[str, Any]:
        """Length and sha256 of the log once all that waits is in it."""
        with self._writing:
            digest, waiting = self._digest.copy(), b"".join(self._waiting)
            digest.update(waiting)
            return {"length": self.length + len(waiting), "sha256": digest.hexdigest()}

    def sync(self) -> None:
        """Flush the lines to the disk. Raises OSError where some still wait, or the disk refuses."""
        if not self.flush():
            raise OSError(errno.ENOSPC, f"{self.path.name} cannot be written")
        with open_regular(self.path) as file:
            os.fsync(file.fileno())

    def _append(self, file: BinaryIO, lines: bytes) -> None:
        try:
            if os.fstat(file.fileno()).st_size < self.length:  # somebody has cut it: no gap is filled with zeros
                self.continue_from(self.length, "")
            file.truncate(self.length)
            _write_all(file, lines)
        except OSError:
            with contextlib.suppress(OSError):  # the next flush begins with the same cut
                file.truncate(self.length)
            raise

    def _opened(self) -> BinaryIO:
        if self.path.is_symlink():  # it would not be written through either
            raise OSError(errno.ELOOP, "it is a link, which is not followed here")
        return open_regular(self.path)


def _write_all(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def finite(value: Any) -> Any:
    """JSON has no infinity and no not-a-number: they become null, at any depth."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
