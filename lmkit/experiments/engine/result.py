"""All that an experiment found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.verdict import Verdict
from lmkit.plots.charts import Chart

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """All that an experiment found. machine: on which its newest runs were made. notes: what a reader must know, such
    as a rate at the end of its grid, or arms that were not given the same. machines: all on which runs were made.
    """

    experiment: Experiment
    outcomes: Outcomes
    verdicts: Sequence[Verdict]
    tables: Sequence[Table]
    charts: Mapping[str, Chart]
    notes: Sequence[str]
    machines: Sequence[Mapping[str, Any]]

    @property
    def quick(self) -> bool:
        """Whether this was only to see that it works: the verdicts are no findings then."""
        return self.outcomes.scale.quick

    @property
    def command(self) -> str:
        """The command that makes it."""
        scale = self.outcomes.scale
        parts = ["lmkit", self.experiment.command, "--quick" if scale.quick else ""]
        parts += [f"--seeds {scale.seeds}" if scale.seeds != self.experiment.seeds and not scale.quick else ""]
        parts += [f"--data {os.path.basename(scale.corpus)}" if scale.corpus is not None else ""]
        return " ".join(filter(None, parts))

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        one, outcomes = self.experiment, self.outcomes
        return {
            "experiment": one.name,
            "title": one.title,
            "question": one.question,
            "rule": one.rule,
            "command": self.command,
            "quick": self.quick,
            "seeds": outcomes.scale.seeds,
            "verdicts": [
                {"claim": verdict.claim, "verdict": verdict.word.value, "because": verdict.because}
                for verdict in self.verdicts
            ],
            "notes": list(self.notes),
            "arms": [{**arm.as_dict(), "chosen": dict(outcomes.choice(arm.name))} for arm in outcomes.arms],
            "machines": [dict(machine) for machine in self.machines],
            "runs": [run.as_dict() for run in outcomes.runs],
            "tuning": [run.as_dict() for run in outcomes.tuning],
        }
