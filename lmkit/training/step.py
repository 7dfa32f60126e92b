"""One step of training: a window forward, its gradient back to the window's beginning and no further, one update.

A step is taken in two halves. ``take_step`` computes and updates without reading anything from the device; ``sync``
brings the metrics of the steps since the last reading to the host, where a step that was not finite is found. On a CPU
every step is read at once; on a GPU reading is what makes the program wait, so it is done now and then, and until then
a flag on the device has turned the update of such a step into none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lmkit.errors import NonFiniteError
from lmkit.model import state as states
from lmkit.model.encoder import LossOfWindows
from lmkit.samplers import IGNORE, Window
from lmkit.training.graphs import StepInputs
from lmkit.training.guard import MAX_SKIPPED_IN_A_ROW, Skipped
from lmkit.training.optimizers import can_run_ahead, set_learning_rate
from lmkit.training.state import TrainState

__all__ = ["StepRecord", "Update", "sync", "take_step", "train_step"]

READ_EVERY_ON_A_GPU = 20


@dataclass(frozen=True)
class StepRecord:
    """What the steps since the last record did: nll (a sum in nats over ``tokens`` targets), the learning rate of the
    last of them, their largest gradient norm before clipping, and how many were clipped. On a CPU a record is one step.

    Steps that were skipped are in neither sum.
    """

    step: int
    epoch: int
    nll: float
    tokens: int
    lr: float
    grad_norm: float
    skipped: tuple[Skipped, ...] = ()
    clipped: int = 0


@dataclass(frozen=True)
class Update:
    """How the steps of a run are taken.

    loss: the module that gives a WindowLoss. targets_per_window: mean targets in a window of this epoch; what is
    differentiated is (nll + penalty) / targets_per_window, so every target weighs the same whatever its window.
    precision: of the forward pass; float32 means no autocast. on_nonfinite: what a step without finite loss and
    gradient does: ``raise`` NonFiniteError, or ``skip`` it (``rollback`` is skipping here; the caller puts older
    weights back). skip_spikes: skip steps that are far out of line, too. read_every: steps between two readings of the
    device. accumulate: parts of a window's rows whose gradients are added up. no_sync: where other processes compute
    other rows, a context in which a gradient is only added up here.
    """

    loss: LossOfWindows
    device: torch.device
    precision: torch.dtype = torch.float32
    max_grad_norm: float = 0.0
    on_nonfinite: str = "raise"
    skip_spikes: bool = False
    read_every: int = 1
    accumulate: int = 1
    no_sync: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def reads_each_step(self) -> bool:
        """Whether the host looks at every step before it updates."""
        return self.read_every == 1

    @classmethod
    def steps_per_reading(
        cls, device: torch.device, precision: torch.dtype, optimizer: Optimizer, checkpoint_every: int | None
    ) -> int:
        """How many steps a device may run ahead, so that it is read where a checkpoint is due. The scale of float16
        needs a look at every step, and so does an optimiser without a fused kernel.
        """
        if device.type != "cuda" or precision == torch.float16 or not can_run_ahead(optimizer):
            return 1
        return math.gcd(READ_EVERY_ON_A_GPU, checkpoint_every or READ_EVERY_ON_A_GPU)


@dataclass(frozen=True)
class Pending:
    """A step that was taken and not read yet. tokens: its targets in all processes. metrics: nll, gradient norm,
    whether it was not finite, whether it was a spike, (4,) on the device.
    """

    step: int
    epoch: int
    index: int
    tokens: int | Tensor
    lr: float
    metrics: Tensor


def train_step(
    train: TrainState, window: Window, update: Update, *, lr: float, targets_per_window: float
) -> StepRecord:
    """Train on one window and advance the state. Raises NonFiniteError, before anything has changed, if loss or
    gradient is not finite and the policy is ``raise``.
    """
    return sync(train, [take_step(train, window, update, lr=lr, targets_per_window=targets_per_window)], update)


def take_step(train: TrainState, window: Window, update: Update, *, lr: float, targets_per_window: float) -> Pending:
    """Train on one window and advance the state; a step that is not finite moves no weight."""
    train.model.train()
    count: int | Tensor = int((window.targets != IGNORE).sum())
    before = _starting_state(train, window, update.device)
    inputs = window.inputs.to(update.device, non_blocking=True)
    targets = window.targets.to(update.device, non_blocking=True)
    divisor = targets_per_window / train.world.size  # what follows is a mean over the processes
    given = StepInputs(inputs, targets, before, divisor, lr, window.marks)
    given = given.on_device() if update.device.type == "cuda" and not update.reads_each_step else given
    if _can_be_a_graph(train, update, before):
        metrics, train.carried = train.graphs.run(given, lambda given: _step(train, update, given, count)[:2])
    else:
        metrics, train.carried, count = _step(train, update, given, count)
    set_learning_rate(train.optimizer, lr)
    if train.average is not None:
        skipped = metrics[2:].any() | ~torch.isfinite(metrics[1])  # float16's scaler skips where the norm is not finite
        train.average.add(train.model, skipped if train.stopped is None else skipped | train.stopped)
    pending = Pending(train.step + 1, train.epoch, train.index, count, lr, metrics)
    train.step += 1
    train.index += 1
    return pending


def _step(
    train: TrainState, update: Update, given: StepInputs, count: int | Tensor
) -> tuple[Tensor, states.State, int | Tensor]:
    """The gradient and the update: the metrics of ``Pending``, the state that follows, and of ``count`` targets here
    those of all processes. The device is looked at only where every step is read.
    """
    nll, norm, after = _gradient(train, update, given)
    nll, count = train.world.sum(nll, count)
    loss, nonfinite = nll / _at_least_one(count), _is_nonfinite(train, nll, norm)
    if update.reads_each_step and update.on_nonfinite == "raise" and bool(nonfinite):
        position = (train.step + 1, train.epoch, train.index)
        raise _nonfinite_error(Skipped(*position, "nonfinite", float(loss), float(norm), _norms(train.model)))
    spike = train.guard.judge(loss, norm) & ~nonfinite if update.skip_spikes else torch.zeros_like(nonfinite)
    if not (update.reads_each_step and bool(nonfinite | spike)):  # else it is reported with its own norms
        _clip(train, update, norm)
    set_learning_rate(train.optimizer, given.lr)
    outcome = (states.detach(given.state), after, nonfinite, spike)
    carried = _update_now(train, *outcome) if update.reads_each_step else _update_unread(train, update, *outcome)
    train.model.constrain()
    return torch.stack([nll, norm.to(nll), nonfinite.to(nll), spike.to(nll)]), carried, count


def _at_least_one(count: int | Tensor) -> int | Tensor:
    return count.clamp_min(1) if isinstance(count, Tensor) else max(1, count)


def _clip(train: TrainState, update: Update, norm: Tensor) -> None:
    """Scale the gradient down to the largest norm. One that is read and within it would be multiplied by 1, which takes
    as long as a look at all parameters.
    """
    most = update.max_grad_norm or math.inf
    if not (update.reads_each_step and bool(norm + 1e-6 <= most)):  # torch's factor is most / (norm + 1e-6), at most 1
        nn.utils.clip_grads_with_norm_(train.model.parameters(), most, norm)


def _can_be_a_graph(train: TrainState, update: Update, before: states.State) -> bool:
    """Whether each step does the same with other numbers: no work whose size hangs on them, no gradient that goes on
    into what the state was made from.
    """
    fixed = train.world.alone and train.model.has_fixed_shapes and not update.reads_each_step and not update.skip_spikes
    return update.device.type == "cuda" and fixed and not any(one.requires_grad for layer in before for one in layer)


def _gradient(train: TrainState, update: Update, given: StepInputs) -> tuple[Tensor, Tensor, states.State]:
    """The nll, the norm of the gradient that now stands at the parameters, and the state without its graph.

    Rows are computed in ``update.accumulate`` parts, one after the other: their gradients add up to that of the whole.
    """
    train.optimizer.zero_grad(set_to_none=True)
    parts = given.parts(update.accumulate)
    found = [_add_gradient(train, update, part, is_last=number == len(parts)) for number, part in enumerate(parts, 1)]
    nlls, after = zip(*found, strict=True)
    train.scaler.unscale_(train.optimizer)
    norm = nn.utils.get_total_norm([one.grad for one in train.model.parameters() if one.grad is not None])
    return torch.stack(nlls).sum(), norm, states.concatenate(after)


def _add_gradient(
    train: TrainState, update: Update, given: StepInputs, *, is_last: bool
) -> tuple[Tensor, states.State]:
    """Add the gradient of some rows to what stands at the parameters; their activations are freed on return. A graph
    that the state comes from is shared by all parts, and the last one frees it.
    """
    with nullcontext() if is_last else update.no_sync():
        with torch.autocast(update.device.type, update.precision, enabled=update.precision != torch.float32):
            nll, penalty, _, after = update.loss(*given.window)
        shares_a_graph = any(one.requires_grad for layer in given.state for one in layer)
        loss = train.scaler.scale((nll + penalty) / given.divisor)
        loss.backward(retain_graph=shares_a_graph and not is_last)
    return nll.detach(), states.detach(after)


def sync(train: TrainState, steps: Sequence[Pending], update: Update) -> StepRecord:
    """One record for steps that were taken. Raises NonFiniteError for one that must not be skipped, and where too many
    were skipped in a row.
    """
    nll, tokens, largest, clipped, skipped = 0.0, 0, 0.0, 0, []
    metrics = torch.stack([step.metrics for step in steps]).tolist()
    counts = [int(step.tokens) for step in steps]
    train.tokens += sum(counts)
    for step, count, (loss, norm, nonfinite, spike) in zip(steps, counts, metrics, strict=True):
        if not (nonfinite or spike):
            nll, tokens, largest = nll + loss, tokens + count, max(largest, norm)
            clipped += norm > (update.max_grad_norm or math.inf)
            train.guard.skipped_in_a_row = 0
            continue
        reason = "nonfinite" if nonfinite else "spike"
        norms = _norms(train.model) if update.reads_each_step else {}  # a graph's gradients are in memory of its own
        lost = Skipped(step.step, step.epoch, step.index, reason, loss / max(1, count), norm, norms)
        if nonfinite and update.on_nonfinite == "raise":
            raise _nonfinite_error(lost)
        skipped.append(lost)
        train.guard.skipped += 1
        train.guard.skipped_in_a_row += bool(nonfinite)
        if train.guard.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise _nonfinite_error(lost, f"; it is the {MAX_SKIPPED_IN_A_ROW}th step in a row that was skipped")
    last = steps[-1]
    return StepRecord(last.step, last.epoch, nll, tokens, last.lr, largest, tuple(skipped), clipped)


def _starting_state(train: TrainState, window: Window, device: torch.device) -> states.State:
    rows = len(window.reset)
    if train.carried is None or bool(window.reset.all()):
        return train.model.initial_state(rows)
    if bool(window.reset.any()):
        return train.model.reset(train.carried, window.reset.to(device))
    return train.carried


def _is_nonfinite(train: TrainState, nll: Tensor, norm: Tensor) -> Tensor:
    """Whether the step is not finite: a 0-d bool on the device."""
    if train.scaler.is_enabled():  # it looks for its own overflows, skips the update and tries a smaller scale
        return ~torch.isfinite(nll)
    return ~(torch.isfinite(nll) & torch.isfinite(norm))


def _update_now(
    train: TrainState, before: states.State, after: states.State, nonfinite: Tensor, spike: Tensor
) -> states.State:
    """The update, or none; the state that the next window continues. After a window that was not finite it is the one
    from before it: its own may be none.
    """
    if not (bool(nonfinite) or bool(spike)):
        train.scaler.step(train.optimizer)
    train.scaler.update()
    return before if bool(nonfinite) else after


def _update_unread(
    train: TrainState, update: Update, before: states.State, after: states.State, nonfinite: Tensor, spike: Tensor
) -> states.State:
    """The same without waiting for the device: torch's fused optimisers do nothing where ``found_inf`` is 1. Under the
    policy ``raise`` one step that is not finite stops all that follow it.
    """
    stop = nonfinite | spike
    if update.on_nonfinite == "raise":
        if train.stopped is None:
            train.stopped = torch.zeros_like(nonfinite)
        train.stopped |= nonfinite  # in place: a graph holds its address
        stop = stop | train.stopped
    optimizer = train.optimizer
    optimizer.found_inf, optimizer.grad_scale = stop.float(), None  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]
    pairs = zip(before, after, strict=True)
    return tuple(tuple(map(lambda old, new: torch.where(nonfinite, old, new), *layers)) for layers in pairs)


def _norms(model: nn.Module) -> dict[str, float]:
    return {name: float(one.grad.norm()) for name, one in model.named_parameters() if one.grad is not None}


def _nonfinite_error(skipped: Skipped, more: str = "") -> NonFiniteError:
    return NonFiniteError(
        f"Step {skipped.step}: the loss is {skipped.nats_per_token:g} and the gradient norm {skipped.grad_norm:g}"
        f"{more}. The model is as it was before this step. A new run with a smaller --lr, or with --clip, usually "
        "helps.",
        skipped,
    )
