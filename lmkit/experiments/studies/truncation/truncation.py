"""Experiment: styles of truncation, by the loss that they reach, by their gradients, and by what they cost."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from lmkit.api import TrainedModel
from lmkit.config import TrainingConfig
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Comparison, Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.experiments.tools.truncated_gradients import Spread, epoch_gradient, kept_bytes, spread
from lmkit.plots.charts import Bar, Bars, Chart, Line, Lines
from lmkit.session.sampling import window_sizes

__all__ = ["Truncation"]

LEAST = 0.02  # nats per character
SHORT, FIXED, LONG = "fixed, short", "fixed", "fixed, long"
RANDOM, OVERLAPPING, UNBIASED = "random", "k1k2", "artbp"
LENGTHS = (SHORT, FIXED, LONG)
OTHERS = (SHORT, LONG, RANDOM, OVERLAPPING, UNBIASED)


class Truncation(Experiment):
    name = "truncation"
    title = "Truncation: the loss that a style reaches, the bias and the spread of its gradients, and its cost"
    claims = (16,)
    question = "Does any way to truncate the gradient train better than windows of one length?"
    rule = (
        "An LSTM reads the same characters, with as many targets to an update in the mean, under each style: windows "
        "of 8, 32 and 128 steps in as many rows as that takes, of random lengths around 32, k1k2 with 8 and 32 steps,"
        " and artbp with cuts 32 steps apart in the mean, which weighs what it does not cut so that its gradients "
        "have no bias. All are trained by AdamW with gradients clipped at 1; each takes its learning rate from one "
        "grid. A difference matters from 0.02 nats per character on (test, Welch's test over seeds, Holm over all "
        "comparisons with windows of 32). Claim 16 holds if neither random lengths nor artbp have that advantage, as "
        "their whole intervals say; it is refuted if one of them has it, partly so if one is significantly better by "
        "less. The gradients are taken of one text at the weights that windows of 32 have led to, and compared with "
        "the one that is not cut; they and the cost decide nothing."
    )
    minutes = 40
    equal: ClassVar[Mapping[str, float]] = {"targets": 0.02, "parameters": 0.0}
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [Arm(name, style, rates) for name, style in _styles(scale).items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        options = {**trial.options, "epochs": trial.scale.pick(8, 1), "dropout": 0.1}
        run = train_language_model(trial, options, parameters=trial.scale.pick(100_000, 2_000))
        if run.model is None or trial.tuning:
            return run.numbers
        gradients = _gradients(run.model, trial) if trial.arm.name == FIXED else {}
        return {**run.numbers, "kept": _kept(run.model), **gradients}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = {one.arm: one for one in _compared(outcomes)}
        words = [decide(found[name].advantage, found[name].p_holm, LEAST) for name in (RANDOM, UNBIASED)]
        bias = {name: outcomes.mean(FIXED, f"{name} bias") for name in (FIXED, UNBIASED)}
        wide = {name: outcomes.mean(FIXED, f"{name} spread") for name in (FIXED, UNBIASED)}
        because = (
            f"The advantage over windows of one length is {shown(found[RANDOM].advantage)} nats per character for "
            f"random lengths and {shown(found[UNBIASED].advantage)} for artbp. At the same weights the gradient of "
            f"windows of one length has a bias of {shown(bias[FIXED], '.0%')} of the whole one's norm and a spread of "
            f"{shown(wide[FIXED], '.0%')}, that of artbp {shown(bias[UNBIASED], '.0%')} and "
            f"{shown(wide[UNBIASED], '.0%')}."
        )
        return [Verdict(16, _no_better(words), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("test, nats per character", "test", ".4f"),
            ("updates", "updates", ",.0f"),
            ("targets per update", "targets_per_update", ",.0f"),
            ("seconds", "cpu_seconds", ".1f"),
            ("kept per row, KB", "kept", ",.0f"),
        ]
        note = (
            "[..]: 95 % confidence over seeds (Student). Kept: for the gradient of a window, the longest but rare ones."
        )
        compared = comparisons_table(_compared(outcomes), "nats per character")
        return [arms_table(outcomes, columns, note=note), compared, _gradient_table(outcomes)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        losses = []
        for arm in outcomes.arms:
            mean = outcomes.mean(arm.name, "test")
            losses.append(Bar(arm.name, mean.value, mean.low, mean.high))
        gradients = []
        for measure in ("bias", "spread"):
            for arm in outcomes.arms:
                mean = outcomes.mean(FIXED, f"{arm.name} {measure}")
                gradients.append(Bar(f"{arm.name}, {measure}", mean.value, mean.low, mean.high, measure))
        windows = [float(_styles(outcomes.scale)[name]["window"]) for name in LENGTHS]
        kept = [outcomes.mean(name, "kept").value for name in LENGTHS]
        seconds = [outcomes.median(name, "cpu_seconds") for name in LENGTHS]
        axis = "steps of a window"
        return {
            "loss": Bars("Loss by style of truncation", "test loss, nats per character", losses),
            "gradients": Bars("Gradients against the whole one", "share of the whole gradient's norm", gradients),
            "memory": Lines(
                "Memory against window", axis, "KB a row", [Line("fixed windows", windows, kept)], log_x=True
            ),
            "time": Lines(
                "Time against window", axis, "seconds", [Line("fixed windows", windows, seconds)], log_x=True
            ),
        }


def _styles(scale: Scale) -> dict[str, dict[str, Any]]:
    """The options of each style. Rows are as many as make the targets of an update equal, in the mean."""
    targets, short, window, long = scale.pick((1024, 8, 32, 128), (32, 2, 8, 16))
    rows = {"window": window, "batch_size": targets // window}
    # of twenty random lengths one is half as long: one step more makes the mean that of the others
    return {
        SHORT: {"window": short, "batch_size": targets // short},
        FIXED: rows,
        LONG: {"window": long, "batch_size": targets // long},
        RANDOM: {**rows, "truncation": "random", "window": window + 1},
        OVERLAPPING: {**rows, "truncation": "k1k2", "k1": short, "batch_size": targets // short},
        UNBIASED: {**rows, "truncation": "artbp"},
    }


def _compared(outcomes: Outcomes) -> list[Comparison]:
    return outcomes.compare([(name, FIXED) for name in OTHERS], "test", paired=False)


def _no_better(advantages: Sequence[Word]) -> Word:
    """What "none is better" is, from whether each has an advantage."""
    if Word.HOLDS in advantages:
        return Word.REFUTED
    if Word.PARTLY in advantages:
        return Word.PARTLY
    return Word.HOLDS if set(advantages) == {Word.REFUTED} else Word.UNDECIDED


def _kept(model: TrainedModel) -> float:
    """KB that a row of the longest window but rare ones keeps for its gradient."""
    training = model.config.training
    _, train = model.split_tokens("train")
    steps = window_sizes(training, len(train), train.document_starts).longest
    one, two = (kept_bytes(model.model, rows, steps) for rows in (1, 2))
    return (two - one) / 1e3


def _gradients(model: TrainedModel, trial: Trial) -> dict[str, float]:
    """Bias, spread and cosine of each style's gradients of the beginning of the training text, in float64."""
    rows, steps, draws = trial.scale.pick((8, 512, 32), (2, 30, 3))
    _, train = model.split_tokens("train")
    network = copy.deepcopy(model.model).double().requires_grad_(True).eval()

    def gradient(style: Mapping[str, Any], seed: int) -> Tensor:
        trial.interruption.check()
        training = TrainingConfig(**{**style, "batch_size": rows})
        return epoch_gradient(network, train.ids[: rows * steps], model.tokenizer.eos_id, training, seed)

    whole = gradient({"truncation": "none"}, 0)
    found: dict[str, float] = {}
    for name, style in _styles(trial.scale).items():
        one = spread([gradient(style, seed) for seed in range(draws)], whole)
        found |= {f"{name} {measure}": value for measure, value in one._asdict().items()}
    return found


def _gradient_table(outcomes: Outcomes) -> Table:
    rows = [
        [arm.name, *(shown(outcomes.mean(FIXED, f"{arm.name} {measure}"), ".3f") for measure in Spread._fields)]
        for arm in outcomes.arms
    ]
    note = (
        "At the weights that fixed windows have led to: of an epoch's summed gradient over draws of borders and cuts, "
        "as shares of the norm of the gradient that is not cut; [..]: 95 % confidence over seeds (Student)."
    )
    return Table("Gradients", ["style", *Spread._fields], rows, note)
