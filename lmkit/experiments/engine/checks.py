"""Whether the arms of an experiment were given the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from lmkit.experiments.contract.outcomes import Outcomes

__all__ = ["unequal"]

SECONDS = "seconds"
NONE: Mapping[str, Collection[str]] = {}


def unequal(
    outcomes: Outcomes, equal: Mapping[str, float], on_purpose: Mapping[str, Collection[str]] = NONE
) -> list[str]:
    """A sentence for each value that should be equal in all arms of a budget and is not. Arms without the value are not
    looked at, nor are those whose budget are seconds.

    equal: the relative difference that is allowed to each value, between the runs of a seed. on_purpose: by a value's
    name, arms that are not looked at.
    """
    budgets = dict.fromkeys(arm.budget for arm in outcomes.arms if arm.budget != SECONDS)
    return [
        one
        for budget in budgets
        for name, allowed in equal.items()
        for one in _of(outcomes, budget, name, allowed, on_purpose.get(name, ()))
    ]


def _of(outcomes: Outcomes, budget: str, name: str, allowed: float, on_purpose: Collection[str]) -> Iterator[str]:
    checked = {arm.name for arm in outcomes.arms if arm.budget == budget} - set(on_purpose)
    runs = [run for run in outcomes.runs if run.arm in checked and run.values.get(name)]
    for seed in sorted({run.seed for run in runs}):
        found = {run.arm: run.values[name] for run in runs if run.seed == seed}
        least, most = min(found, key=lambda arm: found[arm]), max(found, key=lambda arm: found[arm])
        if found[most] - found[least] > allowed * found[most]:
            yield (
                f"The arms had unequal {name.replace('_', ' ')}: {least} {found[least]:,.6g}, "
                f"{most} {found[most]:,.6g} (seed {seed})."
            )
            return
