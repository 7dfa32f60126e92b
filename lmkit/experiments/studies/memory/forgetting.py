"""Experiment: how the state changes with each token, and how fast it forgets another past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lmkit.api import TrainedModel
from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import is_above, is_below
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.inspection import Inspector
from lmkit.inspection.memory.memory import read_states
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["ForgettingCurve"]

CELLS = ("rnn", "gru", "lstm")
CHANGES, LEFT = 0.1, 0.1  # of the state's length; of the distance after the first token


class ForgettingCurve(Experiment):
    name = "forgetting"
    title = "The state: how it changes, and how fast another past is forgotten"
    claims = (2,)
    question = "Does the state stand for all inputs so far, and does it change with each?"
    rule = (
        "Networks learn the text in the same number of updates, each with a learning rate from one grid. In the test "
        "text the state h changes with each token if the mean change, over the state's length, lies above 10 %. It "
        "stands for the inputs so far if two pasts, 64 tokens of the text and 64 unrelated ones, still make a "
        "difference of more than 10 % after 50 tokens of the same text: the mean distance of the two states, over "
        "that after the first of these tokens. For a cell claim 2 holds if both are so (the whole intervals over "
        "seeds); it is partly so if the state changes and the two pasts have become the same, less than 10 % apart: "
        "then the state stands for the newest inputs only. It is refuted if the state does not change. The words of "
        "the three cells are put together."
    )
    minutes = 15
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [Arm(cell, {"cell": cell, "max_steps": scale.pick(1000, 3)}, rates) for cell in cells(scale)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, window, rows = trial.scale.pick((128, 64, 16), (8, 8, 4))
        options = {"hidden_size": width, "window": window, "batch_size": rows, "dropout": 0.0, **trial.options}
        run = train_language_model(trial, options)
        if run.model is None or trial.tuning:
            return run.numbers
        return {**run.numbers, **_forgotten(run.model, trial.scale)}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        both = {cell: (outcomes.mean(cell, "change"), outcomes.mean(cell, "left")) for cell in cells(outcomes.scale)}
        changes = ", ".join(f"{cell} {shown(change, '.0%')}" for cell, (change, _) in both.items())
        left = ", ".join(f"{cell} {shown(one, '.1%')}" for cell, (_, one) in both.items())
        because = (
            f"A token changes the state by {changes} of its length. After {length(outcomes.scale)} tokens of the same "
            f"text this is left of the difference between two pasts: {left}."
        )
        return [Verdict(2, together([state_word(*one) for one in both.values()]), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("change with a token", "change", ".1%"),
            (f"left after {length(outcomes.scale)} tokens", "left", ".2%"),
            ("tokens until a tenth is left", "tokens_to_tenth", ".1f"),
            ("test, nats per character", "test", ".4f"),
        ]
        return [arms_table(outcomes, columns)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        curves = {cell: outcomes.curve(cell, "distance") for cell in cells(outcomes.scale)}
        lines = [
            Line(cell, list(range(1, 1 + len(one.mean))), one.mean, one.low, one.high) for cell, one in curves.items()
        ]
        title = "Two pasts, and then the same text"
        return {"forgetting": Lines(title, "tokens of the same text", "distance of the states", lines, log_y=True)}


def cells(scale: Scale) -> tuple[str, ...]:
    """The networks that are compared."""
    return scale.pick(CELLS, CELLS[:1])


def length(scale: Scale) -> int:
    """Tokens of the same text after the two pasts."""
    return scale.pick(50, 5)


def state_word(change: Interval, left: Interval) -> Word:
    """The word of a cell."""
    if is_below(change, CHANGES):
        return Word.REFUTED
    if not is_above(change, CHANGES):
        return Word.UNDECIDED
    return Word.HOLDS if is_above(left, LEFT) else Word.PARTLY if is_below(left, LEFT) else Word.UNDECIDED


def _forgotten(model: TrainedModel, scale: Scale) -> dict[str, Any]:
    """The curve of the distances between two pasts, and the change with a token, of h on the test split."""
    _, test = model.split_tokens("test")
    inspector = Inspector(model.model, model.tokenizer)
    found = inspector.forgetting(test.ids, length=length(scale), rows=scale.pick(64, 4))
    h = next(one for one in found.distances if one.name == "h")
    tokens = torch.tensor([[model.tokenizer.eos_id, *test.ids[: scale.pick(1000, 100)].tolist()]])
    size = model.config.model.hidden_size
    states = read_states(model.model, tokens)[0, 1:, :size]
    change = (states[1:] - states[:-1]).norm(dim=1) / states[1:].norm(dim=1)
    tenth = h.tokens_to(0.1)
    return {
        "distance": (h.mean / h.mean[0]).tolist(),
        "left": float(h.mean[-1] / h.mean[0]),
        "tokens_to_tenth": None if tenth is None else tenth,
        "change": float(change.mean()),
    }
