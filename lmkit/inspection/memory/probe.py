"""A linear probe: which class can be read from a vector by multinomial logistic regression."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Probe", "fit_probe"]

LEAST_DEVIATION = 1e-6  # of a number that is divided by it: what hardly varies tells nothing


class Probe(NamedTuple):
    """weight (C, D) and bias (C,) of the regression on vectors (D,) less ``mean`` (D,), divided by ``deviation``."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor

    def logits(self, vectors: Tensor) -> Tensor:
        """Of vectors (N, D): (N, C)."""
        return F.linear((vectors - self.mean) / self.deviation, self.weight, self.bias)

    def accuracy(self, vectors: Tensor, classes: Tensor) -> float:
        """Share of the classes (N,) that are read right."""
        return float((self.logits(vectors).argmax(1) == classes).double().mean())

    def nats(self, vectors: Tensor, classes: Tensor) -> float:
        """Mean negative log-probability of the classes (N,)."""
        return float(F.cross_entropy(self.logits(vectors), classes))


def fit_probe(
    vectors: Tensor, classes: Tensor, num_classes: int, *, penalty: float = 1e-2, iterations: int = 40
) -> Probe:
    """Fit a probe to vectors (N, D) and classes (N,): cross-entropy plus half of ``penalty`` times the squared weights,
    by L-BFGS from zero.
    """
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0).clamp_min(LEAST_DEVIATION)
    standard = (vectors - mean) / deviation
    weight = standard.new_zeros(num_classes, vectors.shape[1], requires_grad=True)
    bias = standard.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(standard, weight, bias), classes) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, deviation)
