"""A text that is not where it was, found by its hash among the files that this machine has read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmkit.text.cache.store import known_surveys
from lmkit.text.sources.source import WHOLE, file_stamp

__all__ = ["find_text"]


def find_text(sha256: Any) -> Path | None:
    """The file or folder whose text has this hash, as ``Survey.info`` gives it; None if the cache's index knows none
    that is still as it was read.
    """
    return next((path for stamp, parts in known_surveys() for path in _places(stamp, parts, sha256)), None)


def _places(stamp: list[list[Any]], parts: dict[str, dict[str, Any]], sha256: Any) -> Iterator[Path]:
    hashes = {name: part["sha256"] for name, part in parts.items()}
    if sha256 != (next(iter(hashes.values())) if len(hashes) == 1 else hashes):
        return
    files = [Path(entry[0]) for entry in stamp]
    with contextlib.suppress(OSError, ValueError):  # a file is gone, or the files lie on several drives
        if [file_stamp(path) for path in files] == stamp:
            alone = len(files) == 1 and WHOLE in parts
            yield files[0] if alone else Path(os.path.commonpath([file.parent for file in files]))
