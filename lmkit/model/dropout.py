"""Dropout of values that lie along time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["dropout"]


def dropout(values: Tensor, rate: float, *, training: bool, locked: bool) -> Tensor:
    """Drop values (T, B, D) with a probability and scale up the rest; nothing happens outside training.

    locked: one mask (B, D) for all steps of the window (Gal & Ghahramani 2016, arXiv 1512.05287). It costs T times
    fewer draws, and on a CPU those are a noticeable part of a step.
    """
    if not training or rate == 0:
        return values
    if not locked:
        return F.dropout(values, rate)
    mask = torch.empty(values.shape[1:], dtype=values.dtype, device=values.device).bernoulli_(1 - rate)
    return values * mask.div_(1 - rate)
