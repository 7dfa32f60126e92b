"""Experiment: what squashing takes from the first words, apart from what the matrix takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import above, below
from lmkit.experiments.tools.numbers import shown
from lmkit.experiments.tools.one_layer import contributions
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["Squashing"]

HALF = 0.5
AGES = (1, 5, 10, 20)
TANH, SMALL, LINEAR, RELU, SHORT = "tanh", "tanh, small words", "linear", "relu", "linear, matrix of 0.8"
LAYERS: dict[str, dict[str, Any]] = {
    LINEAR: {"nonlinearity": "linear", "scale": 1.0, "deviation": 0.5},
    TANH: {"nonlinearity": "tanh", "scale": 1.0, "deviation": 0.5},
    SMALL: {"nonlinearity": "tanh", "scale": 1.0, "deviation": 0.05},
    RELU: {"nonlinearity": "relu", "scale": 1.0, "deviation": 0.5},
    SHORT: {"nonlinearity": "linear", "scale": 0.8, "deviation": 0.5},
}


class Squashing(Experiment):
    name = "squashing"
    title = "Squashing apart from the matrix: what a word still moves, some words later"
    claims = (7,)
    question = "Is it the squashing that makes the first words fade?"
    rule = (
        "Layers of 64 units on paper read 21 random words; one of them is replaced, and the distance between the two "
        "last states, over the distance of the two words, is the word's contribution, here over that of the newest. "
        "An orthogonal matrix keeps lengths, so that what fades there fades by the nonlinearity alone; nothing is "
        "trained, so nothing is chosen. Claim 7 has three parts. Squashing makes words fade: with tanh and that matrix "
        "a word 20 back has less than half of the newest word's contribution (the whole interval over seeds). It is "
        "the squashing that does it: without any, but with a matrix of 0.8, more than half is left. The newest word "
        "weighs most: with tanh no older word has a larger contribution, in any seed. The three are put together."
    )
    minutes = 1
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        return [Arm(name, layer) for name, layer in LAYERS.items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        found = contributions(
            trial.options["nonlinearity"],
            trial.options["scale"],
            deviation=trial.options["deviation"],
            size=trial.scale.pick(64, 8),
            length=AGES[-1] + 1,
            generator=torch.Generator().manual_seed(trial.seed),
        )
        ages = {f"age_{age}": found[age] for age in AGES}
        return {"contributions": found, **ages, "newest_is_largest": max(found) == found[0]}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        oldest = {name: outcomes.mean(name, f"age_{AGES[-1]}") for name in (TANH, SMALL, SHORT)}
        newest = [value == 1 for value in outcomes.values(TANH, "newest_is_largest")]
        parts = [
            below(oldest[TANH], HALF),
            above(oldest[SHORT], HALF),
            Word.HOLDS if all(newest) else Word.REFUTED,
        ]
        left = {name: shown(one, ".1%") for name, one in oldest.items()}
        because = (
            f"Left of a word {AGES[-1]} words later: with tanh and a matrix that keeps lengths {left[TANH]} "
            f"({parts[0]}), with small words {left[SMALL]}; without any squashing, with a matrix of 0.8, {left[SHORT]} "
            f"(that only squashing does it: {parts[1]}). The newest word weighs most: {parts[2]}."
        )
        return [Verdict(7, together(parts), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [[name, *(shown(outcomes.mean(name, f"age_{age}"), ".1%") for age in AGES)] for name in LAYERS]
        note = (
            "Small words: a tenth of the deviation. A linear layer has the scale of its matrix to the power of the age."
        )
        columns = ["layer", *(f"{age} back" for age in AGES)]
        return [Table("Contribution of a word to the last state, of the newest word's", columns, rows, note)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        curves = {name: outcomes.curve(name, "contributions") for name in LAYERS}
        lines = [Line(name, range(len(one.mean)), one.mean, one.low, one.high) for name, one in curves.items()]
        title = "On paper: what a word still moves"
        return {"contributions": Lines(title, "words ago", "of the newest word's", lines, log_y=True)}
