"""How far back attention looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmkit.inspection.finding import Finding, Floats
from lmkit.model.cells.band import ATTENTION
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["AttentionByLag", "attention_by_lag"]


@dataclass(frozen=True, eq=False)
class AttentionByLag(Finding):
    """The mean weight that each head of a layer gives to the position k steps back, 0 being the own: (heads, M). It is
    over the steps that have such a position, not a number where none has.
    """

    layer: int
    weights: Floats

    @property
    def mean_lag(self) -> Floats:
        """How far back each head looks on average (heads,), among the lags that there are."""
        known = torch.from_numpy(self.weights).nan_to_num()
        lags = torch.arange(known.shape[1], dtype=known.dtype)
        mean: Floats = ((known * lags).sum(1) / known.sum(1)).numpy()
        return mean

    def to_dict(self) -> dict[str, Any]:
        """With the mean lag of each head."""
        return {**super().to_dict(), "mean_lag": self.mean_lag.tolist()}


def attention_by_lag(model: LanguageModel, tokens: Tensor, state: State) -> list[AttentionByLag]:
    """For each layer that attends, while tokens (B, T) are read from a state; an empty list where none does."""
    with inference(model):
        weights = model.attention_weights(tokens, state)
    layers = [number for number, cell in enumerate(model.cells) if "count" in cell.state_names]
    assert len(layers) == len(weights), f"a layer with {ATTENTION} counts its positions"
    counts = [state[number][list(model.cells)[number].state_names.index("count")] for number in layers]
    return [AttentionByLag(layer, _by_lag(*pair)) for layer, *pair in zip(layers, weights, counts, strict=True)]


def _by_lag(weights: Tensor, count: Tensor) -> Floats:
    """The mean over rows and steps of weights (B, heads, T, M), the own position last, where ``count`` (B,) positions
    are filled before the first step.
    """
    steps, size = weights.shape[2:]
    filled = count[:, None] + torch.arange(1, steps + 1, device=count.device)  # after each step
    there = (torch.arange(size, device=count.device) < filled[..., None])[:, None]  # (B, 1, T, M), by lag
    total = weights.flip(-1).double().sum((0, 2))
    mean: Floats = (total / there.sum((0, 2))).cpu().numpy()
    return mean
