"""The cache of token files: entries by content, written whole or not at all, and an index that skips rehashing."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lmkit.errors import FailedError
from lmkit.files import replace_file
from lmkit.text.cache.sealed import DamagedError, OutdatedError, seal, unseal
from lmkit.text.cache.turns import taking_turns

__all__ = ["Cache", "cache_folder", "content_key", "known_surveys"]

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
STALE_SECONDS = 24 * 3600
# A file changed this shortly before it was hashed may change again within the clock's resolution.
SETTLED_SECONDS = 2.0
MOVES = 5
SURVEY_FORMAT = 3


def cache_folder() -> Path:
    """Where token files are kept: ``$LMKIT_CACHE``, else ``lmkit`` in the platform's folder for caches of the user; a
    temporary folder for a user without a home.
    """
    own = os.environ.get("LMKIT_CACHE")
    try:
        return Path(own).expanduser() if own else _users_caches().expanduser() / "lmkit"
    except RuntimeError:  # ~ stands for nothing
        return _temporary_folder()


def _users_caches() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base)


def content_key(*parts: Any) -> str:
    """A sha256 over values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def known_surveys() -> Iterator[tuple[Any, Any]]:
    """Each stamp in the index with the parts of its survey; what is damaged there is passed over."""
    for path in sorted((cache_folder() / "index").glob("*.json")):
        with contextlib.suppress(OSError, OutdatedError, DamagedError):
            stored = unseal(path.read_bytes(), SURVEY_FORMAT)
            yield stored["stamp"], stored["survey"]["parts"]


class Cache:
    """Entries under a folder; a folder that cannot be written is replaced by a temporary one for this process."""

    def __init__(self) -> None:
        self.folder = _writable_folder(cache_folder())

    def find_survey(self, stamp: list[list[Any]]) -> Any:
        """What was stored for files with exactly this stamp, None if nothing was. Raises DamagedError."""
        if not stamp:
            return None
        try:
            stored = unseal(self._survey_path(stamp).read_bytes(), SURVEY_FORMAT)
        except (OSError, OutdatedError):
            return None
        return stored["survey"] if stored["stamp"] == stamp else None

    def store_survey(self, stamp: list[list[Any]], survey: Any) -> None:
        """Store what is known of files with this stamp, unless one of them changed a moment ago."""
        if not stamp:
            return
        newest = max(entry[2] for entry in stamp) / 1e9
        if abs(time.time() - newest) < SETTLED_SECONDS:
            return
        self.store_text(self._survey_path(stamp), seal(SURVEY_FORMAT, {"stamp": stamp, "survey": survey}))

    def store_text(self, path: Path, text: str) -> None:
        """Write a small file whole."""
        with _disk_errors(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode("utf-8"))

    def tokenizer_path(self, key: str) -> Path:
        """Where a trained tokenizer is kept."""
        return self.folder / "tokenizers" / f"{key}.json"

    def entry(self, key: str, build: Callable[[Path], None], check: Callable[[Path], bool]) -> Path:
        """The folder of an entry; built in a temporary folder and renamed if it is missing or fails its check.

        Processes that want the same entry wait for the one that builds it. Where they cannot the first to rename wins,
        and the others take what is there.
        """
        target = self.folder / "tokens" / key
        found = _which(target)
        if not check(target):
            with self.turn(key):
                if _which(target) == found or not check(target):  # else another process has built it meanwhile
                    self._build(target, build, check)
        return target

    def turn(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Inside, this process alone makes what the key stands for."""
        return taking_turns(self.folder / "turns" / key)

    def _build(self, target: Path, build: Callable[[Path], None], check: Callable[[Path], bool]) -> None:
        with _disk_errors(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(target.parent)
            temporary = target.with_name(f"building-{secrets.token_hex(8)}")
            temporary.mkdir()
        try:
            with _disk_errors(self.folder):
                build(temporary)
                _move(temporary, target, check)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _survey_path(self, stamp: list[list[Any]]) -> Path:
        return self.folder / "index" / f"{content_key([entry[0] for entry in stamp])}.json"


def _which(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from one that takes its place; None where there is none."""
    with contextlib.suppress(OSError):
        found = folder.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _move(temporary: Path, target: Path, check: Callable[[Path], bool]) -> None:
    for attempt in range(MOVES):
        try:
            os.rename(temporary, target)
            return
        except OSError:
            if check(target):  # another process was faster
                shutil.rmtree(temporary, ignore_errors=True)
                return
            if attempt == MOVES - 1:
                raise
            shutil.rmtree(target, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for left in folder.glob("building-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Any:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise FailedError(f"The disk of {folder} is full: free some space, or set LMKIT_CACHE to another.") from error


def _writable_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if error.errno in DISK_FULL:
            return folder
        return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="lmkit-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
