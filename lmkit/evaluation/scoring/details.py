"""What a prediction says beside the probability of its target: entropy, rank, alternatives, the end of a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from lmkit.evaluation.predictor import Predictor
from lmkit.samplers import IGNORE

__all__ = ["Details", "Looking"]

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


class Looking(Generic[S]):
    """A predictor that looks at the whole distribution of a window, and keeps what it saw until the next one."""

    def __init__(self, predictor: Predictor[S], details: Details) -> None:
        self.predictor = predictor
        self.details = details
        self.seen: dict[str, Tensor] = {}

    @property
    def tolerance(self) -> float:
        return self.predictor.tolerance

    def initial_state(self, batch_size: int) -> S:
        return self.predictor.initial_state(batch_size)

    def reset(self, state: S, rows: Tensor) -> S:
        return self.predictor.reset(state, rows)

    def gather(self, rows: Sequence[tuple[S, int]]) -> S:
        return self.predictor.gather(rows)

    def distribution(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        return self.predictor.distribution(tokens, state)

    def score(self, tokens: Tensor, targets: Tensor, state: S) -> tuple[Tensor, S]:
        predicted, state = self.predictor.distribution(tokens, state)
        targets = targets.to(predicted.device)
        found = predicted.gather(2, targets.clamp_min(0)[..., None])
        self.seen = dict(_look(predicted, found, self.details))
        return found[..., 0].masked_fill(targets == IGNORE, 0.0), state


def _look(predicted: Tensor, found: Tensor, details: Details) -> Iterator[tuple[str, Tensor]]:
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
