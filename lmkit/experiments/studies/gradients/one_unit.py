"""Experiment: a network of one unit, in which a number is multiplied again and again."""

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
from lmkit.experiments.contract.verdict import Verdict, Word
from lmkit.experiments.tools.one_layer import contributions
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["OneUnit"]

WEIGHTS = (0.1, 0.5, 0.9, 1.0, 1.1)
STEPS = 4
TOLERANCE = 1e-9  # of a product of five numbers
LINEAR, TANH = "linear", "tanh"


class OneUnit(Experiment):
    name = "one-unit"
    title = "One unit: 0.1 x 0.1 x 0.1 x 0.1"
    claims = (10,)
    question = "Does an input become smaller at each step, and is it the repeated multiplication?"
    rule = (
        "A layer of one unit on paper, h' = f(w h + x), reads five random numbers; one of them is replaced, and the "
        "distance between the two last states over that of the two numbers is its contribution, here over that of the "
        "newest. Without a nonlinearity it must be w to the power of the steps, to 1e-9, or the claim's arithmetic is "
        "refuted. With that, claim 10 holds if an input of 4 steps ago contributes less than the newest with every "
        "weight from 0.1 to 1.1; it is partly so if that is true of some weights, those below 1. tanh stands beside "
        "it: it makes inputs smaller whatever the weight. Nothing is trained, so nothing is chosen."
    )
    minutes = 1
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        return [
            Arm(arm_name(kind, weight), {"nonlinearity": kind, "weight": weight})
            for kind in (LINEAR, TANH)
            for weight in WEIGHTS
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        found = contributions(
            trial.options["nonlinearity"],
            trial.options["weight"],
            size=1,
            length=STEPS + 1,
            generator=torch.Generator().manual_seed(trial.seed),
        )
        return {"contributions": found, "oldest": found[-1]}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        oldest = {weight: outcomes.values(arm_name(LINEAR, weight), "oldest") for weight in WEIGHTS}
        exact = all(abs(one - weight**STEPS) <= TOLERANCE for weight, found in oldest.items() for one in found)
        smaller = [weight for weight, found in oldest.items() if max(found) < 1 - TOLERANCE]
        listed = ", ".join(f"{weight:g}: {found[0]:.4g}" for weight, found in oldest.items())
        word = Word.PARTLY if smaller else Word.REFUTED
        if len(smaller) == len(WEIGHTS):
            word = Word.HOLDS
        because = f"Contribution of an input {STEPS} steps ago, by the weight: {listed}."
        return [Verdict(10, word if exact else Word.REFUTED, because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [
                f"{weight:g}",
                f"{weight**STEPS:.4g}",
                *(f"{outcomes.mean(arm_name(kind, weight), 'oldest').value:.4g}" for kind in (LINEAR, TANH)),
            ]
            for weight in WEIGHTS
        ]
        columns = ["weight", f"weight to the power of {STEPS}", "linear unit", "tanh unit"]
        return [Table(f"Contribution of an input {STEPS} steps ago, of the newest", columns, rows)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        curves = {weight: outcomes.curve(arm_name(LINEAR, weight), "contributions").mean for weight in WEIGHTS}
        lines = [Line(f"{weight:g}", list(range(len(one))), one) for weight, one in curves.items()]
        return {
            "one-unit": Lines("One unit: what an input still moves", "steps ago", "of the newest", lines, log_y=True)
        }


def arm_name(kind: str, weight: float) -> str:
    """An arm's name."""
    return f"{kind}, {weight:g}"
