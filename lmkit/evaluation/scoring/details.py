"""What a prediction says beside the probability of its target: entropy, rank, alternatives, the end of a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lmkit.evaluation.perplexity import TokenScores, begin
from lmkit.evaluation.predictor import Predictor
from lmkit.samplers import IGNORE, Window

__all__ = ["Details", "score_in_detail"]

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Details:
    """What is asked of each prediction beside its target's log-probability; anything needs the whole distribution.

    begins: (V,) bool, tokens whose joint probability is the chance that the word before has ended.
    """

    entropy: bool = False
    rank: bool = False
    top_k: int = 0
    begins: Tensor | None = None

    def __bool__(self) -> bool:
        return self.entropy or self.rank or self.top_k > 0 or self.begins is not None


def score_in_detail(
    predictor: Predictor[S], window: Window, state: S | None, details: Details
) -> tuple[TokenScores, S]:
    """``score_window`` from the whole distribution, with what it says beside the probability of the target."""
    predicted, state = predictor.distribution(window.inputs, begin(predictor, window, state))
    targets = window.targets.to(predicted.device)
    found = predicted.gather(2, targets.clamp_min(0)[..., None])
    named = {name: values.cpu() for name, values in _details(predicted, found, details)}
    return TokenScores(window, found[..., 0].masked_fill(targets == IGNORE, 0.0).cpu(), named), state


def _details(predicted: Tensor, found: Tensor, details: Details) -> Iterator[tuple[str, Tensor]]:
    """The details of predictions (B, T, V) whose targets have log-probabilities (B, T, 1)."""
    if details.entropy:
        yield "entropy", torch.special.entr(predicted.exp()).sum(-1)
    if details.rank:
        yield "rank", (predicted > found).sum(-1) + 1
    if details.top_k:
        values, ids = predicted.topk(min(details.top_k, predicted.shape[-1]))
        yield "top_ids", ids
        yield "top_log_probs", values
    if details.begins is not None:
        yield "boundary", predicted[..., details.begins.to(predicted.device)].logsumexp(-1)
