"""Sealed files: what the cache holds carries its sha256, so that a flipped bit is found before it is trained on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.errors import LmkitWarning

__all__ = ["DamagedError", "HashedFile", "OutdatedError", "check_file", "seal", "unseal", "warn_of_damage"]

SEAL = "seal"


class DamagedError(ValueError):
    """A file of the cache is not what was written."""


class OutdatedError(ValueError):
    """A file of the cache has an earlier format, which is made again without a word."""


# Files that this process has found right or has written, with all that changes when their content does.
_checked: set[tuple[int, int, int, int, str]] = set()


def seal(format: int, values: Mapping[str, Any]) -> str:
    """The values as JSON text, with the number of their format and a sha256 of all."""
    sealed = {"format": format, **values}
    return json.dumps({**sealed, SEAL: _sha256(sealed)})


def unseal(text: str | bytes, format: int) -> dict[str, Any]:
    """The values of a text that ``seal`` made. Raises DamagedError, and OutdatedError for another format or no seal."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"It is not valid JSON: {error}.") from error
    if not isinstance(values, dict) or SEAL not in values:
        raise OutdatedError("It has no seal.")
    if values.pop(SEAL) != _sha256(values):
        raise DamagedError("Its sha256 is not the recorded one.")
    if values.pop("format") != format:
        raise OutdatedError("It has another format.")
    return values


class HashedFile(io.FileIO):
    """A new file that knows the sha256 of what is written to it, so that it need not be read for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Append all of the data."""
        left = memoryview(data)
        while left:
            left = left[super().write(left) or 0 :]
        self._hash.update(data)
        return len(data)

    def finish(self) -> str:
        """Flush the file to the disk; its sha256. This process need not check it again."""
        os.fsync(self.fileno())
        sha256 = self._hash.hexdigest()
        _checked.add(_state(os.stat(self.fileno()), sha256))
        return sha256


def check_file(path: Path, sha256: str) -> None:
    """Raise DamagedError where a file has another sha256. It is read once in a process, unless it changes."""
    state = _state(os.stat(path), sha256)
    if state in _checked:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DamagedError(f"{path} is damaged: its sha256 is not the recorded one.")
    _checked.add(state)


def _state(found: os.stat_result, sha256: str) -> tuple[int, int, int, int, str]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, sha256


def warn_of_damage(name: str) -> None:
    """Say, once in a process, that what the cache held of a text is not used."""
    warnings.warn(f"The token cache of {name} was damaged: made again.", LmkitWarning, stacklevel=1)  # shown once


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
