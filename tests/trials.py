"""An experiment without any training, for tests of the engine; in a module, so that other processes find it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide
from lmkit.experiments.tools.numbers import arms_table
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["DeadlyDice", "Dice"]


class Dice(Experiment):
    """Two dice: a fair one, and one whose weight is chosen from a grid."""

    name = "dice"
    title = "Two dice"
    claims = (18,)
    question = "Is the weighted die lower?"
    rule = "It is where its mean is at least 0.5 lower."
    minutes = 0.1
    seeds = 4

    def arms(self, scale: Scale) -> Sequence[Arm]:
        weights = grid(weight=(0.0, 1.0, 2.0))
        return [Arm("fair"), Arm("weighted", {"targets": 100}, weights), Arm("known", seeded=False)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        draw = random.Random(f"{trial.arm.name} {trial.seed}")
        weight = trial.choice.get("weight", 0.0)
        value = 3.5 if trial.arm.name == "known" else draw.uniform(1, 6) - weight
        return {"valid": value, "targets": 100, "seconds": draw.random(), "broken": float("nan")}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        (found,) = outcomes.compare([("weighted", "fair")], "valid", paired=False)
        word = decide(found.advantage, found.p_holm, 0.5)
        return [Verdict(18, word, f"It is lower by {found.advantage.value:.2f}.")]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        return [arms_table(outcomes, [("mean", "valid", ".3f")])]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        return {"means": Bars("Dice", "mean", [Bar("fair", outcomes.mean("fair", "valid").value)])}


class DeadlyDice(Dice):
    """The process of one run is killed, the first time."""

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        sign = trial.shared / "killed"
        if (trial.arm.name, trial.seed) == ("weighted", 2) and not sign.exists():
            trial.shared.mkdir(exist_ok=True)
            sign.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(trial)
