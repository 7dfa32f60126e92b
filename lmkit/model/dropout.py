"""Dropout: of values that lie along time, and of word types."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout", "dropout", "type_dropout", "weight_dropout"]


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


def weight_dropout(weight: Tensor, rate: float, common: torch.Generator | None = None) -> Tensor:
    """Drop entries of a matrix that all rows are computed with, and scale up the rest. common: draws the mask, None for
    torch's own generator.
    """
    if common is None:
        return F.dropout(weight, rate)
    mask = torch.empty_like(weight).bernoulli_(1 - rate, generator=common)
    return weight * mask.div_(1 - rate)


def type_dropout(
    embedded: Tensor,
    tokens: Tensor,
    vocab_size: int,
    rate: float,
    *,
    training: bool,
    common: torch.Generator | None = None,
) -> Tensor:
    """Drop the embeddings (..., E) of some of the V types of tokens (...), wherever these stand in the window, and
    scale up the rest; nothing happens outside training.

    One mask (V,) for a window and all of its rows (Gal & Ghahramani 2016, arXiv 1512.05287, section 4.2; Merity et al.
    2018, arXiv 1708.02182, section 4.3). What shares the embedding's weight keeps the whole of it. common: draws the
    mask, None for torch's own generator.
    """
    if not training or rate == 0:
        return embedded
    mask = torch.empty(vocab_size, dtype=embedded.dtype, device=embedded.device).bernoulli_(1 - rate, generator=common)
    return embedded * mask.div_(1 - rate)[tokens].unsqueeze(-1)


class Dropout(nn.Module):
    """``dropout`` as a part of a layer that drops on its own branches."""

    def __init__(self, rate: float, *, locked: bool) -> None:
        super().__init__()
        self.rate, self.locked = rate, locked

    def forward(self, values: Tensor) -> Tensor:
        """Values (T, B, D), some of them dropped."""
        return dropout(values, self.rate, training=self.training, locked=self.locked)
