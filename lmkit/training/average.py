"""Means of the weights on the way of a training: what is validated, kept and sampled in the place of the last ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lmkit.config import TrainingConfig
from lmkit.model.encoder import Encoder
from lmkit.training.mismatch import Mismatch

__all__ = ["Average", "make_average"]


class Average:
    """A mean of the weights after each step, from the step at which it begins, those of that step included.

    ``ema``: weights of t steps ago count decay^t as much as the last ones; the sum of these factors divides, so there
    is no bias towards the start (as Kingma & Ba 2015 correct theirs). It begins after the first step. ``swa``: all
    count the same, from the share ``start`` of the training on (Izmailov et al. 2018, arXiv 1803.05407, who take the
    mean of epochs). ``nt-asgd``: all count the same, from the first validation on that is worse than the best of all
    but the last ``n`` before it (Merity, Keskar & Socher 2018, arXiv 1708.02182, algorithm 1).

    model: the network that holds the mean, None before it begins; training continues from the weights themselves.
    count: how many weights are in it, a 0-d tensor where the network is. started_at: the step that it began at. losses:
    nats per token of the validations before that, for ``nt-asgd``.
    """

    def __init__(self, kind: str, *, decay: float = math.nan, start: float = math.nan, n: int = 0) -> None:
        self.kind, self.decay, self.start, self.n = kind, decay, start, n
        self.model: Encoder | None = None
        self.count = torch.tensor(0)
        self.started_at = 0
        self.losses: list[float] = []

    def before_step(self, model: Encoder, step: int, progress: float) -> None:
        """Begin where that is due before the next step. step: those that were taken; progress: in [0, 1]."""
        due = {"ema": step >= 1, "swa": step >= 1 and progress >= self.start, "nt-asgd": False}[self.kind]
        if self.model is None and due:
            self._begin(model, step)

    def after_validation(self, model: Encoder, step: int, nats_per_token: float) -> None:
        """Take note of a validation, and begin where it is the one that begins ``nt-asgd``."""
        if self.kind != "nt-asgd" or self.model is not None:
            return
        loss = nats_per_token if math.isfinite(nats_per_token) else math.inf
        if len(self.losses) > self.n and loss > min(self.losses[: -self.n]):
            self._begin(model, step)
        self.losses.append(loss)

    def add(self, model: Encoder, skipped: Tensor) -> None:
        """Take the weights of now into the mean, unless the step was ``skipped`` (a 0-d bool that is never read)."""
        if self.model is None:
            return
        self.count = self.count.to(skipped.device) + ~skipped
        share = torch.where(skipped, 0.0, self._share(self.count))
        with torch.no_grad():
            for mean, weights in zip(self.model.parameters(), model.parameters(), strict=True):
                mean.lerp_(weights, share.to(mean.dtype))
        self.model.constrain()  # the mean of matrices within a spectral radius may be beyond it

    def _share(self, count: Tensor) -> Tensor:
        """How much the last of ``count`` weights counts in their mean."""
        number = count.to(torch.float32 if count.device.type == "mps" else torch.float64)
        if self.kind == "ema":
            return (self.decay - 1) / torch.expm1(number * math.log(self.decay))
        return 1 / number

    def _begin(self, model: Encoder, step: int) -> None:
        # moved to where it is, which puts the weights of torch's kernels into one piece of memory again
        self.model = copy.deepcopy(model).requires_grad_(False).to(next(model.parameters()).device)
        self.count, self.started_at = torch.tensor(1), step

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values; weights are None before the mean begins."""
        return {
            "weights": None if self.model is None else self.model.state_dict(),
            "count": int(self.count),
            "started_at": self.started_at,
            "losses": tuple(self.losses),
        }

    def load_mean(self, values: Mapping[str, Any], model: Encoder) -> None:
        """Take over the mean of ``state_dict``, but not the losses; ``model`` is trained beside it. Second names of
        tied weights may be absent. Raises Mismatch for one of another network.
        """
        self.model, self.count, self.started_at = None, torch.tensor(0), 0
        if values["weights"] is None:
            return
        if values["count"] < 1:
            raise Mismatch(f"its mean is one of {values['count']} weights")
        self._begin(model, int(values["started_at"]))
        self.count = torch.tensor(int(values["count"]))
        try:
            copied: Any = self.model
            copied.load_state_dict(values["weights"], strict=False)
        except RuntimeError as error:
            raise Mismatch(str(error)) from error


def make_average(config: TrainingConfig) -> Average | None:
    """The mean that a configuration asks for, None without one."""
    if config.average == "none":
        return None
    return Average(
        config.average, **{name.removeprefix("average_"): value for name, value in config.average_options.items()}
    )
