"""Experiment: whether a new state is something of the old state plus something of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, together
from lmkit.experiments.tools.bounds import below, corrected_mean
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.experiments.tools.shares import two_way_shares
from lmkit.inspection.untrained import untrained_twin
from lmkit.inspection.walk import take_step
from lmkit.model import state as states
from lmkit.model.language_model import LanguageModel
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["Addition"]

LEAST = 0.05  # of the variance
CELLS = ("rnn", "gru", "lstm")
INSIDE = {"rnn": "preactivation", "lstm": "c"}  # beside the state h
PARTS = ("first", "second", "together")
PART_NAMES = ("previous state alone", "input alone", "the two together")


class Addition(Experiment):
    name = "addition"
    title = "Addition: what of a new state is the old state plus the input, and what is neither"
    claims = (9,)
    question = "Is the new state the sum of something of the previous state and something of the input?"
    rule = (
        "Networks of one layer learn the same characters in the same number of updates, each with a learning rate from "
        "one grid. From each of 64 states that the test text leads to, each of the 32 most frequent characters is "
        "read. The variance of the new states is split as for two factors: what the previous state gives alone, what "
        "the input gives alone, and what depends on the two together, of which a sum has nothing. Claim 9 holds for a "
        "cell if less than 5 % of the variance of its new state h is of the last kind (the whole interval over seeds, "
        "corrected for three cells), and is refuted if more is; the words of the three are put together. Beside them, "
        "and not judged: the plain network before its nonlinearity, where nothing is of that kind, the path c of the "
        "LSTM, and the networks as they start."
    )
    minutes = 4
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [Arm(cell, {"cell": cell, "max_steps": scale.pick(500, 3)}, rates) for cell in CELLS]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        size, window, rows = trial.scale.pick((128, 64, 32), (6, 8, 4))
        options = {"hidden_size": size, "window": window, "batch_size": rows, "dropout": 0.0}
        run = train_language_model(trial, {**options, **trial.options})
        if run.model is None or trial.tuning:
            return run.numbers
        _, test = run.model.split_tokens("test")
        rows, steps, types = trial.scale.pick((64, 64, 32), (4, 8, 4))
        ids = torch.tensor(test.ids[:].tolist())
        texts, inputs = ids[: rows * steps].view(rows, steps), torch.bincount(ids).topk(types).indices
        start = untrained_twin(run.model.model, trial.seed)
        return {
            **run.numbers,
            **shares_of(run.model.model, texts, inputs),
            **{f"start_{name}": value for name, value in shares_of(start, texts, inputs).items()},
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        neither = {cell: corrected_mean(outcomes.values(cell, "h_together"), len(CELLS)) for cell in CELLS}
        words = {cell: below(one, LEAST) for cell, one in neither.items()}
        listed = ", ".join(f"{cell} {shown(neither[cell], '.1%')} ({words[cell]})" for cell in CELLS)
        because = (
            f"Of the variance of the new state, this much is neither of the previous state nor of the input: {listed}; "
            f"of the LSTM's path c {shown(outcomes.mean('lstm', 'c_together'), '.1%')}, and of the plain network "
            f"before its nonlinearity {shown(outcomes.mean('rnn', 'preactivation_together').value, '.1%')}."
        )
        return [Verdict(9, together(list(words.values())), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = []
        for when, prefix in (("trained", ""), ("at the start", "start_")):
            for cell, name in _tensors():
                means = [outcomes.mean(cell, f"{prefix}{name}_{part}") for part in PARTS]
                rows.append([f"{cell}, {name}, {when}", *(shown(one, ".1%") for one in means)])
        note = "The three add up to 100 %. [..]: 95 % confidence over seeds (Student)."
        columns = [("test, nats per character", "test", ".4f"), ("updates", "updates", ",.0f")]
        return [Table("Variance of what a step gives", ["of", *PART_NAMES], rows, note), arms_table(outcomes, columns)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        bars = []
        for part, group in zip(PARTS, PART_NAMES, strict=True):
            for cell, name in _tensors():
                mean = outcomes.mean(cell, f"{name}_{part}")
                bars.append(Bar(f"{cell}, {name}: {group}", mean.value, mean.low, mean.high, group))
        return {"shares": Bars("Where a new state comes from", "share of its variance", bars)}


def _tensors() -> list[tuple[str, str]]:
    """What is split of each cell: its state, and what lies inside."""
    return [(cell, name) for cell in CELLS for name in (INSIDE.get(cell), "h") if name]


def shares_of(model: LanguageModel, texts: Tensor, inputs: Tensor) -> dict[str, float]:
    """The shares of each tensor of a one-layer network: from the state after each of the texts (M, T), each of the
    inputs (K,) is read. In float64, which the model is afterwards.
    """
    model = model.double().eval()
    (cell,) = model.cells
    with torch.inference_mode():
        _, reached = model.features(texts, model.initial_state(len(texts)))
        state = states.repeat(reached, len(inputs))
        embedded = model.embedding(inputs.repeat(len(texts)))
        found = {name: values for (_, name), values in take_step(model, embedded, state).values(model).items()}
        if "preactivation" in cell.gate_names:
            found["preactivation"] = cell.look(cell.project(embedded), state[0])["preactivation"]
    shape = (len(texts), len(inputs), -1)
    shares = {name: two_way_shares(values.view(shape)) for name, values in found.items()}
    return {f"{name}_{part}": getattr(one, part) for name, one in shares.items() for part in PARTS}
