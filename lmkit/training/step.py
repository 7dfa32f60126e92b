"""One step of training: a window forward, its gradient back to the window's beginning and no further, one update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from lmkit.errors import NonFiniteError
from lmkit.model import state as states
from lmkit.model.language_model import SequenceLoss
from lmkit.samplers import IGNORE, Window
from lmkit.training.state import TrainState

__all__ = ["StepRecord", "Update", "train_step"]


@dataclass(frozen=True)
class StepRecord:
    """What one step did: nll (a sum in nats over ``tokens`` targets), the learning rate and the gradient norm before
    clipping.
    """

    step: int
    epoch: int
    nll: float
    tokens: int
    lr: float
    grad_norm: float


@dataclass(frozen=True)
class Update:
    """How the steps of a run are taken.

    loss: the module that gives (nll sum, count, state). targets_per_window: mean targets in a window of this epoch;
    the loss is nll / targets_per_window, so every target weighs the same whatever its window. precision: of the
    forward pass; float32 means no autocast.
    """

    loss: SequenceLoss
    device: torch.device
    precision: torch.dtype
    max_grad_norm: float
    scaler: torch.amp.GradScaler


def train_step(
    train: TrainState, window: Window, update: Update, *, lr: float, targets_per_window: float
) -> StepRecord:
    """Train on one window and advance the state. Raises NonFiniteError, before anything has changed, if loss or
    gradient is not finite.
    """
    train.model.train()
    tokens = int((window.targets != IGNORE).sum())
    state = _starting_state(train, window, update.device)
    inputs = window.inputs.to(update.device, non_blocking=True)
    targets = window.targets.to(update.device, non_blocking=True)
    with torch.autocast(update.device.type, update.precision, enabled=update.precision != torch.float32):
        nll, _, state = update.loss(inputs, targets, state)
    loss = nll / targets_per_window
    train.optimizer.zero_grad(set_to_none=True)
    update.scaler.scale(loss).backward()
    update.scaler.unscale_(train.optimizer)
    limit = update.max_grad_norm or math.inf
    norm = float(nn.utils.clip_grad_norm_(train.model.parameters(), limit))
    total = float(nll.detach())
    _refuse_nonfinite(train.step, total, norm, update.scaler)
    for group in train.optimizer.param_groups:
        group["lr"] = lr
    update.scaler.step(train.optimizer)
    update.scaler.update()
    train.carried = states.detach(state)
    train.step += 1
    train.index += 1
    train.tokens += tokens
    return StepRecord(train.step, train.epoch, total, tokens, lr, norm)


def _starting_state(train: TrainState, window: Window, device: torch.device) -> states.State:
    rows = len(window.reset)
    if train.carried is None or bool(window.reset.all()):
        return train.model.initial_state(rows)
    if bool(window.reset.any()):
        return states.reset(train.carried, window.reset.to(device))
    return train.carried


def _refuse_nonfinite(step: int, nll: float, norm: float, scaler: torch.amp.GradScaler) -> None:
    # a float16 scaler looks for its own overflows, skips the update and tries a smaller scale
    if not math.isfinite(nll) or not (math.isfinite(norm) or scaler.is_enabled()):
        raise NonFiniteError(
            f"Step {step + 1}: the loss is {nll:g} and the gradient norm {norm:g}. The model is as it was before "
            "this step; a smaller --lr or --clip usually helps."
        )
