"""Matrices laid out for products in which a row has the same bits alone and in company."""

from __future__ import annotations

import copy
import functools
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PackedMatrix", "packed"]

M = TypeVar("M", bound=nn.Module)
LINEAR = F.linear
LEAST_ROWS = 4  # with fewer some widths take a kernel that adds in another order


class PackedMatrix(Tensor):
    """A matrix (rows, columns) in float32 that ``F.linear`` multiplies by with oneDNN, from a layout made once.

    The kernels of torch's own product add up a row in an order that depends on how many rows there are: one, up to
    about eight, or more. oneDNN's add in one order at all sizes, and read the matrix once for a few rows. In all other
    functions this is the plain matrix.
    """

    reordered: Tensor

    @staticmethod
    def of(matrix: Tensor) -> PackedMatrix:
        made = matrix.detach().as_subclass(PackedMatrix)
        made.reordered = torch.ops.mkldnn._reorder_linear_weight(matrix.detach().contiguous(), None)
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is LINEAR and type(args[1]) is cls and type(args[0]) is Tensor:
                return _product(args[0], args[1].reordered, args[2] if len(args) > 2 else None)
            return func(*args, **(kwargs or {}))


def packed(module: M) -> M:
    """A copy of a module with its matrices packed, where this machine can; all else it shares with the module."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    matrices = {id(tensor): PackedMatrix.of(tensor) for tensor in module.parameters() if _can_be_packed(tensor)}
    return copy.deepcopy(module, {**shared, **matrices})


def _product(inputs: Tensor, layout: Tensor, bias: Tensor | None) -> Tensor:
    """inputs (..., columns) to (..., rows)."""
    if inputs.dim() == 2 and len(inputs) < LEAST_ROWS:
        return _product(torch.cat([inputs] * LEAST_ROWS), layout, bias)[: len(inputs)]
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(inputs, layout, bias, "none", [], "")
    return found


def _can_be_packed(tensor: Tensor) -> bool:
    plain = type(tensor) is nn.Parameter and tensor.dtype == torch.float32  # a matrix in int8 has a product of its own
    return plain and tensor.dim() == 2 and tensor.device.type == "cpu" and _has_kernels()


@functools.cache
def _has_kernels() -> bool:
    """Whether this build of torch and this processor have the products: they are tried."""
    matrix = torch.eye(LEAST_ROWS)
    try:
        layout = torch.ops.mkldnn._reorder_linear_weight(matrix, None)
        return bool(_product(matrix, layout, matrix[0]).equal(matrix + matrix[0]))
    except (AttributeError, RuntimeError):
        return False
