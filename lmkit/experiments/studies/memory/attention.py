"""Experiment: what attention adds to a recurrent network, where it looks, and a transformer beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from lmkit.api import TrainedModel
from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import EQUAL_TARGETS, Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.plots.charts import Bar, Bars, Chart, Line, Lines

__all__ = ["Attention"]

LEAST = 0.02  # nats per character
LEAST_SHARE = 0.05
LSTM, LSTM_LOOKS, RNN, RNN_LOOKS, TRANSFORMER = "lstm", "lstm + attention", "rnn", "rnn + attention", "transformer"
LSTM_ITSELF, RNN_ITSELF = "lstm + attention to itself", "rnn + attention to itself"
IN_TIME = {name: f"{name}, time of the lstm" for name in (LSTM_LOOKS, TRANSFORMER)}
# Updates in the processor time of one update of the LSTM, with one thread: measured once, and fixed, so that a run is a
# function of its seed. The table shows the seconds that it took.
UPDATES_IN_TIME = {LSTM_LOOKS: 0.54, TRANSFORMER: 0.3}
LOOKERS = (RNN_LOOKS, LSTM_LOOKS, TRANSFORMER)
COMPARED = [(LSTM_LOOKS, LSTM_ITSELF), (RNN_LOOKS, RNN_ITSELF), (TRANSFORMER, LSTM), (IN_TIME[TRANSFORMER], LSTM)]
COMPARED += [(LSTM_ITSELF, LSTM), (RNN_ITSELF, RNN), (IN_TIME[LSTM_LOOKS], LSTM)]


class Attention(Experiment):
    name = "attention"
    title = "Attention: what it adds, where it looks, and the transformer"
    claims = (8, 25)
    question = "Does attention help a recurrent network at equal parameters and at equal time, and where does it look?"
    rule = (
        "Networks of equal size read the same characters in the same number of updates; each takes its learning rate "
        "from one grid. An advantage matters from 0.02 nats per character on (test, Welch's test over seeds, Holm over "
        "all seven comparisons). The head comes with a normalisation and a matrix of its own, so attention is compared "
        "with the same head over the present output alone, where nothing is left to attend to. Claim 8 holds if "
        "attention has that advantage over it, above an LSTM and above a plain network, and if each third of the "
        "positions that attention can see holds at least 5 % of its largest weights; some of the three make it partly "
        "so. What the head adds without a past stands beside it. Claim 25 holds if the transformer has the advantage "
        "over the LSTM both at equal updates and with the updates that it can make in the LSTM's time."
    )
    minutes = 15
    equal: ClassVar[Mapping[str, float]] = {**EQUAL_TARGETS, "parameters": 0.06}
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        steps, context = scale.pick(600, 8), scale.pick(128, 6)
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        networks: dict[str, dict[str, Any]] = {
            RNN: {"cell": "rnn"},
            RNN_ITSELF: {"cell": "rnn", "attention": 1},
            RNN_LOOKS: {"cell": "rnn", "attention": context},
            LSTM: {"cell": "lstm"},
            LSTM_ITSELF: {"cell": "lstm", "attention": 1},
            LSTM_LOOKS: {"cell": "lstm", "attention": context},
            TRANSFORMER: {"cell": "transformer", "context": context, "num_layers": 2},
        }
        arms = [Arm(name, {**one, "max_steps": steps}, rates) for name, one in networks.items()]
        for name, longer in IN_TIME.items():
            few = {**networks[name], "max_steps": max(1, round(steps * UPDATES_IN_TIME[name]))}
            arms.append(Arm(longer, few, rates, budget="seconds"))
        return arms

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        parameters = trial.scale.pick(100_000, 3_000)
        options = {"window": trial.scale.pick(64, 8), "batch_size": trial.scale.pick(32, 4), "dropout": 0.1}
        run = train_language_model(trial, {**options, **trial.options}, parameters=parameters, multiple=4)
        looks = run.model is not None and not trial.tuning and trial.arm.name in LOOKERS
        return {
            **run.numbers,
            **(_looks(run.model, trial.scale.pick(1024, 24)) if looks and run.model is not None else {}),
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = outcomes.compare(COMPARED, "test", paired=False)
        words = [decide(one.advantage, one.p_holm, LEAST) for one in found]
        thirds = [_third(outcomes, number) for number in range(3)]
        spread = _spread(thirds)
        shares = ", ".join(f"{share.value:.0%}" for share in thirds)
        return [
            Verdict(
                8,
                together([*words[:2], spread]),
                f"The advantage over the same head without a past is {shown(found[0].advantage)} nats per character "
                f"for the LSTM ({words[0]}) and {shown(found[1].advantage)} for the plain network ({words[1]}); the "
                f"nearest, middle and farthest third of the positions hold {shares} of the largest weights ({spread}). "
                f"That head is ahead of no head by {shown(found[4].advantage)} and {shown(found[5].advantage)}; with "
                f"attention, in the LSTM's time, it is ahead of the LSTM by {shown(found[6].advantage)}.",
            ),
            Verdict(
                25,
                together(words[2:4]),
                f"The transformer's advantage over the LSTM is {shown(found[2].advantage)} nats per character at equal "
                f"updates ({words[2]}) and {shown(found[3].advantage)} in equal time ({words[3]}), on this text and at "
                f"this size.",
            ),
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("parameters", "parameters", ",.0f"),
            ("updates", "updates", ",.0f"),
            ("test, nats per character", "test", ".4f"),
            ("valid", "valid", ".4f"),
            ("seconds", "cpu_seconds", ".1f"),
        ]
        found = outcomes.compare(COMPARED, "test", paired=False)
        return [arms_table(outcomes, columns), comparisons_table(found, "nats per character"), _looking(outcomes)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        bars = []
        for arm in outcomes.arms:
            mean = outcomes.mean(arm.name, "test")
            group = "equal time" if arm.budget == "seconds" else "equal updates"
            bars.append(Bar(arm.name, mean.value, mean.low, mean.high, group))
        lines = []
        for name in LOOKERS:
            weights = outcomes.curve(name, "weights")
            lines.append(Line(name, list(range(1, 1 + len(weights.mean))), weights.mean, weights.low, weights.high))
        return {
            "loss": Bars("Loss at equal size", "test loss, nats per character", bars),
            "weights": Lines(
                "Where attention looks", "positions back (1: the present one)", "mean weight", lines, log_x=True
            ),
        }


def _looks(model: TrainedModel, positions: int) -> dict[str, Any]:
    """Where the attention of a model looks in the validation text: its mean weight by distance, the nearest first, and
    how often each third of the distances has the largest weight; over all layers and heads, from the first token on
    that sees as many positions as any.
    """
    _, valid = model.split_tokens("valid")
    tokens = torch.tensor([valid.ids[:positions].tolist()])
    with torch.inference_mode():
        layers = model.model.attention_weights(tokens, model.model.initial_state(1))
    weights = torch.cat([one.flatten(0, 1) for one in layers])  # (heads, T, M)
    context = weights.shape[-1]
    seen = weights[:, context - 1 :].flip(-1)  # the own position first
    largest = seen.argmax(dim=-1)
    thirds = [((largest * 3 // context) == third).double().mean().item() for third in range(3)]
    return {"weights": seen.mean(dim=(0, 1)).tolist(), **{f"third_{n}": share for n, share in enumerate(thirds)}}


def _third(outcomes: Outcomes, number: int) -> Interval:
    """The share of the largest weights of the LSTM's attention in a third of the distances."""
    return outcomes.mean(LSTM_LOOKS, f"third_{number}")


def _spread(thirds: Sequence[Interval]) -> Word:
    """Whether each third holds its share."""
    if any(one.low is None or one.high is None for one in thirds):
        return Word.UNDECIDED
    if all(one.low is not None and one.low >= LEAST_SHARE for one in thirds):
        return Word.HOLDS
    small = any(one.high is not None and one.high < LEAST_SHARE for one in thirds)
    return Word.REFUTED if small else Word.UNDECIDED


def _looking(outcomes: Outcomes) -> Table:
    rows = [[name, *(shown(outcomes.mean(name, f"third_{number}"), ".1%") for number in range(3))] for name in LOOKERS]
    columns = ["arm", "nearest third", "middle third", "farthest third"]
    return Table(
        "Where the largest weight lies", columns, rows, "Share of the largest weights, over all layers and heads."
    )
