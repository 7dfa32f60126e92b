"""The manifest that seals a checkpoint: its files with sizes and sha256, and a sha256 of its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.errors import RunError
from lmkit.files import Bytes, is_file, read_regular

__all__ = ["MANIFEST", "open_sealed", "read_manifest", "render_manifest", "sha256"]

MANIFEST = "manifest.json"
FORMAT = 1
LARGEST = 1 << 20  # bytes of a manifest


def render_manifest(
    step: int, files: Mapping[str, Bytes], notes: Mapping[str, Any], sums: Mapping[str, str] | None = None
) -> bytes:
    """The manifest of a checkpoint's files. notes: plain values that belong to it (versions, the best step). sums: the
    sha256 of the files where they are known.
    """
    sums = sums or {}
    entries = {
        name: {"size": len(content), "sha256": sums.get(name) or sha256(content)} for name, content in files.items()
    }
    return _sealed({"format": FORMAT, "step": step, **notes, "files": entries})


def read_manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest. Raises RunError, with the file's name, if it is missing, damaged or another step's."""
    path = folder / MANIFEST
    if not is_file(path):
        raise RunError(f"{path} is missing.")
    try:
        values = _unsealed(read_regular(path, LARGEST))
    except OSError as error:
        raise RunError(f"{path} is damaged.") from error
    if values is None or not _is_manifest(values):
        raise RunError(f"{path} is damaged.")
    if any(Path(name).name != name for name in values["files"]):
        raise RunError(f"{path} names a file outside its folder.")
    if folder.name != f"step-{values['step']:08d}":
        raise RunError(f"{path} is the one of step {values['step']:,}.")
    return values


def open_sealed(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A checkpoint's manifest and the content of its files. Raises RunError that names the file which is missing or
    not as the manifest says.
    """
    manifest = read_manifest(folder)
    files = {}
    for name, entry in manifest["files"].items():
        path = folder / name
        if not is_file(path):
            raise RunError(f"{path} is missing.")
        try:
            size = path.stat().st_size
            if size != entry["size"]:
                raise RunError(f"{path} has {size:,} bytes instead of {entry['size']:,}.")
            files[name] = read_regular(path, size)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror or error}.") from error
        if sha256(files[name]) != entry["sha256"]:
            raise RunError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}.")
    return manifest, files


def _unsealed(content: bytes) -> dict[str, Any] | None:
    """The values of an object with its seal; None where it is none, or the seal is not that of its content."""
    try:
        values = json.loads(content)
        if not isinstance(values, dict) or values.pop("seal", None) is None:
            return None
        return values if _sealed(values) == content else None
    except (ValueError, RecursionError):  # no JSON, or too deep to be read or to be written again
        return None


def _is_manifest(values: Mapping[str, Any]) -> bool:
    """Whether all is there, and of its type, that ``render_manifest`` writes."""
    files = values.get("files")
    if values.get("format") != FORMAT or type(values.get("step")) is not int or not isinstance(files, dict):
        return False
    return all(
        isinstance(entry, dict) and type(entry.get("size")) is int and isinstance(entry.get("sha256"), str)
        for entry in files.values()
    )


def _sealed(values: dict[str, Any]) -> bytes:
    seal = sha256(json.dumps(values, indent=2).encode())
    return json.dumps({**values, "seal": seal}, indent=2).encode() + b"\n"


def sha256(content: Bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
