"""Experiment: samplers, and the state that they carry or reset, each read both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Comparison, Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide, together
from lmkit.experiments.tools.language_model import MEASURING_ROWS, train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["Samplers"]

LEAST = 0.05  # nats per character
CARRIED, RESET = "sequential, carried", "sequential, reset"
RANDOM, BURN_IN = "random, reset", "random, burn-in"
STYLES: dict[str, dict[str, Any]] = {
    CARRIED: {"sampler": "sequential", "state": "carry"},
    RESET: {"sampler": "sequential", "state": "reset"},
    RANDOM: {"sampler": "random"},
    BURN_IN: {"sampler": "random"},
}
AS_TRAINED, CARRY, FROM_ZERO = "test_as_trained", "test_carry", "test_reset"


class Samplers(Experiment):
    name = "samplers"
    title = "Samplers: the order of the windows, the state between them, and how the model is read afterwards"
    claims = (17,)
    question = "Is a model better for windows that follow each other and carry the state, or only for being read so?"
    rule = (
        "An LSTM reads the same characters in the same number of updates, in windows of 16 and of 64 steps: windows "
        "that follow each other with the state carried or reset, random ones from a state of zero, and random ones "
        "that first read as many tokens without predicting them. Each takes its learning rate from one grid, by "
        "validation with a carried state. Every model reads the test text with the state carried, and in windows as "
        "long as in training from a state of zero. A difference is much from 0.05 nats per character on (Welch's test"
        " over seeds, Holm over the comparisons of one reading). Claim 17 holds if sequential windows with a carried "
        "state have that advantage over random ones at both lengths, each read as it was trained, and keep it where "
        "both models are read with a carried state; it is partly so if some of the four do. The order alone is "
        "sequential against random windows with the state reset in both."
    )
    minutes = 15
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [
            Arm(_arm(style, window), {**STYLES[style], "window": window, **_burn_in(style, window)}, rates)
            for window in _windows(scale)
            for style in STYLES
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        targets, length = trial.scale.pick((2048, {"max_steps": 700}), (32, {"epochs": 1}))
        options = {**trial.options, **length, "batch_size": targets // trial.options["window"], "dropout": 0.1}
        run = train_language_model(trial, options, parameters=trial.scale.pick(100_000, 2_000))
        read = {} if run.model is None or trial.tuning else _readings(run.model)
        return {**run.numbers, **read}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        trained, carried = (_compared(outcomes, reading) for reading in (AS_TRAINED, CARRY))
        words = [decide(one.advantage, one.p_holm, LEAST) for one in (*trained, *carried)]
        order = outcomes.compare(_pairs(outcomes, RESET, RANDOM), FROM_ZERO, paired=False)
        because = "; ".join(
            f"in windows of {window} {shown(one.advantage)} as trained, {shown(other.advantage)} with both read with a "
            f"carried state, and {shown(alone.advantage)} by the order alone"
            for window, one, other, alone in zip(_windows(outcomes.scale), trained, carried, order, strict=True)
        )
        sentence = f"Advantage over random windows, in nats per character: {because}."
        return [Verdict(17, together(words), sentence)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("test, as trained", AS_TRAINED, ".4f"),
            ("test, carried", CARRY, ".4f"),
            ("test, reset", FROM_ZERO, ".4f"),
            ("updates", "updates", ",.0f"),
            ("seconds", "cpu_seconds", ".1f"),
        ]
        note = (
            "Nats per character, with 95 % confidence over seeds (Student). Reset: in windows as long as in training."
        )
        tables = [arms_table(outcomes, columns, note=note)]
        for reading, title in ((AS_TRAINED, "as trained"), (CARRY, "read with a carried state")):
            tables.append(
                comparisons_table(_compared(outcomes, reading), "nats per character", title=f"Differences, {title}")
            )
        order = outcomes.compare(
            [*_pairs(outcomes, RESET, RANDOM), *_pairs(outcomes, BURN_IN, RANDOM)], FROM_ZERO, paired=False
        )
        return [*tables, comparisons_table(order, "nats per character", title="Differences, read from zero")]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        bars = []
        for group, reading in (("carried", CARRY), ("reset", FROM_ZERO)):
            for arm in outcomes.arms:
                mean = outcomes.mean(arm.name, reading)
                bars.append(Bar(f"{arm.name}, read {group}", mean.value, mean.low, mean.high, group))
        return {"loss": Bars("Loss by sampler, each model read both ways", "test loss, nats per character", bars)}


def _windows(scale: Scale) -> tuple[int, ...]:
    return scale.pick((16, 64), (8,))


def _arm(style: str, window: int) -> str:
    return f"{style}, {window}"


def _burn_in(style: str, window: int) -> dict[str, int]:
    return {"burn_in": window} if style == BURN_IN else {}


def _pairs(outcomes: Outcomes, style: str, baseline: str) -> list[tuple[str, str]]:
    """Of each length of windows, a style and what it is compared with."""
    return [(_arm(style, window), _arm(baseline, window)) for window in _windows(outcomes.scale)]


def _compared(outcomes: Outcomes, reading: str) -> list[Comparison]:
    return outcomes.compare(_pairs(outcomes, CARRIED, RANDOM), reading, paired=False)


def _readings(model: TrainedModel) -> dict[str, float]:
    """The test text read with the state carried, from a state of zero in each window, and as in training."""
    split, tokens = model.split_tokens("test")
    training = model.config.training
    carried = model.measure(tokens, split=split, state="carry", rows=MEASURING_ROWS)
    reset = model.measure(tokens, split=split, state="reset", rows=MEASURING_ROWS, window=training.window)
    found = {CARRY: carried.evaluation.nats_per_token, FROM_ZERO: reset.evaluation.nats_per_token}
    return {**found, AS_TRAINED: found[CARRY if training.state_policy == "carry" else FROM_ZERO]}
