"""Numbers of experiments as texts, and the tables that most of them have."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.outcomes import Comparison, Outcomes
from lmkit.experiments.contract.table import Table

__all__ = ["arms_table", "comparisons_table", "p_shown", "shown"]

COUNTS = ("parameters", "targets", "updates", "hidden_size", "vocabulary")


def shown(value: Interval | float, form: str = ".4f") -> str:
    """A number, with its interval if it has one; a dash for none."""
    if isinstance(value, Interval):
        return "-" if math.isnan(value.value) else value.shown(form)
    return "-" if math.isnan(value) else f"{value:{form}}"


def p_shown(p: float) -> str:
    """A p-value."""
    return "-" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def arms_table(
    outcomes: Outcomes, columns: Sequence[tuple[str, str, str]], *, title: str = "Arms", note: str = ""
) -> Table:
    """A row for each arm. columns: (heading, name of the value, form of the number); clocks are medians, counts of the
    first run, all else means with Student's 95 % interval. What was chosen for an arm stands beside it.
    """
    chosen = any(arm.choices for arm in outcomes.arms)
    rows = []
    for arm in outcomes.arms:
        cells = [_cell(outcomes, arm.name, name, form) for _, name, form in columns]
        choice = ", ".join(f"{key} {value}" for key, value in outcomes.choice(arm.name).items())
        rows.append([arm.name, *([choice] if chosen else []), *cells])
    headings = ["arm", *(["chosen"] if chosen else []), *(heading for heading, _, _ in columns)]
    return Table(title, headings, rows, note or "[..]: 95 % confidence over seeds (Student).")


def _cell(outcomes: Outcomes, arm: str, name: str, form: str) -> str:
    if name.endswith("seconds"):
        return shown(outcomes.median(arm, name), form)
    if name in COUNTS:
        return shown(outcomes.values(arm, name)[0], form)
    return shown(outcomes.mean(arm, name), form)


def comparisons_table(comparisons: Sequence[Comparison], unit: str, *, title: str = "Differences") -> Table:
    """A row for each comparison, the difference with its interval and the p-value."""
    rows = [
        [
            f"{one.arm} - {one.baseline}",
            shown(one.interval, "+.4f"),
            p_shown(one.contrast.p_value),
            p_shown(one.p_holm),
        ]
        for one in comparisons
    ]
    kind = "a paired t test" if comparisons and comparisons[0].contrast.paired else "Welch's test"
    note = (
        f"Below 0: the first is lower. [..]: 95 % confidence for each difference by itself; p of {kind}, with Holm's "
    )
    note += "correction."
    if len(comparisons) > 1:
        note += " Verdicts rest on wider intervals, which are corrected for the number of comparisons (Bonferroni)."
    return Table(title, ["", unit, "p", "p, Holm"], rows, note)
