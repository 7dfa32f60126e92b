"""Experiment: what is left of a word some words later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, together
from lmkit.experiments.tools.bounds import below
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.inspection import Inspector
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["Fading"]

CELLS = ("rnn", "gru", "lstm")
FEW = 3  # words back: the first of the four in "what time is it"
GONE = 0.1


class Fading(Experiment):
    name = "fading"
    title = "Words that fade: what is left of a word some words later"
    claims = (4,)
    question = "Is the information of the first of four words almost gone after the last?"
    rule = (
        "Networks learn the sentences of a grammar, word by word, in the same number of updates, each with a learning "
        "rate from one grid. In text that they were not trained on a linear probe reads from the state the word that "
        "was read 3 words before the newest. What is left of it is the probe's accuracy beyond that of a probe of "
        "shuffled words, over the same for the newest word. For a cell the claim holds if the whole interval over "
        "seeds lies below 10 %, and is refuted if it lies above; the words of the three cells are put together. The "
        "probe says what the state holds, not what the network uses: the gradient of its loss by lag, and the same "
        "probe of the network before its training, stand beside it."
    )
    minutes = 8

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [Arm(cell, {"cell": cell, "max_steps": scale.pick(600, 3)}, rates) for cell in cells(scale)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, window, rows = trial.scale.pick((64, 64, 16), (8, 16, 4))
        text = trial.scale.pick("grammar:200000", "grammar:18000")
        options = {"hidden_size": width, "window": window, "batch_size": rows, "dropout": 0.0, "tokenizer": "word"}
        run = train_language_model(trial, {"corpus": text, **options, **trial.options})
        if run.model is None or trial.tuning:
            return run.numbers
        return {**run.numbers, **_left(run.model, trial)}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        left = {cell: outcomes.mean(cell, "left") for cell in cells(outcomes.scale)}
        listed = ", ".join(f"{cell} {shown(one, '.0%')}" for cell, one in left.items())
        word = together([below(one, GONE) for one in left.values()])
        return [Verdict(4, word, f"Left of a word {FEW} words later: {listed}.")]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            (f"left of a word {FEW} back", "left", ".1%"),
            (f"gradient {FEW} back, of the newest", "gradient_left", ".1%"),
            ("test, nats per word", "test", ".3f"),
        ]
        return [arms_table(outcomes, columns), _probes(outcomes)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        read = [_line(outcomes, cell, "accuracy", cell) for cell in cells(outcomes.scale)]
        read += [_line(outcomes, cell, "untrained", f"{cell}, untrained") for cell in cells(outcomes.scale)]
        read.append(_line(outcomes, CELLS[0], "shuffled", "shuffled words"))
        gradients = [outcomes.curve(cell, "gradient") for cell in cells(outcomes.scale)]
        lines = [
            Line(cell, list(range(len(one.mean))), one.mean, one.low, one.high)
            for cell, one in zip(cells(outcomes.scale), gradients, strict=True)
        ]
        return {
            "read-back": Lines("A word read back from the state", "words ago", "accuracy of the probe", read),
            "gradient": Lines("Gradient of the loss by word", "words ago", "norm, of the newest", lines, log_y=True),
        }


def cells(scale: Scale) -> tuple[str, ...]:
    """The networks that are compared."""
    return scale.pick(CELLS, CELLS[:1])


def lags(scale: Scale) -> tuple[int, ...]:
    """How many words back the probe reads."""
    return scale.pick((0, 1, 2, 3, 5, 8), (0, FEW))


def _left(model: TrainedModel, trial: Trial) -> dict[str, Any]:
    """What the probe reads and the gradient by lag, on the test split."""
    _, test = model.split_tokens("test")
    steps = lags(trial.scale)
    inspector = Inspector(model.model, model.tokenizer, seed=trial.seed)
    memory = inspector.memory(test.ids, lags=steps, rows=trial.scale.pick(256, 8))
    accuracy, shuffled = memory.trained.accuracy.tolist(), memory.trained.shuffled.tolist()
    gradient = inspector.sensitivity(test.ids, lags=max(steps), rows=trial.scale.pick(64, 4)).trained.inputs.mean
    few = steps.index(FEW)
    return {
        "accuracy": accuracy,
        "shuffled": shuffled,
        "untrained": memory.untrained.accuracy.tolist(),
        "left": (accuracy[few] - shuffled[few]) / (accuracy[0] - shuffled[0]) if accuracy[0] != shuffled[0] else None,
        "gradient": (gradient / gradient[0]).tolist(),
        "gradient_left": float(gradient[FEW] / gradient[0]),
    }


def _line(outcomes: Outcomes, cell: str, name: str, shown_as: str) -> Line:
    curve = outcomes.curve(cell, name)
    return Line(shown_as, lags(outcomes.scale), curve.mean, curve.low, curve.high)


def _probes(outcomes: Outcomes) -> Table:
    """Means over seeds of the accuracies by lag."""
    kinds = {"accuracy": "trained", "untrained": "untrained", "shuffled": "shuffled words"}
    rows = [
        [f"{cell}, {kind}", *(f"{value:.1%}" for value in outcomes.curve(cell, name).mean)]
        for cell in cells(outcomes.scale)
        for name, kind in kinds.items()
    ]
    columns = ["network", *("newest" if lag == 0 else f"{lag} back" for lag in lags(outcomes.scale))]
    return Table("Accuracy of the probe, by the word's age", columns, rows)
