"""Tensors in memory as a safetensors file are, to the last byte, what the library makes of them."""

from __future__ import annotations

import torch
from safetensors.torch import save
from torch import Tensor

from lmkit.run.tensor_file import TYPES, tensor_file
from lmkit.run.weights import copy_weights, pack_weights, seal_weights


def all_kinds() -> dict[str, Tensor]:
    """Every type, names that are not in order, tensors of one number and of none."""
    generator = torch.Generator().manual_seed(1)
    kinds = {
        f"{name}{number}": torch.randint(0, 2, (3, number % 3 + 1), generator=generator).to(dtype)
        for name in "ba"
        for number, dtype in enumerate(TYPES)
    }
    return {**kinds, "a number": torch.tensor(2.5), "nothing": torch.zeros(0, 3), "é": torch.ones(5, dtype=torch.uint8)}


def test_the_bytes_are_those_of_the_library():
    for notes in (None, {"name": 'with "quotes" and é'}):
        assert tensor_file(all_kinds(), notes) == save(all_kinds(), notes)
    assert tensor_file({}) == save({})


def test_tensors_that_share_their_memory_are_stored_as_they_read():
    numbers = torch.arange(12.0).view(3, 4)
    views = {"transposed": numbers.t(), "a part": numbers[1], "repeated": numbers[:, :1].expand(3, 4)}
    assert tensor_file(views) == save({name: view.contiguous().clone() for name, view in views.items()})


def test_what_was_laid_out_does_not_change_with_the_tensors():
    weights = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
    before, copied = pack_weights(weights, "1"), copy_weights(weights, "1")
    weights["a"].mul_(2)
    assert copied != before
    for _ in range(2):
        seal_weights(copied)
        assert copied == before, "sealed once, it stays"
    assert pack_weights(weights, "1") != before
