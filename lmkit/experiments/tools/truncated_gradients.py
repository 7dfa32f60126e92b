"""How far the gradients of a style of truncation are from those without: their bias and their spread, weights fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.config import TrainingConfig
from lmkit.model import state as states
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.session.sampling import training_sampler

__all__ = ["Spread", "epoch_gradient", "kept_bytes", "spread"]


class Spread(NamedTuple):
    """Of draws around the gradient without truncation, as shares of its norm: the distance of their mean (what the
    draws' own spread adds to it is taken off), the root of their mean squared distance from that mean, and the cosine
    of their mean.
    """

    bias: float
    spread: float
    cosine: float


def epoch_gradient(model: LanguageModel, ids: np.ndarray, eos_id: int, training: TrainingConfig, seed: int) -> Tensor:
    """The gradient (P,) of the summed loss of a text (N,) that an epoch of this seed adds up window by window, at fixed
    weights. For a model that drops nothing: ``model.eval()``.
    """
    sampler = training_sampler(training, ids, np.zeros(1, np.int64), eos_id=eos_id, seed=seed)
    loss = SequenceLoss(model, factor=training.border_factor)
    parameters = list(model.parameters())
    total = torch.zeros(sum(one.numel() for one in parameters), dtype=parameters[0].dtype)
    state = model.initial_state(training.batch_size)
    for window in sampler.epoch(0):
        state = model.reset(state, window.reset)

        nll, _, _, state = loss(window.inputs, window.targets, state, window.marks)
        total += torch.cat([one.flatten() for one in torch.autograd.grad(nll, parameters)])
        state = states.detach(state)
    return total


def spread(draws: Sequence[Tensor], whole: Tensor) -> Spread:
    """Draws (P,) of a gradient, two at least, against the one without truncation."""
    stacked = torch.stack(list(draws))
    mean, number = stacked.mean(0), len(draws)
    variance = float((stacked - mean).square().sum()) / (number - 1)
    bias = max(0.0, float((mean - whole).square().sum()) - variance / number)
    norm = float(whole.norm())
    return Spread(bias**0.5 / norm, variance**0.5 / norm, float(mean @ whole / (mean.norm() * norm)))


def kept_bytes(model: LanguageModel, rows: int, steps: int) -> int:
    """Bytes that a window of ``rows`` and ``steps`` keeps for its gradient, besides the parameters."""
    parameters = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.zeros(rows, steps, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = SequenceLoss(model)(
            tokens, tokens, model.initial_state(rows)
        )  # as long as it lives, so does what it keeps
    assert found.nll.requires_grad
    return sum(kept.values())
