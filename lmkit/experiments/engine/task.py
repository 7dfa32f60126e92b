"""One run that is to be made, and the choice that the runs of an arm are made with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lmkit.experiments.contract.arm import Arm, Choice, file_name
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Run
from lmkit.experiments.contract.scale import Scale

__all__ = ["Task", "choose", "counted_tasks", "ends_of_grids", "tuning_tasks"]

LONGEST_NAME = 200  # of 255 bytes that a file system takes, with what is added to it while it is written
FIRST_TUNING_SEED = 1_000_001  # no run that counts has such a seed


@dataclass(frozen=True)
class Task:
    """One run that is to be made."""

    arm: Arm
    choice: Choice
    seed: int
    tuning: bool

    @property
    def name(self) -> str:
        """The name of its files."""
        chosen = " ".join(f"{key}={value}" for key, value in self.choice.items())
        name = file_name(self.arm.name, chosen, f"seed-{self.seed}")
        if len(name) <= LONGEST_NAME:
            return name
        return f"{name[:LONGEST_NAME]}--{hashlib.sha256(name.encode('utf-8')).hexdigest()[:16]}"


def tuning_tasks(arms: Iterable[Arm], scale: Scale) -> list[Task]:
    """The runs that choices are made by: each choice of each arm that has any, with seeds of their own."""
    return [
        Task(arm, choice, FIRST_TUNING_SEED + number, tuning=True)
        for arm in arms
        if len(arm.choices) > 1
        for choice in arm.choices
        for number in range(scale.tuning_seeds if arm.seeded else 1)
    ]


def counted_tasks(experiment: Experiment, arms: Iterable[Arm], scale: Scale, tuning: Sequence[Run]) -> list[Task]:
    """The runs that count, with what was chosen for each arm; seed by seed, so that the arms grow together."""
    chosen = [(arm, choose(arm, tuning, experiment.validation)) for arm in arms]
    return [
        Task(arm, choice, seed, tuning=False)
        for seed in range(1, scale.seeds + 1)
        for arm, choice in chosen
        if arm.seeded or seed == 1
    ]


def choose(arm: Arm, tuning: Sequence[Run], validation: str) -> Choice:
    """The choice with the lowest mean of the validation; the first of equal ones. One that was not finite in any run is
    taken only where all were.
    """
    if len(arm.choices) <= 1:
        return arm.choices[0] if arm.choices else {}

    def score(choice: Choice) -> float:
        found = [run.values.get(validation) for run in tuning if run.arm == arm.name and run.choice == choice]
        return fmean(math.inf if value is None else float(value) for value in found)

    return min(arm.choices, key=score)


def ends_of_grids(arms: Iterable[Arm], chosen: dict[str, Choice]) -> list[str]:
    """A sentence for each number that was chosen at the end of its grid: a better one may lie beyond."""
    found = []
    for arm in arms:
        for name, value in chosen[arm.name].items():
            values = {choice[name] for choice in arm.choices}
            numeric = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
            if numeric and len(values) > 1 and value in (min(values), max(values)):
                end = "smallest" if value == min(values) else "largest"
                found.append(f"{arm.name}: the best {name}, {value:g}, is the {end} of its grid.")
    return found
