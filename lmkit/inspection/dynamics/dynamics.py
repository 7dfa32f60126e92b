"""What a network settles to under a constant token: a point, a cycle, or chaos."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lmkit.inspection.dynamics.lyapunov import Exponent, Tensors, largest_exponent
from lmkit.inspection.finding import Finding, Floats
from lmkit.inspection.walk import take_step
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["KINDS", "Dynamics", "constant_dynamics", "period_of"]

KINDS = ("fixed point", "cycle", "chaos", "settling", "unsettled")
LONGEST_PERIOD = 128
CLOSE = 1e-9  # of the state's own length: float64 has 1e-16, and a slow approach is not to be taken for an arrival
SIGMAS = 3.0


@dataclass(frozen=True, eq=False)
class Dynamics(Finding):
    """The long run of the whole state (h and c of all layers) while one token comes again and again, in float64.

    kind: ``fixed point``; ``cycle``, with its ``period`` in steps; ``chaos``, where the state never repeats and the
    exponent is above zero, by more than three standard errors and one over the number of steps; ``settling``, where it
    is as far below: on the way to a point or a cycle; ``unsettled`` for all else, such as a motion that never repeats
    without being chaotic. exponent: the largest Lyapunov exponent in nats per step, minus infinity where a difference
    is gone altogether. trajectory: (S, U) the first ``U`` numbers of the state at the last steps.
    """

    token: int
    kind: str
    period: int | None
    exponent: float
    error: float
    transient: int
    steps: int
    trajectory: Floats


def constant_dynamics(
    model: LanguageModel,
    token: int,
    *,
    state: State | None = None,
    transient: int = 1_000,
    steps: int = 10_000,
    units: int = 8,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> Dynamics:
    """Let a token come ``transient`` times and then ``steps`` times more, from a state of one row (default: the
    initial one), and look at the latter. A tenth of the steps, at most 1,000, comes between: in it the tangent finds
    its direction.
    """
    wide = copy.deepcopy(model).cpu().double().eval()
    first = wide.initial_state(1) if state is None else state
    step = _step_of(wide, token, first)
    settle = min(1_000, steps // 10)
    watched = _watched(step, transient + settle + steps, report)
    with torch.no_grad():
        flat = tuple(
            one.detach().cpu().double() if one.is_floating_point() else one for layer in first for one in layer
        )
        for _ in range(transient):
            flat = watched(flat)
        exponent, flat = largest_exponent(watched, flat, steps=steps, settle=settle, seed=seed)
        last = torch.stack(list(_states(step, flat, 2 * LONGEST_PERIOD)))
    period = period_of(last)
    shown = last[:, :units].numpy()
    return Dynamics(
        token, _kind(period, exponent, steps), period, exponent.value, exponent.error, transient, steps, shown
    )


def _kind(period: int | None, exponent: Exponent, steps: int) -> str:
    if period is not None:
        return "fixed point" if period == 1 else "cycle"
    doubt = max(SIGMAS * exponent.error, 1 / steps)
    if abs(exponent.value) <= doubt:
        return "unsettled"
    return "chaos" if exponent.value > 0 else "settling"


def period_of(states: Tensor) -> int | None:
    """The smallest number of steps after which the last states (S, D) repeat, 1 for a fixed point; None where they do
    not within half of them.
    """
    scale = CLOSE * max(1.0, float(states.norm(dim=1).max()))
    for period in range(1, len(states) // 2 + 1):
        if bool(((states[-period:] - states[-2 * period : -period]).norm(dim=1) <= scale).all()):
            return period
    return None


def _step_of(model: LanguageModel, token: int, state: State) -> Callable[[Tensors], Tensors]:
    """The step on this token as a map of all tensors of the state side by side."""
    embedded = model.embedding(torch.tensor([token])).detach()
    sizes = [len(layer) for layer in state]

    def step(flat: Tensors) -> Tensors:
        tensors = iter(flat)
        layers = tuple(tuple(next(tensors) for _ in range(size)) for size in sizes)
        after = take_step(model, embedded, layers).state
        return tuple(one for layer in after for one in layer)

    return step


def _watched(
    step: Callable[[Tensors], Tensors], number: int, report: Callable[[float], None] | None
) -> Callable[[Tensors], Tensors]:
    """The same step; ``report`` is called now and then with the share of ``number`` that was taken."""
    taken = 0

    def counted(flat: Tensors) -> Tensors:
        nonlocal taken
        taken += 1
        if report is not None and taken % 100 == 0:
            report(min(1.0, taken / number))
        return step(flat)

    return counted if report is not None else step


def _states(step: Callable[[Tensors], Tensors], flat: Tensors, number: int) -> Iterator[Tensor]:
    """The next states, each as one vector (D,)."""
    for _ in range(number):
        flat = step(flat)
        yield torch.cat([one.flatten() for one in flat if one.is_floating_point()])
