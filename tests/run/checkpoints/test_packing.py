"""Nested values come back from their two files as they were, to the last bit."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lmkit.run.checkpoints.packing import pack, unpack

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits of any type in up to three dimensions, empty ones and 0-d ones among them; not always contiguous."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    count = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    data = draw(st.binary(min_size=count, max_size=count))
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)
    tensor = tensor.view(dtype).reshape(shape)
    return tensor.transpose(0, -1) if len(shape) > 1 and draw(st.booleans()) else tensor


KEYS = st.integers() | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def bits(value: Any) -> Any:
    """The value in a form that is equal for the same types and bits only: NaN too, and 0.0 is not -0.0, True not 1."""
    if isinstance(value, Tensor):
        flat: Any = value.contiguous().reshape(-1).view(torch.uint8) if value.numel() else []
        return ("tensor", value.dtype, tuple(value.shape), tuple(map(int, flat)))
    if isinstance(value, dict):
        return ("dict", [(bits(key), bits(entry)) for key, entry in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [bits(entry) for entry in value])
    return (type(value).__name__, value.hex() if isinstance(value, float) else value)


@given(VALUES)
def test_what_is_packed_comes_back_to_the_last_bit(value: Any):
    assert bits(unpack(*pack(value))) == bits(value)


@given(VALUES)
def test_packing_is_a_function_of_the_value(value: Any):
    assert pack(value) == pack(unpack(*pack(value)))


def test_numbers_that_json_does_not_have_are_there():
    value = {"a": [math.inf, -math.inf, -0.0, 5e-324], 3: math.nan, (1, "x"): 2**70}
    plain, _ = pack(value)
    json.loads(plain, parse_constant=pytest.fail)
    assert bits(unpack(*pack(value))) == bits(value)


def test_tensors_that_share_memory_come_back_alone_and_aligned():
    whole = torch.arange(12.0)
    value = [whole[:5], whole[3:], whole.view(3, 4).t(), whole]
    packed = pack(value)
    found = unpack(*packed)
    assert bits(found) == bits(value)
    found[0].zero_()
    assert bits(found[1:]) == bits(value[1:])
    assert whole[0] == 0
    assert whole[1] == 1, "what was packed is not touched"
    assert all(tensor.data_ptr() % 64 == 0 for tensor in unpack(*packed))


def test_parameters_and_their_gradients_are_packed_as_plain_tensors():
    parameter = torch.nn.Parameter(torch.ones(2))
    found = unpack(*pack({"p": parameter}))["p"]
    assert not found.requires_grad
    assert torch.equal(found, torch.ones(2))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, [print], {"a": {"b": range(3)}}])
def test_what_has_no_place_in_a_file_is_refused(value: object):
    with pytest.raises(TypeError, match="cannot be packed"):
        pack(value)


PLAIN, TENSORS = pack({"a": torch.ones(3), "b": [1.5, math.inf], "c": (1,)})


@pytest.mark.parametrize(
    ("plain", "data"),
    [
        (b"", TENSORS),
        (PLAIN[: len(PLAIN) // 2], TENSORS),
        (PLAIN, b""),
        (PLAIN, TENSORS[:-1]),
        (PLAIN, TENSORS[:10]),
        (b'{"tensor": "7"}', TENSORS),
        (b'{"tensor": {}}', TENSORS),
        (b'{"what": 1}', TENSORS),
        (b'{"float": "x"}', TENSORS),
        (b'{"float": [1]}', TENSORS),
        (b'{"dict": [1]}', TENSORS),
        (b'{"dict": [[[1], 2]]}', TENSORS),
        (b'{"tuple": 5}', TENSORS),
        (b'{"tuple": [], "float": "1"}', TENSORS),
        (b"{}", TENSORS),
        (b"\xff\xfe", TENSORS),
        (b"[" * 100_000, TENSORS),
    ],
    ids=range(17),
)
def test_what_pack_has_not_written_is_a_value_error(plain: bytes, data: bytes):
    with pytest.raises(ValueError):
        unpack(plain, data)
