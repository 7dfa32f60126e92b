"""Functions computed number by number: where the last numbers of a tensor may be computed in another way."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["WholeVectors"]

VECTOR = 32  # float32 numbers that torch's loops take at a time, at most
GRAIN = 32768  # numbers from which on torch shares a tensor among threads
# one rounding at most, or a library's own loop over any number of numbers
ANYWHERE = {
    *(
        "abs",
        "add",
        "bitwise_not",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clone",
        "cos",
        "div",
        "eq",
        "exp",
        "expm1",
        "ge",
    ),
    *("gt", "le", "logical_and", "logical_not", "lt", "masked_fill", "maximum", "minimum", "mul", "neg", "pow", "relu"),
    *("round", "rsub", "sin", "sqrt", "sub", "tanh", "where"),
}


class WholeVectors(TorchDispatchMode):
    """Watches the functions that are called within it on some rows, and says in ``kept`` whether each number has the
    same bits wherever its row stands.

    Torch computes a sigmoid many numbers at a time, and what is left over at the end of a tensor, or of a thread's
    share of it, one by one, with another last bit once in thirty times. So rows must consist of whole vectors, or each
    must be gone through by itself, as the gates of an LSTM are: they lie apart in memory.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's compiler, which takes seconds to import, is of no concern here."""
        return False

    def __init__(self, num_rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_rows = num_rows
        self.kept = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.pointwise in func.tags and func.overloadpacket.__name__.removesuffix("_") not in ANYWHERE:
            self.kept = self.kept and self._is_safe(args[0])
        return func(*args, **(kwargs or {}))

    def _is_safe(self, source: Tensor) -> bool:
        if not source.numel() or (source.dim() == 1 and len(source) != self.num_rows):
            return True  # nothing, or a parameter, which is the same for any number of rows
        width, numel = source.numel() // self.num_rows, source.numel()
        share = math.ceil(numel / min(torch.get_num_threads(), math.ceil(numel / GRAIN)))
        if width % VECTOR == 0 and share % VECTOR == 0:
            return True
        apart = source.dim() == 2 and source.stride(1) == 1 and not source.is_contiguous()
        return apart and share == numel
