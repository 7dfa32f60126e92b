"""Experiment: what a longer window does to the gradient, and what it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lmkit.config import ModelConfig
from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import above, corrected_mean
from lmkit.experiments.tools.numbers import shown
from lmkit.experiments.tools.truncated_gradients import kept_bytes
from lmkit.inspection.gradients.spectra import recurrent_spectra
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["Windows"]

TIMES = 10.0  # a gradient that a longer window makes at least so many times as long
MEMORY, SECONDS = 8.0, 1.5  # and what is called expensive: bytes in all, processor time for a target
TYPES = 100  # of random tokens that are read
RADII = (0.5, 0.9, 1.1, 1.5)
COSTS = ("rnn", "lstm")
FIGURES = len(RADII) + 2 * len(COSTS)  # that are judged


class Windows(Experiment):
    name = "windows"
    title = "Windows: what their length does to the gradient, and what it costs"
    claims = (14,)
    question = "Does the gradient explode because a window is long, and is a long window expensive?"
    rule = (
        "Untrained networks read random tokens in windows of 16 to 1,024 steps; nothing is learnt, so nothing is "
        "chosen. Gradients: plain networks of one layer of 64 units, from orthogonal matrices scaled to spectral radii "
        "of 0.5, 0.9, 1.1 and 1.5, in float64; the norm of the gradient of the mean loss with respect to the recurrent "
        "matrix. A number of calculations explodes it at a radius if the window of 1,024 gives at least ten times the "
        "norm of the one of 64. The first half of claim 14 holds if that is so at every radius, and is refuted if it "
        "is so at none below 1. Costs: a plain network and an LSTM of 128 units, float32, 8 rows. Memory is expensive "
        "if the window of 1,024 keeps at least 8 times the bytes of the one of 64 for its gradient, time if a target "
        "takes at least 1.5 times the processor time; the second half joins the four. Intervals are over seeds and "
        "corrected for the eight figures. Beside it, and not judged: the bytes where a longer window has "
        "fewer rows, so that an update has as many targets."
    )
    minutes = 3
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        gradients = [Arm(_radius(one), {"radius": one}) for one in RADII]
        return [*gradients, *(Arm(_cost(cell), {"cell": cell}) for cell in COSTS)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        lengths = windows(trial.scale)
        draw = torch.Generator().manual_seed(trial.seed)
        tokens = torch.randint(TYPES, (trial.scale.pick(8, 2), lengths[-1] + 1), generator=draw)
        if "radius" in trial.options:
            return gradients(_steep(trial), tokens, lengths)
        return costs(_network(trial, trial.scale.pick(128, 4), trial.options["cell"]), tokens, lengths)

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        growth = {one: _judged(outcomes, _radius(one), "growth") for one in RADII}
        grows = {one: above(growth[one], float(np.log10(TIMES))) for one in RADII}
        below_one = [word for one, word in grows.items() if one < 1]
        explodes = Word.REFUTED if set(below_one) == {Word.REFUTED} else together(list(grows.values()))
        memory = {cell: _judged(outcomes, _cost(cell), "memory_growth") for cell in COSTS}
        times = {cell: _judged(outcomes, _cost(cell), "growth_of_seconds") for cell in COSTS}
        costs = [above(memory[cell], MEMORY) for cell in COSTS], [above(times[cell], SECONDS) for cell in COSTS]
        dear = together([*costs[0], *costs[1]])
        listed = ", ".join(f"{one:g}: {shown(growth[one], '+.2f')} ({grows[one]})" for one in RADII)
        far, near = _ends(outcomes.scale)
        because = (
            f"The gradient explodes by the number of calculations: {explodes}; from windows of {near} to windows of "
            f"{far:,} its norm grows, as a power of 10, by spectral radius, {listed}. Long windows are expensive: "
            f"{dear}; of the memory the longer ones take "
            f"{_listed(memory, '.1f')}, of the time for a target {_listed(times, '.2f')}."
        )
        return [Verdict(14, together([explodes, dear]), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        lengths = windows(outcomes.scale)
        columns = [f"{length:,} steps" for length in lengths]
        norms = [[_radius(one), *_cells(outcomes, _radius(one), "logarithms", ".2f")] for one in RADII]
        figures = (("MB kept", "megabytes", ".2f"), ("MB, equal targets", "equal_megabytes", ".2f"))
        kept = [
            [f"{cell}: {name}", *_cells(outcomes, _cost(cell), key, form)]
            for cell in COSTS
            for name, key, form in (*figures, ("microseconds a target", "microseconds", ".1f"))
        ]
        note = f"{outcomes.scale.pick(8, 2)} rows; equal targets: as many as the longest window has, in more rows."
        return [
            Table("Norm of the gradient of the recurrent matrix, as a power of 10", ["start", *columns], norms),
            Table("What a window costs", ["", *columns], kept, note),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        lengths = windows(outcomes.scale)
        found = {one: outcomes.curve(_radius(one), "logarithms") for one in RADII}
        norms = [Line(f"radius {one:g}", lengths, curve.mean, curve.low, curve.high) for one, curve in found.items()]
        lines = [
            Line(f"{cell}, {name}", lengths, outcomes.curve(_cost(cell), key).mean)
            for cell in COSTS
            for name, key in (("8 rows", "megabytes"), ("equal targets", "equal_megabytes"))
        ]
        return {
            "gradient": Lines(
                "The gradient by the length of the window", "steps", "norm, as a power of 10", norms, log_x=True
            ),
            "memory": Lines("Memory kept for the gradient", "steps in a window", "MB", lines, log_x=True, log_y=True),
        }


def windows(scale: Scale) -> tuple[int, ...]:
    return scale.pick((16, 64, 256, 1024), (4, 8, 16))


def _ends(scale: Scale) -> tuple[int, int]:
    """The longest window and the one that it is judged against."""
    lengths = windows(scale)
    return lengths[-1], lengths[1]


def _radius(radius: float) -> str:
    return f"spectral radius {radius:g}"


def _cost(cell: str) -> str:
    return f"cost, {cell}"


def _judged(outcomes: Outcomes, arm: str, name: str) -> Interval:
    return corrected_mean(outcomes.values(arm, name), FIGURES)


def _listed(found: Mapping[str, Interval], form: str) -> str:
    return ", ".join(f"{shown(one, form)} times ({cell})" for cell, one in found.items())


def _cells(outcomes: Outcomes, arm: str, name: str, form: str) -> list[str]:
    return [f"{value:{form}}" for value in outcomes.curve(arm, name).mean]


def _network(trial: Trial, size: int, cell: str, **options: Any) -> LanguageModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        return LanguageModel(ModelConfig(cell=cell, hidden_size=size, **options), TYPES).eval()


def _steep(trial: Trial) -> LanguageModel:
    """A plain network in float64 with an orthogonal matrix of the arm's spectral radius."""
    model = _network(trial, trial.scale.pick(64, 6), "rnn", recurrent_init="orthogonal").double()
    (spectrum,) = recurrent_spectra(model)
    with torch.no_grad():
        model.cells[0].get_parameter(model.cells[0].recurrent_matrices[0]).mul_(
            trial.options["radius"] / spectrum.radius
        )
    return model


def gradients(model: LanguageModel, tokens: Tensor, lengths: Sequence[int]) -> dict[str, Any]:
    """The norm, as a power of 10, of the gradient of the mean loss with respect to the recurrent matrix, for windows of
    each length at the beginning of tokens (B, T + 1); growth: of the last against the second.
    """
    matrix = model.cells[0].get_parameter(model.cells[0].recurrent_matrices[0])
    norms = []
    for length in lengths:
        loss = _loss(model, tokens, length) / (len(tokens) * length)
        (gradient,) = torch.autograd.grad(loss, matrix)
        norms.append(float(torch.log10(gradient.norm())))
    return {"logarithms": norms, "growth": norms[-1] - norms[1]}


def costs(model: LanguageModel, tokens: Tensor, lengths: Sequence[int]) -> dict[str, Any]:
    """Megabytes that windows of each length keep for their gradient, with the rows of the tokens (B, T + 1) and with so
    many that an update has the targets of the longest, and the processor's time for a target: the median of passes in
    turn; growth: of the last against the second.
    """
    rows, longest = len(tokens), lengths[-1]
    kept = [kept_bytes(model, rows, length) for length in lengths]
    equal = [kept_bytes(model, rows * longest // length, length) for length in lengths]
    clocks: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(5):
        for length in lengths:
            began = time.process_time()
            for _ in range(longest // length):
                _loss(model, tokens, length).backward()
            clocks[length].append((time.process_time() - began) / (rows * longest))
    seconds = [statistics.median(clocks[length]) for length in lengths]
    return {
        "megabytes": [one / 1e6 for one in kept],
        "equal_megabytes": [one / 1e6 for one in equal],
        "memory_growth": kept[-1] / kept[1],
        "microseconds": [one * 1e6 for one in seconds],
        "growth_of_seconds": seconds[-1] / seconds[1],
    }


def _loss(model: LanguageModel, tokens: Tensor, length: int) -> Tensor:
    """The summed loss of the first window of a length."""
    inputs, targets = tokens[:, :length], tokens[:, 1 : length + 1]
    return SequenceLoss(model)(inputs, targets, model.initial_state(len(tokens))).nll
