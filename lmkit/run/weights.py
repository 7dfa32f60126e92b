"""Weights on the disk: safetensors files, looked at before anything of their size is allocated."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from lmkit.errors import RunError
from lmkit.files import Bytes, open_regular
from lmkit.run.tensor_file import tensor_file

__all__ = ["copy_weights", "load_weights", "pack_weights", "seal_weights", "unpack_weights"]

UNSEALED = "0" * 64  # where the checksum will be
LONGEST_HEADER = 1 << 20  # bytes: 64 layers have some tens of thousands
Shapes = Mapping[str, tuple[int, ...]]


class _Entry(NamedTuple):
    """One tensor of a header: its type in the words of safetensors, its shape, and where its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Header(NamedTuple):
    entries: dict[str, _Entry]
    length: int
    sha256: str | None


def pack_weights(tensors: Mapping[str, Tensor], version: str) -> memoryview:
    """A file of tensors with a checksum of them in its header: the same bytes for the same tensors."""
    content = copy_weights(tensors, version)
    seal_weights(content)
    return content


def copy_weights(tensors: Mapping[str, Tensor], version: str) -> memoryview:
    """The same file before its checksum is computed: what ``seal_weights`` takes, at any time and in any thread."""
    return tensor_file(tensors, {"lmkit": json.dumps({"version": version, "sha256": UNSEALED})})


def seal_weights(content: memoryview) -> None:
    """Put the checksum into a file of ``copy_weights``; one that has it stays as it is."""
    header = _read_header(io.BytesIO(content[: 8 + LONGEST_HEADER]), len(content))
    if header.sha256 == UNSEALED:
        begin = bytes(content[: 8 + header.length]).index(UNSEALED.encode())
        content[begin : begin + len(UNSEALED)] = _sha256(content, header).encode()


def load_weights(path: Path, shapes: Shapes, fits: str) -> dict[str, Tensor]:
    """The tensors of a file that must have exactly these names and shapes, in float32 and ``head.order`` in int64.

    Names, shapes, types and sizes come from the header and are compared before more of the file is read; then the
    checksum, where the file has one. ``fits`` is what the shapes follow from, for the message. Raises RunError.
    """
    try:
        with open_regular(path) as file:
            return _load(file, os.fstat(file.fileno()).st_size, path, shapes, fits)
    except OSError as error:
        raise RunError(f"{path} is damaged: {error.strerror or error}.") from error


def unpack_weights(content: Bytes, path: Path, shapes: Shapes, fits: str) -> dict[str, Tensor]:
    """The same for a file that has been read; ``path`` is its name in messages."""
    return _load(io.BytesIO(content), len(content), path, shapes, fits)


def _load(file: BinaryIO, size: int, path: Path, shapes: Shapes, fits: str) -> dict[str, Tensor]:
    try:
        header = _read_header(file, size)
        _compare(path, header.entries, shapes, fits)
        expected = 8 + header.length + max((entry.end for entry in header.entries.values()), default=0)
        if size != expected:
            raise ValueError(f"it has {size:,} bytes where its header declares {expected:,}")
        file.seek(0)
        content = file.read(size)
    except (ValueError, RecursionError) as error:  # of JSON, and of what is found wrong in the header
        raise RunError(f"{path} is damaged: {error}.") from error
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if broken := sorted(name for name, tensor in tensors.items() if not _is_finite(tensor)):
        raise RunError(f"{path} is damaged: {broken[0]} holds values that are not finite numbers.")
    if header.sha256 is not None and _sha256(content, header) != header.sha256:
        raise RunError(f"{path} is damaged: its numbers are not those that were saved (their sha256 is another).")
    return tensors


def _read_header(file: BinaryIO, size: int) -> _Header:
    if size < 8:
        raise ValueError("it is too short for a header")
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise ValueError("its header is longer than the file")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, and more than {LONGEST_HEADER:,} are not read")
    table = json.loads(file.read(length))
    if not isinstance(table, dict):
        raise ValueError("its header is no object")
    note = table.pop("__metadata__", None)
    entries = {name: _entry(values) for name, values in table.items()}
    return _Header(entries, length, _checksum(note))


def _entry(values: Any) -> _Entry:
    match values:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            pass
        case _:
            raise ValueError("its header has an entry that describes no tensor")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("its header has sizes that are no whole numbers")
    return _Entry(dtype, tuple(shape), begin, end)


def _checksum(note: Any) -> str | None:
    """The sha256 that was saved with the tensors, None where other programs wrote the file."""
    if not isinstance(note, dict) or not isinstance(note.get("lmkit"), str):
        return None
    values = json.loads(note["lmkit"])
    found = values.get("sha256") if isinstance(values, dict) else None
    return found if isinstance(found, str) else None


def _compare(path: Path, entries: Mapping[str, _Entry], shapes: Shapes, fits: str) -> None:
    stored = {name: entry.shape for name, entry in entries.items()}
    wrong = sorted(name for name in shapes.keys() | stored.keys() if shapes.get(name) != stored.get(name))
    if wrong:
        name = wrong[0]
        raise RunError(
            f"{path} does not fit {fits}: {name[:80]!r} has shape {_shown(stored, name)}, "
            f"and {_shown(shapes, name)} is expected."
        )
    for name, entry in entries.items():
        expected, width = ("I64", 8) if name == "head.order" else ("F32", 4)
        if entry.dtype != expected:
            raise RunError(
                f"{path} cannot be used: {name} is of the type {entry.dtype[:20]!r}, and {expected} is read."
            )
        if entry.end - entry.begin != width * math.prod(entry.shape):
            raise ValueError(f"the byte range of {name} does not have the size of its shape")


def _sha256(content: Bytes, header: _Header) -> str:
    digest, view = hashlib.sha256(), memoryview(content)[8 + header.length :]
    for name in sorted(header.entries):
        entry = header.entries[name]
        digest.update(_label(name, entry.dtype, entry.shape))
        digest.update(view[entry.begin : entry.end])
    return digest.hexdigest()


def _label(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return json.dumps([name, dtype, list(shape)]).encode()


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _shown(shapes: Shapes, name: str) -> str:
    return str(list(shapes[name]))[:80] if name in shapes else "none"
