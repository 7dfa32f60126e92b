"""Experiment: a word that decides another one over a distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import mean_interval
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import is_above, is_below
from lmkit.experiments.tools.items import swapped_effect
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.plots.charts import Chart, Line, Lines, Mark
from lmkit.text.sources.generated import Agreement

__all__ = ["Distance"]

CELLS = ("rnn", "gru", "lstm")
CONNECTED = 0.5


class Distance(Experiment):
    name = "distance"
    title = "A word that decides another one over a distance"
    claims = (5,)
    question = "Do recurrent networks become unable to connect two words as the gap between them grows?"
    rule = (
        "Networks learn lines such as 'born in france often gladly speaks french', word by word, in the same number of "
        "updates, each with a learning rate from one grid; 0 to 20 words stand between, each number alike, and windows "
        "of 64 words hold the whole gap. The effect of the country is the probability of a language, among the six, "
        "after its own country, less the mean after the other five with the same words between. For a cell the claim "
        "holds if the effect lies above 0.5 right after the country and below 0.5 after 20 words (the whole interval "
        "over seeds, in both), and is refuted if it lies above 0.5 after 20; the words of the three cells are put "
        "together. 40 words, more than any line that was trained, are shown and not judged."
    )
    minutes = 12

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2, 3e-2)), grid(lr=(1e-2,)))
        return [Arm(cell, {"cell": cell, "max_steps": updates(scale)}, rates) for cell in cells(scale)]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, window, rows = trial.scale.pick((32, 64, 16), (8, 16, 4))
        text = trial.scale.pick("agreement:20:300000", "agreement:3:3000")
        options = {"hidden_size": width, "window": window, "batch_size": rows, "dropout": 0.0, "tokenizer": "word"}
        run = train_language_model(trial, {"corpus": text, **options, **trial.options})
        if run.model is None or trial.tuning:
            return run.numbers
        return {**run.numbers, "effect": [_effect(run.model, gap, trial) for gap in gaps(trial.scale)]}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        far = longest_trained(outcomes.scale)
        ends = {cell: (effect(outcomes, cell, 0), effect(outcomes, cell, far)) for cell in cells(outcomes.scale)}
        listed = ", ".join(f"{cell} {shown(one, '.2f')} ({shown(near, '.2f')})" for cell, (near, one) in ends.items())
        word = together([_word(*both) for both in ends.values()])
        found = f"Effect of the country after {far} words, within {updates(outcomes.scale):,} updates"
        return [Verdict(5, word, f"{found} (after none): {listed}.")]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        steps = gaps(outcomes.scale)
        rows = [[cell, *(shown(effect(outcomes, cell, gap), ".2f") for gap in steps)] for cell in cells(outcomes.scale)]
        columns = ["network", *(f"{gap} words between" for gap in steps)]
        note = f"1: the country decides; 0: it does not. Trained: 0 to {longest_trained(outcomes.scale)} words."
        learnt = arms_table(outcomes, [("test, nats per word", "test", ".4f"), ("updates", "updates", ",.0f")])
        return [Table("Effect of the country on the language", columns, rows, note), learnt]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        curves = {cell: outcomes.curve(cell, "effect") for cell in cells(outcomes.scale)}
        steps = gaps(outcomes.scale)
        lines = [Line(cell, steps, one.mean, one.low, one.high) for cell, one in curves.items()]
        title = f"A cue over a distance (trained: 0 to {longest_trained(outcomes.scale)} words)"
        marks = [Mark("connected", CONNECTED)]
        return {"distance": Lines(title, "words between", "effect of the cue", lines, marks=marks)}


def cells(scale: Scale) -> tuple[str, ...]:
    """The networks that are compared."""
    return scale.pick(CELLS, CELLS[:1])


def updates(scale: Scale) -> int:
    """Of each training."""
    return scale.pick(3000, 3)


def gaps(scale: Scale) -> tuple[int, ...]:
    """The numbers of words between that are measured."""
    return scale.pick((0, 2, 5, 10, 15, 20, 40), (0, 3, 6))


def longest_trained(scale: Scale) -> int:
    """The largest number of words between in the text."""
    return scale.pick(20, 3)


def effect(outcomes: Outcomes, cell: str, gap: int) -> Interval:
    """The effect of the country over a gap, with its interval over seeds."""
    place = gaps(outcomes.scale).index(gap)
    found = [run.values.get("effect") for run in outcomes.of(cell)]
    return mean_interval([float("nan") if one is None else one[place] for one in found])


def _effect(model: TrainedModel, gap: int, trial: Trial) -> float:
    """The mean effect over draws of the words between."""
    number = trial.scale.pick(20, 2)
    items = list(Agreement().items(gap, number, seed=1))
    size = len(items) // number
    trial.interruption.check()
    return sum(swapped_effect(model, items[first : first + size]) for first in range(0, len(items), size)) / number


def _word(near: Interval, far: Interval) -> Word:
    """The word of a cell, from its effects right after the cue and over the largest distance."""
    if is_above(far, CONNECTED):
        return Word.REFUTED
    return Word.HOLDS if is_above(near, CONNECTED) and is_below(far, CONNECTED) else Word.UNDECIDED
