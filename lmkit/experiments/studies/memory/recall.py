"""Experiment: how long a recurrent network remembers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import share_interval
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word
from lmkit.experiments.tasks.adding import Adding
from lmkit.experiments.tasks.recall import DelayedRecall
from lmkit.experiments.tasks.task import Task
from lmkit.experiments.tasks.training import TaskTraining, train_on
from lmkit.experiments.tools.bounds import is_above, is_below
from lmkit.experiments.tools.numbers import shown
from lmkit.plots.charts import Chart, Line, Lines, Mark

__all__ = ["Memory"]

HALF = 0.5  # of the runs
RECALL, ADDING = "recall", "adding"
PLAIN: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "rnn, orthogonal": {"cell": "rnn", "recurrent_init": "orthogonal"},
}
GATED: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "lstm, open": {"cell": "lstm", "forget_bias": "log of the lag"},
}
NETWORKS = PLAIN | GATED


class Memory(Experiment):
    name = "memory"
    title = "Memory: recall and adding over 25 to 200 steps"
    claims = (6,)
    question = "Over how many steps does a recurrent network learn to remember, and is a hundred the end?"
    rule = (
        "Networks of 32 units read a letter, filler and a question, and answer with the letter (delayed recall over "
        "25, 100 and 200 steps), or add two marked ones of 50 or 100 numbers. They see the whole sequence at once, so "
        "nothing is truncated, and train by Adam on fresh sequences, at most 2,000 updates of 32; a run ends once the "
        "task is solved: less than 10 % wrong letters, or a squared error below a tenth of chance, which is 1/6. So "
        "updates are not equal between arms. Each arm takes its learning rate from one grid by its mean error over the "
        "2,000 updates. A network remembers over a lag if it solves recall in more than half of its runs, and the "
        "whole interval is above (Wilson, with Bonferroni over the five networks); it does not, within 2,000 updates, "
        "if the whole interval is below. Claim 6 is refuted if a plain network (tanh, from either start) remembers "
        "over 200 steps; it is partly so if only networks with gates do; it holds if no network does, though one "
        "remembers over 25."
    )
    minutes = 40
    seeds = 20
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        adders = {name: one for name, one in NETWORKS.items() if name != "gru"}
        return [
            Arm(arm_name(kind, length, name), {"task": kind, "length": length, **options}, rates)
            for kind, lengths, networks in (
                (RECALL, lags(scale), NETWORKS),
                (ADDING, scale.pick((50, 100), (4,)), adders),
            )
            for length in lengths
            for name, options in networks.items()
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        task, training = _task(trial), _training(trial)
        errors: list[float] = []
        for record in train_on(task, training):
            trial.interruption.check()
            errors.append(record.error)
            if record.error < task.solved:
                break
        solved = errors[-1] < task.solved
        return {
            "solved": solved,
            "updates": record.step if solved else None,
            "error": errors[-1],
            "valid": sum(errors) / -(-training.max_steps // training.eval_every),  # nothing once it is solved
            "targets": record.step * training.batch_size,
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        near, far = lags(outcomes.scale)[0], lags(outcomes.scale)[-1]
        shares = {name: _share(outcomes, arm_name(RECALL, far, name)) for name in NETWORKS}
        begun = any(is_above(_share(outcomes, arm_name(RECALL, near, name)), HALF) for name in NETWORKS)
        shown_shares = ", ".join(f"{name} {shown(share, '.0%')}" for name, share in shares.items())
        steps = outcomes.scale.pick(2000, 10)
        because = f"Share of runs that recall a letter over {far} steps within {steps:,} updates: {shown_shares}."
        return [Verdict(6, _word(shares, begun=begun), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [
                arm.name,
                *(f"{key} {value:g}" for key, value in outcomes.choice(arm.name).items()),
                shown(outcomes.share(arm.name, "solved"), ".0%"),
                _updates(outcomes, arm.name),
                f"{outcomes.median(arm.name, 'error'):.4f}",
            ]
            for arm in outcomes.arms
        ]
        columns = ["arm", "chosen", "share solved", "updates, median of the solved", "error at the end, median"]
        note = "[..]: 95 % (Wilson). Error: the share of wrong letters (chance 7/8), or the squared error (chance 1/6)."
        return [Table("Tasks solved", columns, rows, note)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        steps = lags(outcomes.scale)
        lines = []
        for name in NETWORKS:
            shares = [outcomes.share(arm_name(RECALL, lag, name), "solved") for lag in steps]
            low, high = [one.low or 0.0 for one in shares], [1.0 if one.high is None else one.high for one in shares]
            lines.append(Line(name, steps, [one.value for one in shares], low, high))
        title = "Delayed recall: runs that learn it"
        return {"recall": Lines(title, "steps between", "share of runs", lines, log_x=True, marks=[Mark("half", HALF)])}


def lags(scale: Scale) -> tuple[int, ...]:
    """The lags of the delayed recall."""
    return scale.pick((25, 100, 200), (2, 4))


def arm_name(kind: str, length: int, network: str) -> str:
    """An arm's name."""
    return f"{kind} {length}: {network}"


def _task(trial: Trial) -> Task:
    length = int(trial.options["length"])
    return DelayedRecall(length) if trial.options["task"] == RECALL else Adding(length)


def _training(trial: Trial) -> TaskTraining:
    """The forget gates of an LSTM that begins open let about 1/e of a cell through over the lag: sigmoid(log T) is
    T / (T + 1) (Tallec & Ollivier 2018, arXiv 1804.11188).
    """
    options = {key: trial.options[key] for key in ("recurrent_init", "forget_bias") if key in trial.options}
    if "forget_bias" in options:
        options["forget_bias"] = math.log(trial.options["length"])
    return TaskTraining(
        cell=trial.options["cell"],
        hidden_size=trial.scale.pick(32, 4),
        options=options,
        lr=trial.options["lr"],
        max_steps=trial.scale.pick(2000, 10),
        eval_every=trial.scale.pick(50, 5),
        seed=trial.seed,
    )


def _share(outcomes: Outcomes, arm: str) -> Interval:
    """The share of an arm's runs that were solved, with an interval for five of them together."""
    values = outcomes.values(arm, "solved")
    return share_interval(sum(value == 1 for value in values), len(values), 1 - 0.05 / len(NETWORKS))


def _word(shares: Mapping[str, Interval], *, begun: bool) -> Word:
    """The verdict from the shares over the largest lag. begun: whether any network remembers over the smallest."""
    if any(is_above(shares[name], HALF) for name in PLAIN):
        return Word.REFUTED
    if any(is_above(shares[name], HALF) for name in GATED):
        return Word.PARTLY
    return Word.HOLDS if begun and all(is_below(one, HALF) for one in shares.values()) else Word.UNDECIDED


def _updates(outcomes: Outcomes, arm: str) -> str:
    """The median number of updates of the runs that were solved."""
    found = sorted(value for value in outcomes.values(arm, "updates") if not math.isnan(value))
    return f"{found[len(found) // 2]:,.0f}" if found else "-"
