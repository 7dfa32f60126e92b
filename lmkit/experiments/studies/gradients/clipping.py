"""Experiment: clipping thresholds and learning rates, and how many trainings diverge."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from lmkit.evaluation.comparison.bootstrap import holm
from lmkit.evaluation.comparison.samples import fisher_p, share_difference
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import p_shown, shown
from lmkit.plots.charts import Chart, HeatMap, Histogram, Series
from lmkit.session.session import Session
from lmkit.training.step import StepRecord

__all__ = ["Clipping"]

LEAST = 0.2  # of the runs
NARROW = 1 - 0.05 / 2  # two comparisons
PLAIN, GATED = CELLS = ("rnn", "lstm")
NEVER, MIDDLE = 0.0, 0.25
EDGES = [10.0 ** (power / 4) for power in range(-12, 17)]  # of norms: a quarter of a decade each


class Clipping(Experiment):
    name = "clipping"
    title = "Clipping: which thresholds and learning rates a training survives"
    claims = (12,)
    question = "Does a training at a high learning rate survive by clipping its gradients, or by gates?"
    rule = (
        "A plain network and an LSTM train by SGD at a constant rate for 200 updates, at each of four learning rates,"
        " with gradients clipped at a norm of 0.05, 0.25 or 1, or never; norms are of the mean loss of a target. A "
        "run has diverged if its loss is not finite, or its last validation is worse than a uniform guess. Shares are"
        " of the runs of 20 seeds at all rates; a difference matters from 0.2 on (Newcombe's interval for two "
        "comparisons, Fisher's test with Holm's correction). Claim 12 has gates against explosion, of which "
        "divergence is what a user sees: that half holds here if without clipping fewer trainings of the LSTM diverge"
        " than of the plain network, by that much, and is partly right if significantly fewer do, but by less. What "
        "clipping at 0.25 does for the plain network stands beside it. Vanishing gradients are not asked for here. "
        "Runs that diverge may end early, so the arms' targets are not equal."
    )
    minutes = 15
    seeds = 20
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        return [
            Arm(_name(cell, clip, rate), {"cell": cell, "max_grad_norm": clip, "lr": rate})
            for cell, clip, rate in product(CELLS, _clips(scale), _rates(scale))
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        norms: list[float] = []

        def listen(session: Session, record: Any) -> None:
            norms.extend([record.grad_norm] if isinstance(record, StepRecord) else [])

        hidden, window, rows, steps = trial.scale.pick((64, 32, 16, 200), (8, 8, 4, 8))
        shape = {"hidden_size": hidden, "window": window, "batch_size": rows, "max_steps": steps, "dropout": 0.0}
        sgd = {"optimizer": "sgd", "schedule": "constant", "eval_every": steps}
        shutil.rmtree(trial.folder, ignore_errors=True)  # seconds of work: all norms are of one process
        run = train_language_model(trial, {**shape, **sgd, **trial.options}, listener=listen)
        last = run.numbers["curve"][-1] if run.numbers["curve"] else None
        guess = 0.0 if run.model is None else math.log(run.model.tokenizer.vocab_size)
        diverged = run.model is None or last is None or not last < guess
        found = {"last": None if diverged else last, "diverged": float(diverged)}
        return {**run.numbers, **_of_norms(norms, trial.options["max_grad_norm"]), **found}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        plain, gated, clipped = (_diverged(outcomes, *one) for one in ((PLAIN, NEVER), (GATED, NEVER), (PLAIN, MIDDLE)))
        p_values = holm([fisher_p(*plain, *other) for other in (gated, clipped)])
        gates, clipping = (share_difference(*plain, *other, confidence=NARROW) for other in (gated, clipped))
        words = [decide(one, p, LEAST) for one, p in zip((gates, clipping), p_values, strict=True)]
        because = (
            f"Without clipping {_said(plain)} trainings of the plain network and {_said(gated)} of the LSTM diverged, "
            f"a difference of {shown(gates, '.2f')}, p {p_shown(p_values[0])}. With its gradients clipped at "
            f"{MIDDLE:g} it was {_said(clipped)} of the plain network: {shown(clipping, '.2f')}, p "
            f"{p_shown(p_values[1])} ({words[1]}: clipping against explosion)."
        )
        return [Verdict(12, words[0], because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        note = "Shares of the seeds, with Wilson's 95 % interval."
        return [
            _table(outcomes, "Diverged", lambda arm: shown(outcomes.share(arm, "diverged"), ".0%"), note),
            _table(
                outcomes,
                "Last validation, nats per character",
                lambda arm: shown(_mean_of_others(outcomes, arm), ".3f"),
                "Of the trainings that did not diverge, after the same number of updates.",
            ),
            _table(
                outcomes,
                "Steps that were clipped",
                lambda arm: shown(outcomes.mean(arm, "clipped").value, ".0%"),
                "Of all seeds, until the training ended.",
            ),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        found: dict[str, Chart] = {}
        for cell in CELLS:
            found[f"diverged-{cell}"] = _map(
                outcomes, cell, "Trainings that diverged", "share", lambda arm: outcomes.share(arm, "diverged").value
            )
            found[f"loss-{cell}"] = _map(
                outcomes, cell, "Last validation", "nats per character", lambda arm: _mean_of_others(outcomes, arm)
            )
            series = [
                Series(f"rate {rate:g}", outcomes.curve(_name(cell, NEVER, rate), "norms").mean)
                for rate in _rates(outcomes.scale)
            ]
            found[f"norms-{cell}"] = Histogram(
                f"Gradients of {cell} that are not clipped", "norm", "steps of a training", EDGES, series, log_x=True
            )
        return found


def _clips(scale: Scale) -> tuple[float, ...]:
    """Set, as the rates are, after one trial each with a seed that is not used again."""
    return scale.pick((NEVER, 1.0, MIDDLE, 0.05), (NEVER, MIDDLE))


def _rates(scale: Scale) -> tuple[float, ...]:
    return scale.pick((1.0, 4.0, 16.0, 64.0), (300.0,))


def _name(cell: str, clip: float, rate: float) -> str:
    return f"{cell}, {_threshold(clip)}, rate {rate:g}"


def _threshold(clip: float) -> str:
    return f"clipped at {clip:g}" if clip else "not clipped"


def _of_norms(norms: Sequence[float], clip: float) -> dict[str, Any]:
    """Counts of a training's norms between ``EDGES`` (beyond them in the last ones), and the share that was clipped."""
    inside = np.clip([norm for norm in norms if math.isfinite(norm)], EDGES[0], EDGES[-1])
    clipped = sum(norm > clip for norm in norms) if clip else 0
    return {"norms": np.histogram(inside, EDGES)[0].tolist(), "clipped": clipped / max(1, len(norms))}


def _diverged(outcomes: Outcomes, cell: str, clip: float) -> tuple[int, int]:
    """Trainings that diverged, of how many, at all rates together."""
    found = [value for rate in _rates(outcomes.scale) for value in outcomes.values(_name(cell, clip, rate), "diverged")]
    return round(sum(found)), len(found)


def _said(share: tuple[int, int]) -> str:
    return f"{share[0]} of {share[1]}"


def _mean_of_others(outcomes: Outcomes, arm: str) -> float:
    """The mean of the last validation over the trainings that did not diverge; nan where all did."""
    found = [value for value in outcomes.values(arm, "last") if not math.isnan(value)]
    return fmean(found) if found else math.nan


def _table(outcomes: Outcomes, title: str, cell_of: Callable[[str], str], note: str) -> Table:
    rates = _rates(outcomes.scale)
    rows = [
        [f"{cell}, {_threshold(clip)}", *(cell_of(_name(cell, clip, rate)) for rate in rates)]
        for cell in CELLS
        for clip in _clips(outcomes.scale)
    ]
    return Table(title, ["", *(f"rate {rate:g}" for rate in rates)], rows, note)


def _map(outcomes: Outcomes, cell: str, title: str, label: str, value: Callable[[str], float]) -> HeatMap:
    rates, clips = _rates(outcomes.scale), _clips(outcomes.scale)
    found = [[value(_name(cell, clip, rate)) for rate in rates] for clip in clips]
    values = [[None if math.isnan(one) else one for one in row] for row in found]
    columns, rows = [f"{rate:g}" for rate in rates], [_threshold(clip) for clip in clips]
    return HeatMap(f"{title}: {cell}", "learning rate", "threshold", columns, rows, values, label)
