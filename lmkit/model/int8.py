"""Networks whose matrices are rounded to eight bits: a quarter of the memory to read at each step.

A row of a matrix is integers from -127 to 127 times a scale of its own, and so is each row that it is multiplied by, at
the time of the product. The integers of a product are added up exactly, in any order, so a row's numbers depend neither
on how many rows there are nor on the kernel.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.language_model import LanguageModel

__all__ = ["CELLS_IN_INT8", "Int8Matrix", "is_quantized", "quantized", "rounded"]

CELLS_IN_INT8 = ("rnn", "irnn", "gru", "lstm")
MOST = 127
M = TypeVar("M", bound=nn.Module)
LINEAR = F.linear


class Int8Matrix(Tensor):
    """A matrix (R, K) in float32 that ``F.linear`` multiplies by in eight bits; in all other functions it is the plain
    matrix. No gradient goes through it.
    """

    numbers: Tensor
    scales: Tensor

    @staticmethod
    def of(matrix: Tensor) -> Int8Matrix:
        made = matrix.detach().as_subclass(Int8Matrix)
        numbers, scales = rounded(matrix.detach())
        made.numbers, made.scales = numbers.t(), scales.squeeze(1)  # the product reads a row of the matrix at once
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is LINEAR and type(args[1]) is cls:
                return _linear(args[0], args[1], args[2] if len(args) > 2 else None)
            return func(*args, **(kwargs or {}))


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, K) as int8 (N, K) times scales (N, 1): the largest number of each row is 127 times its scale."""
    scales = rows.abs().amax(dim=1, keepdim=True).div_(MOST).clamp_min_(torch.finfo(rows.dtype).tiny)
    return (rows / scales).round_().to(torch.int8), scales


def quantized(model: LanguageModel) -> LanguageModel:
    """A copy of a network for inference whose recurrent layers and output layer multiply in eight bits, step by step;
    embeddings, biases and gates stay in float32, and so does the first cluster of an adaptive softmax. All tensors are
    shared with the network. Raises ConfigError where that cannot be.
    """
    config, device = model.config, next(model.parameters()).device
    if config.cell not in CELLS_IN_INT8 or config.block != "plain" or config.attention is not None:
        raise ConfigError(
            f"--decoder int8 knows --cell {', '.join(CELLS_IN_INT8[:-1])} and {CELLS_IN_INT8[-1]}, without --block "
            "residual and --attention: leave it out for this model."
        )
    if device.type != "cpu":
        raise ConfigError("--decoder int8 computes on the processor: add --device cpu, or leave it out.")
    made = _copied(model, {})
    layers = [_Stepped(_copied(cell, _rounded_matrices(cell))) for cell in model.cells]
    made.recurrent.layers = nn.ModuleList(layers)
    made.head = _copied(model.head, _rounded_matrices(model.head))
    return made.eval()


def is_quantized(model: nn.Module) -> bool:
    """Whether matrices of a network are multiplied by in eight bits."""
    return any(isinstance(one, Int8Matrix) for one in model.parameters())


class _Stepped(Cell):
    """A cell that computes a window step by step: its kernels multiply in float32."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.state_names, self.recurrent_matrices = cell.state_names, ()
        self.input_size, self.projected_size = cell.input_size, cell.projected_size
        self.output_size = cell.output_size

    def initial_state(self, batch_size: int) -> CellState:
        """That of the cell."""
        return self.cell.initial_state(batch_size)

    def project(self, inputs: Tensor) -> Tensor:
        return self.cell.project(inputs)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """What the cell names."""
        return self.cell.look(projected, state)

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        return self.cell.step(projected, state)

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        return self.cell.gate_rows()


def _rounded_matrices(module: nn.Module) -> dict[int, Tensor]:
    return {id(one): Int8Matrix.of(one) for one in module.parameters() if one.dim() == 2}


def _copied(module: M, others: Mapping[int, Tensor]) -> M:
    """A copy that shares its tensors, but for those in whose place others stand, by their identity."""
    shared = {id(one): one for one in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, {**shared, **others})


def _linear(inputs: Tensor, matrix: Int8Matrix, bias: Tensor | None) -> Tensor:
    """inputs (..., K) to (..., R): each operation is exact or one rounding of each number by itself."""
    numbers, scales = rounded(inputs.reshape(-1, inputs.shape[-1]))
    product = (_integers(numbers, matrix.numbers) * scales).mul_(matrix.scales)
    product = product if bias is None else product.add_(bias)
    return product.view(*inputs.shape[:-1], -1)


def _integers(rows: Tensor, matrix: Tensor) -> Tensor:
    """The exact product of int8 (N, K) and (K, R), which fits an int32 for any K below 2^17."""
    if rows.shape[1] == 1:  # a column whose transpose looks the same in memory, which misleads the kernel
        return rows.int() * matrix.int()
    if _has_exact_kernel():
        return torch._int_mm(rows, matrix)
    return (rows.double() @ matrix.double()).float()  # the float32 number next to the integer, as of an int32


@functools.cache
def _has_exact_kernel() -> bool:
    """Whether this build of torch and this processor have the product: it is tried with the largest numbers, which
    some instructions cannot add up, and with few and many rows.
    """
    signs = torch.arange(48 * 160).view(48, 160) % 7 % 2 * 2 - 1
    matrix = torch.cat([signs, torch.ones_like(signs), -torch.ones_like(signs)]).mul(MOST)
    try:
        found = [
            torch._int_mm(rows.to(torch.int8), matrix.t().to(torch.int8)) for rows in matrix.split((1, 3, 20, 120))
        ]
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.cat(found).equal((matrix @ matrix.t()).to(torch.int32)))
