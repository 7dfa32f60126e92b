"""All that an experiment found, as values that show themselves in a notebook."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lmkit.errors import FailedError
from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.verdict import Verdict
from lmkit.plots.charts import Chart
from lmkit.plots.picture import Picture
from lmkit.plots.render import can_render

__all__ = ["QUICK", "Result"]

QUICK = "This is the quick form: it shows that the experiment works, and its verdicts are no findings."


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

    @property
    def pictures(self) -> dict[str, Picture]:
        """The charts by their names, drawn: ``result.pictures["loss"]`` shows itself in a notebook."""
        return {name: Picture(chart) for name, chart in self.charts.items()}

    def __repr__(self) -> str:
        verdicts = [f"claim {one.claim}: {one.word}. {one.because}" for one in self.verdicts]
        return "\n".join([self.experiment.title, *([QUICK] if self.quick else []), *verdicts])

    def _repr_html_(self) -> str:
        """What a notebook shows: verdicts, tables and pictures."""
        return "\n".join(self._html())

    def _html(self) -> Iterator[str]:
        yield f"<h3>{escape(self.experiment.title)}</h3><p>{escape(self.experiment.question)}</p>"
        if self.quick:
            yield f"<p><b>{escape(QUICK)}</b></p>"
        for one in self.verdicts:
            claim = f"claim {one.claim}, &ldquo;{escape(CLAIMS[one.claim])}&rdquo;"
            yield f"<p><b>{one.word.capitalize()}</b>: {claim} {escape(one.because)}</p>"
        for table in self.tables:
            yield table._repr_html_()
        if can_render():
            yield from self._images()

    def _images(self) -> Iterator[str]:
        try:
            for picture in self.pictures.values():
                data = b64encode(picture.svg.encode("utf-8")).decode("ascii")
                yield f'<img alt="{escape(picture.chart.title)}" src="data:image/svg+xml;base64,{data}">'
        except FailedError as error:
            yield f"<p>{escape(str(error))}</p>"

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
