"""Dropout: of values that lie along time, and of word types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout", "dropout", "one_window", "type_dropout", "weight_dropout"]


def dropout(values: Tensor, rate: float, *, training: bool, locked: bool) -> Tensor:
    """Drop values (T, B, D) with a probability and scale up the rest; nothing happens outside training.

    locked: one mask (B, D) for all steps of the window (Gal & Ghahramani 2016, arXiv 1512.05287). It costs T times
    fewer draws, and on a CPU those are a noticeable part of a step.
    """
    if not training or rate == 0:
        return values
    return values * _locked_mask(values, rate) if locked else F.dropout(values, rate)


def _locked_mask(values: Tensor, rate: float) -> Tensor:
    """Zeros and scaled ones (B, D) for values (T, B, D)."""
    return torch.empty(values.shape[1:], dtype=values.dtype, device=values.device).bernoulli_(1 - rate).div_(1 - rate)


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
    """``dropout`` as a part of a layer that drops on its own branches, each time it is called."""

    def __init__(self, rate: float, *, locked: bool) -> None:
        super().__init__()
        self.rate, self.locked = rate, locked
        self.masks: list[Tensor] | None = None  # of the branches of a window that is computed in pieces
        self.branch = 0

    def forward(self, values: Tensor) -> Tensor:
        """Values (T, B, D), some of them dropped."""
        if self.masks is None or not self.training or self.rate == 0:
            return dropout(values, self.rate, training=self.training, locked=self.locked)
        if self.branch == len(self.masks):
            self.masks.append(_locked_mask(values, self.rate))
        self.branch += 1
        return values * self.masks[self.branch - 1]


@contextmanager
def one_window(layer: nn.Module) -> Iterator[Callable[[], None]]:
    """A window that a layer computes in pieces: call what is yielded before each of them, and the masks that its locked
    parts draw in the first piece are those of all.
    """
    parts = [part for part in layer.modules() if isinstance(part, Dropout) and part.locked]

    def begin_piece() -> None:
        for part in parts:
            part.branch = 0

    try:
        for part in parts:
            part.masks = []
        yield begin_piece
    finally:
        for part in parts:
            part.masks = None
