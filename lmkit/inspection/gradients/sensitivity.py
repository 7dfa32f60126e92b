"""How a prediction depends on what the network held, and on the tokens that it read, some steps before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.inspection.finding import Finding, Floats, plain
from lmkit.inspection.walk import Layered, walk
from lmkit.model import state as states
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["BeforeAndAfter", "Norms", "Sensitivity", "measure_sensitivity", "token_influence"]


@dataclass(frozen=True, eq=False)
class Norms(Finding):
    """Norms of gradients by lag: rows (R, T), whose column k is k steps before the prediction.

    name: what the gradient is with respect to, such as ``h``. layer: of which layer, from the embedding upwards; None
    for the embeddings of the tokens themselves.
    """

    name: str
    layer: int | None
    rows: Floats

    @property
    def mean(self) -> Floats:
        """Over the rows: (T,)."""
        mean: Floats = self.rows.mean(axis=0)
        return mean

    @property
    def median(self) -> Floats:
        """Over the rows: (T,)."""
        median: Floats = np.median(self.rows, axis=0)
        return median

    @property
    def factor(self) -> float:
        """By what a step back multiplies the mean, from the least squares of its logarithm; 0 where it becomes 0."""
        if len(self.mean) < 2 or not self.mean.all():
            return 0.0 if len(self.mean) > 1 else float("nan")
        return float(np.exp(np.polyfit(np.arange(len(self.mean)), np.log(self.mean), 1)[0]))

    def to_dict(self) -> dict[str, Any]:
        """Mean and median for each lag."""
        numbers = {"mean": self.mean.tolist(), "median": self.median.tolist(), "factor_per_step": plain(self.factor)}
        return {"name": self.name, "layer": self.layer, "rows": len(self.rows), **numbers}


@dataclass(frozen=True, eq=False)
class Sensitivity(Finding):
    """What the losses (R,) in nats of R predictions depend on: what each layer held, and the tokens' embeddings."""

    losses: Floats
    states: tuple[Norms, ...]
    inputs: Norms

    def of(self, layer: int, name: str) -> Norms:
        """The norms for a tensor of a layer, such as ``of(0, "h")``."""
        return next(norms for norms in self.states if (norms.layer, norms.name) == (layer, name))

    def to_dict(self) -> dict[str, Any]:
        """Means and medians for each lag, over the rows."""
        return {"loss": float(self.losses.mean()), **{**super().to_dict(), "losses": len(self.losses)}}


@dataclass(frozen=True, eq=False)
class BeforeAndAfter(Finding):
    """The same predictions of a network and of its untrained twin."""

    untrained: Sensitivity
    trained: Sensitivity


def measure_sensitivity(model: LanguageModel, inputs: Tensor, targets: Tensor, state: State) -> Sensitivity:
    """Norms of d loss / d value for the loss of the target (R,) after inputs (R, T), read from a state.

    A value is a tensor of a layer's state after one of the steps. Its gradient is the whole one, along every path from
    it to the loss: also through the layers above at the same step, and for ``c`` through the ``h`` that is made of it.
    Column k of a result is the value k steps before the last. That of the tokens is with respect to their embeddings.
    """
    embedded = model.embedding(inputs.t()).detach().requires_grad_()
    with torch.enable_grad():
        held, losses = _read(model, embedded, targets, states.detach(state))
        wanted = [tensor for values in held for tensor in values.values()]
        found = torch.autograd.grad(losses.sum(), [embedded, *wanted], allow_unused=True, materialize_grads=True)
    by_input, rest = found[0].norm(dim=2).t(), list(found[1:])
    by_name: dict[tuple[int, str], list[Tensor]] = {}
    for values in held:
        for name in values:
            by_name.setdefault(name, []).append(rest.pop(0).flatten(1).norm(dim=1))
    layers = tuple(Norms(name, layer, _by_lag(torch.stack(norms, 1))) for (layer, name), norms in by_name.items())
    return Sensitivity(_numbers(losses), layers, Norms("embedding", None, _by_lag(by_input)))


def token_influence(model: LanguageModel, inputs: Tensor, targets: Tensor, state: State) -> Floats:
    """How much each token weighs in each prediction of one text: (T, T), in row t the norms of the gradient of the
    log-probability of target t with respect to the embeddings of the tokens (T,), which is 0 for those after it.
    """
    embedded = model.embedding(inputs)[:, None].detach().requires_grad_()
    with torch.enable_grad():
        steps = list(walk(model, embedded, states.detach(state)))
        losses = model.head.nll(torch.cat([step.outputs[-1] for step in steps]), targets)
        rows = [torch.autograd.grad(loss, embedded, retain_graph=True)[0][:, 0].norm(dim=1) for loss in losses]
    return _numbers(torch.stack(rows))


def _read(model: LanguageModel, embedded: Tensor, targets: Tensor, state: State) -> tuple[Sequence[Layered], Tensor]:
    """What the layers held after each step, and the losses (R,) after the last."""
    steps = list(walk(model, embedded, state))
    return [step.values(model) for step in steps], model.head.nll(steps[-1].outputs[-1], targets)


def _by_lag(norms: Tensor) -> Floats:
    """(R, T) in the order of time to the newest first."""
    return _numbers(norms.flip(1))


def _numbers(values: Tensor) -> Floats:
    return values.detach().cpu().double().numpy()
