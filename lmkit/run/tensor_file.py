"""Tensors laid out in memory as a safetensors file: each is copied once, by torch, so that other threads can work."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["tensor_file"]

ALIGNMENT = 8  # bytes that the first tensor begins at a multiple of; the largest types come first, so all are aligned
TYPES = {  # in the order of the format: of two tensors the one with the later type comes first
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
RANK = {dtype: rank for rank, dtype in enumerate(TYPES)}


def tensor_file(tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> memoryview:
    """The bytes that ``safetensors.torch.save`` makes of these tensors, on any device and of any strides. notes: plain
    text for the header, under one name. The bytes are nobody else's and can be written to.
    """
    names = sorted(tensors, key=lambda name: (-RANK[tensors[name].dtype], name.encode()))
    begin, places = 0, dict[str, tuple[int, int]]()
    for name in names:
        places[name] = (begin, begin + tensors[name].nbytes)
        begin += tensors[name].nbytes
    table = {} if notes is None else {"__metadata__": dict(notes)}
    header = json.dumps(
        {**table, **{name: _entry(tensors[name], places[name]) for name in names}},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    start = ALIGNMENT + len(header)
    content = torch.empty(start + begin, dtype=torch.uint8)
    file: memoryview = content.numpy().data
    file[:start] = len(header).to_bytes(ALIGNMENT, "little") + header
    for name, (first, last) in places.items():
        _copy(tensors[name], content[start + first : start + last])
    return file


def _entry(tensor: Tensor, place: tuple[int, int]) -> dict[str, object]:
    return {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": list(place)}


def _copy(tensor: Tensor, place: Tensor) -> None:
    if math.prod(tensor.shape):
        place.view(tensor.dtype).view(tensor.shape).copy_(tensor.detach())
