"""Experiment: what the gates of an LSTM do over recall, brackets, a copy and quotes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import above, corrected_mean
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.inspection.activity.activity import Activity
from lmkit.inspection.activity.following import units_that_follow
from lmkit.inspection.activity.quantities import inside_quotes
from lmkit.inspection.finding import Floats
from lmkit.plots.charts import Chart, Histogram, Line, Lines, Series
from lmkit.text.sources.generated.brackets import Brackets
from lmkit.text.sources.generated.recall import Recall

__all__ = ["GatesOfText", "answer_in_text", "bracket_depth", "recall_shares"]

LEAST = 0.2  # of the mean gate of a unit
LEAST_UNITS = 0.25  # of the units
LAG = 4
RECALL, BRACKETS, COPY, PROSE = "recall", "brackets", "copy", "prose with quotes"
GATES = ("input", "forget", "output")
BINS = 20
SHOWN_TOKENS, SHOWN_STEPS = 12, 60


class GatesOfText(Experiment):
    name = "gates"
    title = "Gates: when they open, over recall, brackets, a copy and quotes"
    claims = (19, 21)
    question = (
        "Do the gates of an LSTM forget, store and filter when it is of use, and is the forget gate ever negative?"
    )
    rule = (
        "LSTM networks of 64 units, forget bias 1, are trained for 2,000 updates on delayed recall (a letter, four "
        "dots, a question mark, the letter), and for 1,000 on balanced brackets, on letters that are copied, and on "
        "the prose of the Python reference; their gates are read over 2,000 characters of validation text. No text is "
        "compared with another one. Claim 19 is judged on the recall, where it is known what is of use, unit by unit. "
        "Storing: the input gate is higher at the letter than at the dots. Forgetting: the forget gate is lower at "
        "the line end, after which nothing before matters, than at the dots, over which the letter is kept. "
        "Filtering: the output gate is lower at the dots than at the question mark, where memory is asked for. A unit "
        "does so from a difference of 0.2 of its mean gate on; a part holds if at least a quarter of the units do, "
        "the whole interval over seeds, corrected for the three (Bonferroni); the claim holds if all three do. It is "
        "undecided if the letter that is asked for costs more than half of a uniform guess in this text, because "
        "nothing was learnt then. Claim 21 is refuted if no value of any forget gate is negative. Which units follow "
        "the depth of the brackets and the inside of quotes is shown, with the control of labels that are moved along "
        "the text."
    )
    minutes = 5
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        characters = scale.pick(200_000, 3_000)
        texts = {
            RECALL: f"recall:{LAG}:{characters}",
            BRACKETS: f"brackets:{characters}",
            COPY: f"copy:{characters}",
            PROSE: scale.pick("pydoc", "markov:3000"),
        }
        updates = scale.pick({RECALL: 2000}, {})
        return [
            Arm(name, {"corpus": corpus, "max_steps": updates.get(name, scale.pick(1000, 5))})
            for name, corpus in texts.items()
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        options = {
            "cell": "lstm",
            "num_layers": 1,
            "hidden_size": trial.scale.pick(64, 6),
            "window": trial.scale.pick(64, 8),
            "batch_size": trial.scale.pick(32, 4),
            "forget_bias": 1.0,
            "lr": 1e-2,
            "dropout": 0.0,
        }
        run = train_language_model(trial, {**options, **trial.options})
        return run.numbers if run.model is None else {**run.numbers, **_seen(run.model, trial.arm.name)}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = {what: corrected_mean(outcomes.values(RECALL, what), len(PARTS)) for what in PARTS}
        answer, guess = outcomes.mean(RECALL, "answer").value, math.log(len(Recall.letters))
        words = {what: above(one, LEAST_UNITS) if answer < guess / 2 else Word.UNDECIDED for what, one in found.items()}
        lowest = min(_finite(outcomes, "forget lowest"), default=math.nan)
        highest = max(_finite(outcomes, "forget highest"), default=math.nan)
        candidate = min(_finite(outcomes, "candidate lowest"), default=math.nan)
        parts = "; ".join(f"{what} {shown(one, '.0%')} ({words[what]})" for what, one in found.items())
        return [
            Verdict(
                19,
                together(list(words.values())),
                f"Share of units that do so in the recall: {parts}. The letter costs {answer:.2f} nats, and a uniform "
                f"guess {guess:.2f}.",
            ),
            Verdict(
                21,
                Word.HOLDS if lowest < 0 else Word.REFUTED if lowest >= 0 else Word.UNDECIDED,
                f"Over all texts and seeds the forget gate is between {lowest:.4f} and {highest:.4f}; what swings is "
                f"the candidate, a tanh, down to {candidate:.4f}.",
            ),
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [
                arm.name,
                *(shown(outcomes.mean(arm.name, f"{gate} mean"), ".3f") for gate in GATES),
                *(shown(outcomes.mean(arm.name, f"forget {side}"), ".1%") for side in ("closed", "open")),
            ]
            for arm in outcomes.arms
        ]
        columns = ["text", *(f"{gate} gate" for gate in GATES), "forget below 0.1", "forget above 0.9"]
        note = "Means over units and characters. [..]: 95 % confidence over seeds (Student)."
        return [Table("Gates", columns, rows, note), _following(outcomes), *_equations(outcomes)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        edges = np.linspace(0, 1, BINS + 1).tolist()
        histograms: dict[str, Chart] = {}
        for arm in outcomes.arms:
            series = [Series(gate, outcomes.curve(arm.name, f"{gate} histogram").mean) for gate in GATES]
            histograms[f"histogram-{arm.name.split()[0]}"] = Histogram(
                f"Gates over {arm.name}", "value of the gate", "share of the values", edges, series
            )
        values = outcomes.of(BRACKETS)[0].values
        if values.get("c shown") is None:
            return histograms
        steps = list(range(len(values["c shown"])))
        lines = [Line("depth", steps, values["depth shown"]), Line("the unit's c", steps, values["c shown"])]
        title = "Brackets: the unit that follows the depth best, seed 1"
        return {**histograms, "depth": Lines(title, "character", "standard deviations", lines)}


PARTS = ("storing", "forgetting", "filtering")


def _finite(outcomes: Outcomes, name: str) -> list[float]:
    """A number of every run that has it."""
    return [value for arm in outcomes.arms for value in outcomes.values(arm.name, name) if math.isfinite(value)]


def bracket_depth(text: Sequence[str]) -> Floats:
    """How many brackets of ``brackets`` are open after each character of a text that may begin within a line."""
    depth, found = 0, []
    for one in text:
        depth = 0 if one == "\n" else max(0, depth + (one in Brackets.opening) - (one in Brackets.closing))
        found.append(float(depth))
    return np.array(found)


def recall_shares(text: Sequence[str], gates: Mapping[str, Floats]) -> dict[str, float]:
    """What claim 19 is judged by: the shares of units that store, forget and filter, from the gates (T, D) after each
    character of lines of ``recall``. The text may begin within a line.
    """
    characters = np.array(text)
    dots, asked, ends = (characters == one for one in ".?\n")
    letters = np.append(False, ends[:-1])  # the first of a line

    def share(gate: str, high: NDArray[np.bool_], low: NDArray[np.bool_]) -> float:
        difference = gates[gate][high].mean(axis=0) - gates[gate][low].mean(axis=0)
        return float((difference >= LEAST).mean())

    return {
        "storing": share("input", letters, dots),
        "forgetting": share("forget", dots, ends),
        "filtering": share("output", asked, dots),
    }


def answer_in_text(model: TrainedModel, pieces: Sequence[str]) -> float:
    """Nats of the letters that are asked for, in the text whose gates are read."""
    tokens = model.score("".join(pieces), state="carry")
    return fmean(-token.log_prob for asked, token in zip(pieces, tokens[1:], strict=False) if asked == "?")


def _seen(model: TrainedModel, text: str) -> dict[str, Any]:
    """What the gates do over the validation text."""
    ids = model.split_tokens("valid")[1].ids[:2000]
    inspector = model.inspect
    pieces, seen = inspector.pieces(ids), {one.name: one for one in inspector.activity(ids)}
    found: dict[str, Any] = {}
    for gate in GATES:
        counts, _ = np.histogram(seen[gate].values, bins=BINS, range=(0, 1))
        found |= {
            f"{gate} mean": float(seen[gate].values.mean()),
            f"{gate} histogram": (counts / counts.sum()).tolist(),
        }
    forget, candidate = seen["forget"], seen["candidate"].values
    below, over = forget.saturation
    found |= {"forget closed": float(below.mean()), "forget open": float(over.mean())}
    found |= {"forget lowest": float(forget.values.min()), "forget highest": float(forget.values.max())}
    found |= {"candidate lowest": float(candidate.min())}
    if text == RECALL:
        shares = recall_shares(pieces, {gate: seen[gate].values for gate in GATES})
        found |= {**shares, "answer": answer_in_text(model, pieces)}
    labels = bracket_depth(pieces) if text == BRACKETS else inside_quotes(pieces)
    return {**found, **(_unit(pieces, seen, labels) if labels.min() < labels.max() else {})}


def _unit(pieces: Sequence[str], seen: Mapping[str, Activity], labels: Floats) -> dict[str, Any]:
    """The unit whose c follows labels best, and its numbers over the first tokens."""
    result = units_that_follow(seen["c"].values, labels)
    unit = int(result.order[0])
    names = (*GATES, "candidate", "c", "h")
    return {
        "unit": unit,
        "correlation": float(abs(result.correlations[unit])),
        "by chance": result.threshold,
        "p": float(result.p_values[unit]),
        "tokens": list(pieces[:SHOWN_TOKENS]),
        **{f"unit {name}": seen[name].values[:SHOWN_TOKENS, unit].tolist() for name in names},
        "depth shown": _standard(labels[:SHOWN_STEPS]),
        "c shown": _standard(seen["c"].values[:SHOWN_STEPS, unit] * np.sign(result.correlations[unit])),
    }


def _standard(values: Floats) -> list[float]:
    standard: list[float] = ((values - values.mean()) / max(float(values.std()), 1e-12)).tolist()
    return standard


def _following(outcomes: Outcomes) -> Table:
    rows = []
    for arm, what in ((BRACKETS, "depth of the brackets"), (PROSE, "inside quotes")):
        runs = [run.values for run in outcomes.of(arm) if run.values.get("correlation") is not None]
        if runs:
            found = [np.mean([run[name] for run in runs]) for name in ("correlation", "by chance")]
            rows.append(
                [what, *(f"{value:.3f}" for value in found), f"{sum(run['p'] < 0.05 for run in runs)} of {len(runs)}"]
            )
    note = (
        "Correlation of the best unit's c, without sign, mean over runs; by chance: with labels moved along the text."
    )
    return Table("Units that follow", ["what", "best unit", "by chance up to", "runs with p < 0.05"], rows, note)


def _equations(outcomes: Outcomes) -> list[Table]:
    """The equations of the cell with the numbers of one unit beside them."""
    run = outcomes.of(BRACKETS)[0].values
    if run.get("tokens") is None:
        return []
    names = ("input", "forget", "candidate", "output", "c", "h")
    rows = [
        [repr(token), *(f"{run[f'unit {name}'][step]:+.3f}" for name in names)]
        for step, token in enumerate(run["tokens"])
    ]
    columns = ["read", "i = s(..)", "f = s(..)", "g = tanh(..)", "o = s(..)", "c = f c + i g", "h = o tanh(c)"]
    note = f"Unit {run['unit']}, which follows the depth best, seed 1. s: the sigmoid; (..): W x + b + U h + c."
    return [Table("The equations, in numbers", columns, rows, note)]
