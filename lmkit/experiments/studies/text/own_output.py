"""Experiment: a model that reads what it has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide_equal
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["OwnOutput"]

LEAST = 0.03  # nats per character
TEMPERATURES = (1.0, 0.8, 0.5)
CELL = "lstm"


class OwnOutput(Experiment):
    name = "own-output"
    title = "A model that reads what it has written"
    claims = (28,)
    question = (
        "Are outputs drawn in proportion to exp of the scores, and what is the loss of a model on its own output?"
    )
    rule = (
        "An LSTM learns the text, writes 20,000 characters at temperature 1, 0.8 and 0.5, each one fed back as the "
        "next input, and reads them again. If a character is drawn in proportion to exp of its score, the loss on the "
        "own text is the entropy of the predictions on it, whatever the model is worth. Claim 28 holds if the "
        "difference at temperature 1 lies within 0.03 nats per character (the whole interval over seeds), and is "
        "refuted if it lies outside. The loss on the test text, and those at lower temperatures, which draw in "
        "proportion to other numbers, are shown and not judged."
    )
    minutes = 5
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [Arm(CELL, {"cell": CELL, "max_steps": scale.pick(1000, 4)}, rates)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, window, rows = trial.scale.pick((128, 64, 16), (8, 8, 4))
        options = {"hidden_size": width, "window": window, "batch_size": rows, "dropout": 0.1, **trial.options}
        run = train_language_model(trial, options)
        if run.model is None or trial.tuning:
            return run.numbers
        read = {name: _own(run.model, temperature, trial) for name, temperature in _named().items()}
        return {**run.numbers, **{f"{name}_{key}": value for name, one in read.items() for key, value in one.items()}}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        difference = outcomes.mean(CELL, "t1_difference")
        because = (
            f"At temperature 1 the loss on the own text is {shown(difference, '+.3f')} nats per character from the "
            f"entropy of the predictions; it is {shown(outcomes.mean(CELL, 't1_loss'), '.3f')}, and "
            f"{shown(outcomes.mean(CELL, 'test'), '.3f')} on the test text."
        )
        return [Verdict(28, decide_equal(difference, LEAST), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [
                f"own text, temperature {temperature:g}",
                *(shown(outcomes.mean(CELL, f"{name}_{key}"), ".3f") for key in KEYS),
            ]
            for name, temperature in _named().items()
        ]
        rows.append(["test text", shown(outcomes.mean(CELL, "test"), ".3f"), "-", "-"])
        columns = ["text", "loss, nats per character", "entropy of the predictions", "difference"]
        return [
            Table("Loss on the own output", columns, rows, "Read at temperature 1, whatever the text was drawn with.")
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        names = {f"own, temperature {temperature:g}": f"{name}_loss" for name, temperature in _named().items()}
        means = {shown_as: outcomes.mean(CELL, name) for shown_as, name in {**names, "test text": "test"}.items()}
        bars = [Bar(name, one.value, one.low, one.high) for name, one in means.items()]
        return {"own-output": Bars("What a model thinks of its own text", "loss, nats per character", bars)}


KEYS = ("loss", "entropy", "difference")


def _named() -> dict[str, float]:
    """The temperatures by names that values can have."""
    return {f"t{temperature:g}": temperature for temperature in TEMPERATURES}


def _own(model: TrainedModel, temperature: float, trial: Trial) -> dict[str, float]:
    """The loss and the entropy of the predictions on texts that the model has written, per character."""
    number, length = trial.scale.pick((40, 500), (2, 30))
    losses, entropies = [], []
    for text in model.streams("", range(number), length=length, seed=trial.seed, temperature=temperature):
        for token in model.score("".join(text), entropy=True):
            losses.append(-token.log_prob)
            entropies.append(token.entropy or 0.0)
        trial.interruption.check()
    loss, entropy = fmean(losses), fmean(entropies)
    return {"loss": loss, "entropy": entropy, "difference": loss - entropy}
