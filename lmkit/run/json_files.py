"""JSON files of a run: read whole, no larger than they can be, with strings that can be written again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lmkit.errors import RunError
from lmkit.files import read_regular

__all__ = ["parse", "read_object", "read_text"]

LARGEST = 1 << 26  # bytes: the list of a corpus' files may be long
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_text(path: Path, most: int) -> str:
    """The text of a file of at most this many bytes. Raises RunError."""
    try:
        return read_regular(path, most).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shown = getattr(error, "strerror", None) or error
        raise RunError(f"Cannot read {path}: {shown}.") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises RunError."""
    text = read_text(path, LARGEST)
    try:
        values = parse(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} is damaged: it holds no object.")
    return values


def parse(text: str | bytes) -> Any:
    """JSON whose strings can be written again. Raises ValueError, and RecursionError where it is too deep."""
    values = json.loads(text)
    if SURROGATE.search(text if isinstance(text, bytes) else text.encode()):
        # A lone surrogate is no text: UnicodeEncodeError, unless it stands for a byte of a file's name.
        json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return values
