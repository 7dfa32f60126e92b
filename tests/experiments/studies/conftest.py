"""What the tests of the rules share: outcomes that nobody has measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale

Values = Mapping[str, Any]
Invent = Callable[[Experiment, Callable[[str], Sequence[Values]]], Outcomes]


@pytest.fixture(scope="session")
def invent() -> Invent:
    """Outcomes in which the runs of an arm, by its name, have given values, one entry for each seed."""

    def make(experiment: Experiment, values: Callable[[str], Sequence[Values]]) -> Outcomes:
        scale = Scale(experiment.seeds)
        arms = tuple(experiment.arms(scale))
        runs = [
            Run(arm.name, {}, seed, tuning=False, values=found)
            for arm in arms
            for seed, found in enumerate(values(arm.name), start=1)
        ]
        return Outcomes(scale, arms, tuple(runs))

    return make
