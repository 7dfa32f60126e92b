"""Experiment: what the loop is for: windows of one step, with the state reset and with the state carried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel, load
from lmkit.evaluation.options import DEFAULTS
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide, together
from lmkit.experiments.tools.language_model import MEASURING_ROWS, train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["Loop"]

LEAST = 0.05  # nats per character
RESET, CARRIED, WINDOWED = "window 1, reset", "window 1, carried", "windowed"
COMPARED = [(CARRIED, RESET), (WINDOWED, RESET), (WINDOWED, CARRIED)]


class Loop(Experiment):
    name = "loop"
    title = "The loop: a network without it, with it, and with gradients through it"
    claims = (3,)
    question = "Is it the state that is passed on that gives a network memory?"
    rule = (
        "An LSTM reads the same characters in the same number of updates of equally many targets: in windows of one "
        "step from a state of zero, which makes it a feed-forward network of the last character; in windows of one "
        "step with the state carried, so that the loop is there but no gradient goes through it; and in windows of "
        "32. Each takes its learning rate from one grid and is read as it was trained, after its last update. An "
        "advantage matters from 0.05 nats per character on (test, Welch's test over seeds, Holm over three "
        "comparisons). Claim 3 holds if both networks with a loop have that advantage over the one without; it is "
        "partly so if one has. What the gradient through the loop adds, windows of 32 against carried single steps, "
        "is shown and not judged."
    )
    minutes = 15
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        window, rows = scale.pick((32, 16), (2, 8))
        single = {"window": 1, "batch_size": window * rows}
        ways: dict[str, dict[str, Any]] = {
            RESET: {**single, "state": "reset"},
            CARRIED: {**single, "state": "carry"},
            WINDOWED: {"window": window, "batch_size": rows, "state": "carry"},
        }
        return [Arm(name, {**one, "max_steps": scale.pick(1500, 60)}, rates) for name, one in ways.items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        options = {"hidden_size": trial.scale.pick(128, 8), "dropout": 0.0, **trial.options}
        run = train_language_model(trial, options)
        if run.model is None or run.model.run is None:
            return run.numbers
        last = load(run.model.run.path, "cpu", checkpoint="last")
        splits = ("valid",) if trial.tuning else ("valid", "test")
        return {**run.numbers, **{split: _as_trained(last, split) for split in splits}}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = outcomes.compare(COMPARED, "test", paired=False)
        words = [decide(one.advantage, one.p_holm, LEAST) for one in found]
        because = (
            f"The advantage over the network without a loop is {shown(found[0].advantage)} nats per character with the "
            f"state carried from step to step ({words[0]}) and {shown(found[1].advantage)} in windows ({words[1]}); "
            f"the gradient through the loop adds {shown(found[2].advantage)}."
        )
        return [Verdict(3, together(words[:2]), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("test, nats per character", "test", ".4f"),
            ("targets", "targets", ",.0f"),
            ("updates", "updates", ",.0f"),
            ("seconds", "cpu_seconds", ".1f"),
        ]
        found = outcomes.compare(COMPARED, "test", paired=False)
        return [arms_table(outcomes, columns), comparisons_table(found, "nats per character")]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        means = {arm.name: outcomes.mean(arm.name, "test") for arm in outcomes.arms}
        bars = [Bar(name, one.value, one.low, one.high) for name, one in means.items()]
        return {"loss": Bars("What the loop is for", "test loss, nats per character", bars)}


def _as_trained(model: TrainedModel, split: str) -> float:
    """The loss on a split in nats per character, with the state that the model was trained with."""
    training = model.config.training
    _, tokens = model.split_tokens(split)
    window = training.window if training.state_policy == "reset" else DEFAULTS.window
    how: dict[str, Any] = {"state": training.state_policy, "rows": MEASURING_ROWS, "window": window}
    return model.measure(tokens, split=split, **how).evaluation.nats_per_token
