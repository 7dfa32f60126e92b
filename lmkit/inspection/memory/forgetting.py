"""How fast two states from different pasts become equal when the same text follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.inspection.finding import Finding, Floats
from lmkit.inspection.walk import Step, walk
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel

__all__ = ["Distance", "Forgetting", "measure_forgetting"]


@dataclass(frozen=True, eq=False)
class Distance(Finding):
    """How far two pasts lie apart in a tensor of a layer: rows (R, T), Euclidean, after each token of the same text."""

    name: str
    layer: int
    rows: Floats

    @property
    def mean(self) -> Floats:
        """Over the rows: (T,)."""
        mean: Floats = self.rows.mean(axis=0)
        return mean

    def tokens_to(self, share: float) -> int | None:
        """After how many tokens of the same text the mean is at most this share of that after the first; None where it
        never is.
        """
        near = np.flatnonzero(self.mean <= share * self.mean[0])
        return int(near[0]) + 1 if len(near) else None

    def to_dict(self) -> dict[str, Any]:
        """The mean after each token."""
        marks = {f"tokens_to_{share:g}": self.tokens_to(share) for share in (0.5, 0.1, 0.01)}
        return {"name": self.name, "layer": self.layer, "mean": self.mean.tolist(), **marks}


@dataclass(frozen=True, eq=False)
class Forgetting(Finding):
    """The distances in every layer, and in the predictions: by how many nats the loss of each token of the same text
    differs between the two pasts, without sign, (R, T); the first token is predicted from the pasts alone.
    """

    distances: tuple[Distance, ...]
    losses: Floats

    def to_dict(self) -> dict[str, Any]:
        """Means over the rows."""
        return {
            "rows": len(self.losses),
            "distances": [one.to_dict() for one in self.distances],
            "loss_difference": self.losses.mean(axis=0).tolist(),
        }


def measure_forgetting(model: LanguageModel, one: Tensor, other: Tensor, following: Tensor) -> Forgetting:
    """Two pasts (R, P) and (R, Q) from the initial state, and a text (R, T) that is read after both."""
    device = next(model.parameters()).device
    with inference(model):
        following = following.to(device)
        runs = [_read(model, past.to(device), following) for past in (one, other)]
        distances: dict[tuple[int, str], list[Tensor]] = {}
        for steps in zip(*(steps for steps, _ in runs), strict=True):
            mine, theirs = (step.values(model) for step in steps)
            for name, value in mine.items():
                distances.setdefault(name, []).append((value - theirs[name]).flatten(1).norm(dim=1))
        losses = (runs[0][1] - runs[1][1]).abs()
    found = [Distance(name, layer, _numbers(torch.stack(rows, 1))) for (layer, name), rows in distances.items()]
    return Forgetting(tuple(found), _numbers(losses))


def _read(model: LanguageModel, past: Tensor, following: Tensor) -> tuple[list[Step], Tensor]:
    """The steps of the following text (R, T), and its losses (R, T)."""
    hidden, state = model.features(past, model.initial_state(len(past)))
    steps = list(walk(model, model.embedding(following.t()), state))
    outputs = torch.stack([hidden[:, -1], *(step.outputs[-1] for step in steps[:-1])], dim=1)
    losses = model.head.nll(outputs.flatten(0, 1), following.flatten())
    return steps, losses.view(following.shape)


def _numbers(values: Tensor) -> Floats:
    return values.cpu().double().numpy()
