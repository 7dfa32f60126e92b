"""Experiment: cells, tying, forget bias, depth and the place of dropout, at equal parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import EQUAL_TARGETS, Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, decide_equal, together
from lmkit.experiments.tools.language_model import QUICK_TEXT, options_of, train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.experiments.tools.texts import beginning
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["Cells"]

LEAST = 0.02  # nats per character
LEAST_SECONDS = 0.02  # of the LSTM's
LSTM, GRU, RNN, TWO, THREE = "lstm", "gru", "rnn", "lstm, 2 layers", "lstm, 3 layers"
SAME_SIZE = "gru, as many units"
NETWORKS = [(GRU, LSTM), (RNN, LSTM), (TWO, LSTM), (THREE, LSTM), ("lstm, tied", LSTM), ("lstm, forget bias 1", LSTM)]
PLACES = ("none", "on embeddings", "between layers", "on outputs")
DROPOUTS = [(f"2 layers, dropout {place}", TWO) for place in PLACES]


class Cells(Experiment):
    name = "cells"
    title = "Cells, tying, forget bias, depth and the place of dropout"
    claims = (20, 23)
    question = (
        "At equal parameters, what do the cell, tied embeddings, the forget bias, depth and dropout's place matter?"
    )
    rule = (
        "Networks of equal size read the same characters in the same number of updates; each takes its learning rate "
        "from one grid. A difference matters from 0.02 nats per character on (test, Holm over each family; Welch's "
        "test between networks, pairs by seed between places of dropout). Claim 20 holds if a GRU of as many units has "
        "fewer parameters than the LSTM, takes at least 2 % less processor time for the same updates, and a GRU of "
        "equal parameters is within 0.02 nats of the LSTM for sure. Claim 23 holds if two and three layers each have "
        "an advantage over one. Tying, the forget bias and the places of dropout are shown without a claim."
    )
    minutes = 15
    takes_text = True
    equal: ClassVar[Mapping[str, float]] = {**EQUAL_TARGETS, "parameters": 0.06}
    unequal: ClassVar[Mapping[str, Sequence[str]]] = {"parameters": (SAME_SIZE,)}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        dropouts = [
            {"dropout": 0.0},
            {"layer_dropout": 0.0, "output_dropout": 0.0},
            {"embedding_dropout": 0.0, "output_dropout": 0.0},
            {"embedding_dropout": 0.0, "layer_dropout": 0.0},
        ]
        networks: dict[str, dict[str, Any]] = {
            LSTM: {"cell": "lstm"},
            GRU: {"cell": "gru"},
            RNN: {"cell": "rnn"},
            SAME_SIZE: {"cell": "gru"},
            "lstm, tied": {"cell": "lstm", "tie_embeddings": True},
            "lstm, forget bias 1": {"cell": "lstm", "forget_bias": 1.0},
            TWO: {"cell": "lstm", "num_layers": 2},
            THREE: {"cell": "lstm", "num_layers": 3},
            **{
                name: {"cell": "lstm", "num_layers": 2, **own}
                for (name, _), own in zip(DROPOUTS, dropouts, strict=True)
            },
        }
        return [Arm(name, {"max_steps": scale.pick(600, 4), **own}, rates) for name, own in networks.items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        scale = trial.scale
        corpus = scale.corpus or (QUICK_TEXT if scale.quick else beginning(trial, "pydoc", 120_000))
        options: dict[str, Any] = {"corpus": corpus, "window": scale.pick(64, 8), "batch_size": scale.pick(32, 4)}
        parameters: int | None = scale.pick(60_000, 3_000)
        if trial.arm.name == SAME_SIZE:  # as many units as the LSTM of this size has, so three quarters of its matrices
            lstm = options_of(trial, {**options, "cell": "lstm"}, parameters=parameters)
            options, parameters = {**options, "hidden_size": lstm.model.hidden_size}, None
        return train_language_model(trial, {**options, **trial.options}, parameters=parameters).numbers

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = {one.arm: one for one in outcomes.compare(NETWORKS, "test", paired=False)}
        words = {name: decide(one.advantage, one.p_holm, LEAST) for name, one in found.items()}
        (time,) = outcomes.compare([(SAME_SIZE, LSTM)], "cpu_seconds", paired=False)
        faster = decide(time.advantage, time.p_holm, LEAST_SECONDS * outcomes.mean(LSTM, "cpu_seconds").value)
        sizes = [outcomes.values(name, "parameters")[0] for name in (SAME_SIZE, LSTM)]
        as_good = decide_equal(found[GRU].corrected, LEAST)
        return [
            Verdict(
                20,
                together([Word.HOLDS if sizes[0] < sizes[1] else Word.REFUTED, faster, as_good]),
                f"With as many units the GRU has {sizes[0]:,.0f} parameters and the LSTM {sizes[1]:,.0f}; it takes "
                f"{shown(time.interval, '+.2f')} seconds for the same updates ({faster}); at equal parameters its loss "
                f"differs by {shown(found[GRU].corrected, '+.4f')} nats per character (as good: {as_good}).",
            ),
            Verdict(
                23,
                together([words[TWO], words[THREE]]),
                f"The advantage over one layer is {shown(found[TWO].advantage)} nats per character for two layers "
                f"({words[TWO]}) and {shown(found[THREE].advantage)} for three ({words[THREE]}).",
            ),
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("parameters", "parameters", ",.0f"),
            ("units", "hidden_size", ".0f"),
            ("test, nats per character", "test", ".4f"),
            ("valid", "valid", ".4f"),
            ("seconds", "cpu_seconds", ".1f"),
        ]
        unit = "nats per character"
        return [
            arms_table(outcomes, columns),
            comparisons_table(outcomes.compare(NETWORKS, "test", paired=False), unit, title="Networks"),
            comparisons_table(outcomes.compare(DROPOUTS, "test", paired=True), unit, title="Places of dropout"),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        bars = []
        for arm in outcomes.arms:
            mean = outcomes.mean(arm.name, "test")
            bars.append(
                Bar(arm.name, mean.value, mean.low, mean.high, "dropout" if "dropout" in arm.name else "network")
            )
        return {"loss": Bars("Loss at equal parameters", "test loss, nats per character", bars)}
