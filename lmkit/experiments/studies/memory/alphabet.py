"""Experiment: a sequence is learnt in its direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, together
from lmkit.experiments.tools.bounds import above, below, corrected_mean
from lmkit.experiments.tools.items import answer_losses
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.plots.charts import Chart, Line, Lines
from lmkit.text.sources.generated.alphabet import Alphabet

__all__ = ["AlphabetDirection"]

LEAST = 1.0  # nats per letter
ALIKE = 0.1  # nats per letter
FIRST = 2  # letters after the start from the middle
STARTS = Alphabet.starts("f")
FORWARD, BACKWARD, FROM_F = STARTS
TRAINED = {"forward": "trained forward", "both": "trained on both"}


class AlphabetDirection(Experiment):
    name = "alphabet"
    title = "Alphabet: a sequence is learnt in its direction"
    claims = (1,)
    question = "Is the alphabet easy forward, hard backward, and from the middle hard at first and then easy?"
    rule = (
        "GRU networks of 32 units are trained for 600 updates on lines with the alphabet, forward only or in either "
        "direction by chance, and then asked for each letter of the alphabet forward, backward, and forward from f, "
        "each at the beginning of a line. The loss of a way is the mean over its letters from the second on. For the "
        "networks that were trained forward: backward costs at least 1 nat per letter more than forward, and after "
        "the start from f the first two letters cost at least 1 nat more than the later ones, the whole interval over "
        "seeds, corrected for the number of judgements (Bonferroni). For those that were trained on both directions: "
        "backward costs at most 0.1 nats more than forward, so that the direction is that of the text and not of the "
        "network. Claim 1 holds if all three do."
    )
    minutes = 2

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [
            Arm(name, {"corpus": f"alphabet:{which}:{_characters(scale)}"}, rates) for which, name in TRAINED.items()
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        options = {
            "cell": "gru",
            "hidden_size": trial.scale.pick(32, 6),
            "window": trial.scale.pick(54, 9),
            "batch_size": trial.scale.pick(16, 4),
            "max_steps": trial.scale.pick(600, 6),
            "dropout": 0.0,
        }
        run = train_language_model(trial, {**options, **trial.options})
        if run.model is None:
            return run.numbers
        model = run.model
        losses = {
            start: answer_losses(model, (one.behind("\n") for one in Alphabet.items(line)))
            for start, line in STARTS.items()
        }
        means = {start: fmean(values[1:]) for start, values in losses.items()}
        middle = losses[FROM_F][1:]
        return {
            **run.numbers,
            **{f"{start} losses": values for start, values in losses.items()},
            **means,
            "backward more": means[BACKWARD] - means[FORWARD],
            "first more": fmean(middle[:FIRST]) - fmean(middle[FIRST:]),
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        one, both = TRAINED.values()
        backward, first, alike = (
            corrected_mean(outcomes.values(*which), 3)
            for which in ((one, "backward more"), (one, "first more"), (both, "backward more"))
        )
        words = [above(backward, LEAST), above(first, LEAST), below(alike, ALIKE)]
        return [
            Verdict(
                1,
                together(words),
                f"Trained forward, backward costs {shown(backward, '+.2f')} nats per letter more than forward "
                f"({words[0]}), and from f the first letters {shown(first, '+.2f')} more than the later ones "
                f"({words[1]}). Trained on both directions, backward costs {shown(alike, '+.3f')} more ({words[2]}).",
            )
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [arm.name, *(shown(outcomes.mean(arm.name, start), ".3f") for start in STARTS)] for arm in outcomes.arms
        ]
        note = "Nats per letter, without the first letter of a line. [..]: 95 % confidence over seeds (Student)."
        return [Table("Asked for the alphabet", ["network", *STARTS], rows, note)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        return {which: _chart(outcomes, name) for which, name in TRAINED.items()}


def _characters(scale: Scale) -> int:
    return scale.pick(100_000, 2_000)


def _chart(outcomes: Outcomes, arm: str) -> Chart:
    lines = []
    for start in STARTS:
        curve = outcomes.curve(arm, f"{start} losses")
        lines.append(Line(start, list(range(1, 1 + len(curve.mean))), curve.mean, curve.low, curve.high))
    return Lines(f"The alphabet, {arm}", "letter of the line", "loss, nats", lines)
