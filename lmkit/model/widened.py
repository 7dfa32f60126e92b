"""The precision of what must not be rounded to sixteen bits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["widened"]


def widened(values: Tensor) -> Tensor:
    """Values in float32, or in float64 where the network computes in it: what a softmax, a penalty or a gate is made
    of.

    bfloat16 has no number between 0.996 and 1, so a gate that keeps a state for a thousand steps would keep it for 256
    of them, or for ever.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
