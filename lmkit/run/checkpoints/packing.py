"""Nested values as two files without pickles: tensors in safetensors, all else in JSON that says where they belong."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from lmkit.files import Bytes
from lmkit.run.tensor_file import tensor_file

__all__ = ["pack", "unpack", "unpack_plain"]

SCALARS = (str, int, float, bool, type(None))
STRANGE = "it holds something else than a training state"


class _OtherTensor(ValueError):
    """A tensor that is not among those at hand."""


def pack(value: Any) -> tuple[bytes, memoryview]:
    """Dictionaries, lists, tuples, tensors, numbers and strings as (JSON, safetensors), which nothing that changes the
    tensors changes any more. Raises TypeError for others.
    """
    tensors: dict[str, Tensor] = {}
    plain = _pack(value, tensors)
    return json.dumps(plain, allow_nan=False).encode() + b"\n", tensor_file(tensors)


def unpack(plain: bytes, tensors: Bytes) -> Any:
    """What was packed, bit for bit; tensors in memory of their own, as torch allocates it. Raises ValueError for what
    ``pack`` has not written.
    """
    try:
        loaded = load_tensors(bytes(tensors))
        # copies: tensors that share a file's buffer are not aligned, and arithmetic on them may give other last bits
        return _unpack(json.loads(plain), {name: tensor.clone() for name, tensor in loaded.items()})
    except (SafetensorError, RecursionError) as error:
        raise ValueError(f"{STRANGE}: {error!r}") from error


def unpack_plain(plain: bytes, names: Collection[str]) -> dict[str, Any]:
    """The entries with these names of a packed dictionary, without reading its tensors; those that are not there or
    hold tensors are left out. Raises ValueError as ``unpack``.
    """
    found = {}
    try:
        for name, entry in _pairs(json.loads(plain)):
            if name in names:
                with contextlib.suppress(_OtherTensor):
                    found[name] = _unpack(entry, {})
    except RecursionError as error:
        raise ValueError(f"{STRANGE}: {error!r}") from error
    return found


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, tensors), _pack(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(entry, tensors) for entry in value]}
    if isinstance(value, list):
        return [_pack(entry, tensors) for entry in value]
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be packed")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(entry, tensors) for entry in value]
    if not isinstance(value, dict):
        return value
    match tuple(value.items()):
        case (("tensor", str(name)),):
            return _tensor(name, tensors)
        case (("float", str(digits)),):
            return float(digits)
        case (("dict", _),):
            return {_key(_unpack(key, tensors)): _unpack(entry, tensors) for key, entry in _pairs(value)}
        case (("tuple", [*entries]),):
            return tuple(_unpack(entry, tensors) for entry in entries)
    raise ValueError(STRANGE)


def _tensor(name: str, tensors: dict[str, Tensor]) -> Tensor:
    if name not in tensors:
        raise _OtherTensor(f"{STRANGE}: there is no tensor {name}")
    return tensors[name]


def _pairs(value: Any) -> list[Any]:
    """Keys and entries of a packed dictionary."""
    match value:
        case {"dict": [*pairs]} if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return pairs
    raise ValueError(STRANGE)


def _key(value: Any) -> Any:
    """A value that can be a key of a dictionary."""
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if not isinstance(value, SCALARS):
        raise ValueError(STRANGE)
    return value
