"""Experiment: gradients through time by the largest eigenvalue, the start and the nonlinearity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch

from lmkit.config import ModelConfig
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import above, below, corrected_mean
from lmkit.experiments.tools.numbers import arms_table
from lmkit.inspection.gradients.sensitivity import measure_sensitivity
from lmkit.inspection.gradients.spectra import recurrent_spectra
from lmkit.model.language_model import LanguageModel
from lmkit.plots.charts import Chart, Line, Lines, Mark

__all__ = ["Eigenvalues"]

LEAST = 0.01  # of the factor, from 1
TYPES = 30  # of random tokens that are read
NONLINEARITIES, STARTS = ("tanh", "relu"), ("orthogonal", "random")
GATED: Mapping[str, Mapping[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "lstm, forget bias 1": {"cell": "lstm", "forget_bias": 1.0},
}


class Eigenvalues(Experiment):
    name = "eigenvalues"
    title = "Eigenvalues: where gradients vanish and where they explode"
    claims = (11,)
    question = "Do gradients vanish where the largest eigenvalue is below 1, and explode where it is above?"
    rule = (
        "Untrained networks of one layer of 64 units, tanh or rectified, from an orthogonal or a random matrix scaled "
        "to each spectral radius, read 100 random tokens; nothing is learnt. The norm of the gradient of the last "
        "loss with respect to the state, by lag, shrinks or grows by a factor a step (least squares of its "
        "logarithm). A kind of network vanishes at a radius if the factor is below 0.99, and explodes if it is above "
        "1.01, the whole interval over seeds, corrected for the number of judgements (Bonferroni). The first half of "
        "claim 11 holds if all kinds vanish at every radius below 1, the second if all explode at every radius above "
        "1; a half is partly so if some do, and refuted if none does. Networks with gates stand beside them and "
        "decide nothing."
    )
    minutes = 2
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        plain = [
            Arm(_name(*kind), dict(zip(("nonlinearity", "start", "radius"), kind, strict=True), cell="rnn"))
            for kind in product(NONLINEARITIES, STARTS, _radii(scale))
        ]
        return [*plain, *(Arm(name, options) for name, options in GATED.items())]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        model = _network(trial)
        steps, rows = trial.scale.pick(100, 12), trial.scale.pick(16, 2)
        tokens = torch.randint(TYPES, (rows, steps + 1), generator=torch.Generator().manual_seed(trial.seed))
        found = measure_sensitivity(model, tokens[:, :-1], tokens[:, -1], model.initial_state(rows)).of(0, "h")
        spectra = recurrent_spectra(model)
        return {
            "factor": found.factor,
            "radius": max(one.radius for one in spectra),
            "norm": max(one.norm for one in spectra),
            "logarithms": np.log10(np.maximum(found.mean, 1e-300)).tolist(),
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        vanish, explode = _words(outcomes, small=True), _words(outcomes, small=False)
        halves = [together(list(words.values())) for words in (vanish, explode)]
        exceptions = [name for words in (vanish, explode) for name, word in words.items() if word is not Word.HOLDS]
        shown = "; ".join(f"{name}: {outcomes.mean(name, 'factor').value:.3f} a step" for name in exceptions)
        return [
            Verdict(
                11,
                together(halves),
                f"Vanishing below 1: {halves[0]}, in {_count(vanish)} kinds; exploding above 1: {halves[1]}, in "
                f"{_count(explode)}. {f'Not as claimed: {shown}' if shown else 'No exception was seen'}.",
            )
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("factor a step back", "factor", ".4f"),
            ("spectral radius", "radius", ".3f"),
            ("largest singular value", "norm", ".3f"),
        ]
        note = "Of a network with gates the largest of its matrices. [..]: 95 % confidence over seeds (Student)."
        return [arms_table(outcomes, columns, note=note)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        return {
            f"{nonlinearity}-{start}": _chart(outcomes, nonlinearity, start)
            for nonlinearity in NONLINEARITIES
            for start in STARTS
        } | {"gates": Lines("Networks with gates, as they start", *AXES, [_line(outcomes, name) for name in GATED])}


AXES = ("steps back", "norm of the gradient, as a power of 10")


def _radii(scale: Scale) -> tuple[float, ...]:
    return scale.pick((0.5, 0.9, 1.0, 1.1, 1.5), (0.5, 1.5))


def _name(nonlinearity: str, start: str, radius: float) -> str:
    return f"{nonlinearity}, {start}, {radius:g}"


def _network(trial: Trial) -> LanguageModel:
    """The network of an arm, in float64, its matrix scaled to the radius."""
    options = dict(trial.options)
    start, radius = options.pop("start", "random"), options.pop("radius", None)
    if start == "orthogonal":
        options["recurrent_init"] = start
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        model = LanguageModel(ModelConfig(hidden_size=trial.scale.pick(64, 6), **options), TYPES).double()
    if radius is not None:
        (spectrum,) = recurrent_spectra(model)
        with torch.no_grad():
            model.cells[0].get_parameter(model.cells[0].recurrent_matrices[0]).mul_(radius / spectrum.radius)
    return model


def _words(outcomes: Outcomes, *, small: bool) -> dict[str, Word]:
    """Whether each kind vanishes at each radius below 1, or explodes at each above."""
    arms = [arm for arm in outcomes.arms if "radius" in arm.options]
    arms = [arm for arm in arms if (arm.options["radius"] < 1 if small else arm.options["radius"] > 1)]
    found = {arm.name: corrected_mean(outcomes.values(arm.name, "factor"), 2 * len(arms)) for arm in arms}
    return {name: below(one, 1 - LEAST) if small else above(one, 1 + LEAST) for name, one in found.items()}


def _count(words: Mapping[str, Word]) -> str:
    return f"{sum(word is Word.HOLDS for word in words.values())} of {len(words)}"


def _chart(outcomes: Outcomes, nonlinearity: str, start: str) -> Chart:
    names = [_name(nonlinearity, start, radius) for radius in _radii(outcomes.scale)]
    lines = [_line(outcomes, name, name.rpartition(", ")[2]) for name in names]
    return Lines(f"{nonlinearity}, {start} matrix, by spectral radius", *AXES, lines, marks=[Mark("1", math.log10(1))])


def _line(outcomes: Outcomes, name: str, label: str | None = None) -> Line:
    curve = outcomes.curve(name, "logarithms")
    return Line(label or name, list(range(len(curve.mean))), curve.mean, curve.low, curve.high)
