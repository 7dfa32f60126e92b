"""Pooling: one vector for all outputs of a document, whatever the windows it was read in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.model.widened import widened

__all__ = ["POOLINGS", "Running", "pooled", "pooled_at_each", "running"]

# Which vectors of D numbers lie side by side; all three are the pooling of Howard & Ruder (2018, arXiv 1801.06146,
# section 3.3).
POOLINGS = {"last": ("last",), "mean": ("mean",), "max": ("max",), "concat": ("last", "max", "mean")}


class Running(NamedTuple):
    """The outputs of B rows so far: their sum and their largest values, each (B, D), and how many they are."""

    total: Tensor
    largest: Tensor
    steps: int


def running(outputs: Tensor, before: Running | None) -> Running:
    """With the outputs (T, B, D) of one more window."""
    outputs_TBD = widened(outputs)
    total, largest = outputs_TBD.sum(dim=0), outputs_TBD.amax(dim=0)
    if before is None:
        return Running(total, largest, len(outputs))
    return Running(before.total + total, torch.maximum(before.largest, largest), before.steps + len(outputs))


def pooled(pooling: str, outputs: Tensor, lengths: Tensor, before: Running | None) -> Tensor:
    """The vectors (B, P) of rows that end in a window: of its outputs (T, B, D) row b has the first ``lengths[b]``, at
    least one, and what comes after them changes nothing. lengths: (B,) on the CPU. before: of the windows before it.
    """
    outputs_TBD, has_padding = widened(outputs), int(lengths.min()) < len(outputs)
    lengths = lengths.to(outputs.device)
    padding_TB1 = (torch.arange(len(outputs), device=outputs.device)[:, None] >= lengths)[..., None]
    steps_B1 = lengths[:, None] + (0 if before is None else before.steps)

    def filled(value: float) -> Tensor:
        return outputs_TBD.masked_fill(padding_TB1, value) if has_padding else outputs_TBD

    found = []
    for part in POOLINGS[pooling]:
        if part == "last":
            found.append(outputs_TBD[lengths - 1, torch.arange(len(lengths), device=lengths.device)])
        elif part == "max":
            largest_BD = filled(-torch.inf).amax(dim=0)
            found.append(largest_BD if before is None else torch.maximum(before.largest, largest_BD))
        else:
            total_BD = filled(0.0).sum(dim=0)
            found.append((total_BD if before is None else before.total + total_BD) / steps_B1)
    return torch.cat(found, dim=-1)


def pooled_at_each(pooling: str, outputs: Tensor, before: Running | None) -> Tensor:
    """The vectors (T, B, P) of rows that would end at each step of a window with outputs (T, B, D)."""
    outputs_TBD = widened(outputs)
    steps_T11 = torch.arange(1, len(outputs) + 1, device=outputs.device)[:, None, None]
    found = []
    for part in POOLINGS[pooling]:
        if part == "last":
            found.append(outputs_TBD)
        elif part == "max":
            largest_TBD = outputs_TBD.cummax(dim=0).values
            found.append(largest_TBD if before is None else torch.maximum(before.largest, largest_TBD))
        else:
            total_TBD = outputs_TBD.cumsum(dim=0)
            if before is not None:
                total_TBD, steps_T11 = before.total + total_TBD, before.steps + steps_T11
            found.append(total_TBD / steps_T11)
    return torch.cat(found, dim=-1)
