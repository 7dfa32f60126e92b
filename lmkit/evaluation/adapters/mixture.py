"""Mixtures: a weighted mean of the probabilities of several predictors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.evaluation.predictor import Predictor
from lmkit.model.head import IGNORE

__all__ = ["Mixture", "best_weights", "mean"]

ROUNDS = 200
TOLERANCE = 1e-9


class Mixture:
    """p = sum of weight * p of each predictor, all over the same tokens; the state is the tuple of their states.

    Raises ConfigError unless the weights are positive and sum to one.
    """

    def __init__(self, predictors: Sequence[Predictor[Any]], weights: Sequence[float]) -> None:
        if len(predictors) != len(weights) or not predictors:
            raise ConfigError(f"A mixture of {len(predictors)} predictors needs as many weights, not {len(weights)}.")
        if not (all(weight >= 0 for weight in weights) and abs(sum(weights) - 1) <= 1e-6):  # so NaN is refused too
            raise ConfigError(f"The weights of a mixture must be positive and sum to 1, not {list(weights)}.")
        used = [index for index, weight in enumerate(weights) if weight > 0]
        self.predictors = [predictors[index] for index in used]
        self.weights = [weights[index] for index in used]

    @property
    def tolerance(self) -> float:
        return max(predictor.tolerance for predictor in self.predictors)

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        return tuple(predictor.initial_state(batch_size) for predictor in self.predictors)

    def reset(self, state: tuple[Any, ...], rows: Tensor) -> tuple[Any, ...]:
        return tuple(predictor.reset(part, rows) for predictor, part in zip(self.predictors, state, strict=True))

    def gather(self, rows: Sequence[tuple[tuple[Any, ...], int]]) -> tuple[Any, ...]:
        return tuple(
            predictor.gather([(state[index], row) for state, row in rows])
            for index, predictor in enumerate(self.predictors)
        )

    def score(self, tokens: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        parts = [predictor.score(tokens, targets, part) for predictor, part in zip(self.predictors, state, strict=True)]
        mixed = mean([scores.cpu() for scores, _ in parts], self.weights).masked_fill(targets.cpu() == IGNORE, 0)
        return mixed, tuple(part for _, part in parts)

    def distribution(self, tokens: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        parts = [predictor.distribution(tokens, part) for predictor, part in zip(self.predictors, state, strict=True)]
        return mean([scores.cpu() for scores, _ in parts], self.weights), tuple(part for _, part in parts)


def mean(log_probs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The logarithm, in float64, of the weighted mean of probabilities: K tensors of one shape, and K weights.

    Of what has no weight nothing is looked at.
    """
    weighted = [part.double() + math.log(weight) for part, weight in zip(log_probs, weights, strict=True) if weight > 0]
    return torch.logsumexp(torch.stack(weighted), dim=0)


def best_weights(log_probs: Tensor) -> list[float]:
    """The weights under which a mixture gives a text the highest probability.

    log_probs: (K, N), what each of K predictors gives to each of N tokens, in nats. Expectation maximisation
    (Dempster et al. 1977); the likelihood is concave in the weights, so there is one maximum. Towards a weight of zero
    it goes ever more slowly, so a predictor without which the text is no less probable gets exactly that.
    """
    scores = log_probs.double()
    weights = _maximise(scores)
    used = torch.arange(len(scores))
    while len(used) > 1:
        fewer = used[weights[used] > weights[used].min()]
        if len(fewer) == 0:
            break
        without = torch.zeros_like(weights)
        without[fewer] = _maximise(scores[fewer])
        if _likelihood(scores, without) < _likelihood(scores, weights):
            break
        weights, used = without, fewer
    return [float(weight) for weight in weights]


def _likelihood(scores: Tensor, weights: Tensor) -> float:
    return float(mean(list(scores), weights.tolist()).sum())


def _maximise(scores: Tensor) -> Tensor:
    """Weights (K,) by expectation maximisation, from equal ones."""
    weights = torch.full((len(scores), 1), 1.0 / len(scores), dtype=torch.float64)
    for _ in range(ROUNDS):
        joint = scores + weights.log()
        shares = (joint - joint.logsumexp(0)).exp().nan_to_num(0)  # a token that all of them hold for impossible
        updated = shares.sum(dim=1, keepdim=True) / shares.sum()
        done = bool((updated - weights).abs().max() < TOLERANCE)
        weights = updated
        if done:
            break
    return weights.flatten()
