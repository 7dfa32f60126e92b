"""Experiment: what a recurrent network can do by itself: settle, oscillate, be chaotic, count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lmkit.api import TrainedModel
from lmkit.config import ModelConfig
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.bounds import above
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.inspection.dynamics.dynamics import constant_dynamics
from lmkit.model.language_model import LanguageModel
from lmkit.plots.charts import Chart, Line, Lines, Mark

__all__ = ["Dynamics", "longest_counted"]

SHOWN = 24  # steps of a path
HALF = 0.5  # of the runs
BEYOND = 4 / 3  # times the longest line of the training
GAINS = (0.5, 1.5, 4.0)
ONE_UNIT = "one unit, weight -3"
CELLS = ("rnn", "gru", "lstm")
KINDS = {"settles": ("fixed point", "settling"), "oscillates": ("cycle",), "is chaotic": ("chaos",)}


class Dynamics(Experiment):
    name = "dynamics"
    title = "Dynamics: settle, oscillate, be chaotic, count"
    claims = (24,)
    question = (
        "Does a recurrent network settle, oscillate, behave chaotically, and count beyond what it was trained on?"
    )
    rule = (
        "By themselves: tanh networks of 64 units without input, whose matrix is normal with a gain of 0.5, 1.5 or 4, "
        "and one unit with the weight -3, from a random state; after 1,000 steps the state settles, is in a cycle, or "
        "is chaotic (it does not repeat and the largest Lyapunov exponent over 2,000 steps is above zero by three "
        "standard errors). Each of the three is seen if some network does it in more than half of its runs, the whole "
        "interval being above (Wilson); one is refuted if for every network the whole interval is below. Counting: "
        "networks of 16 units are trained for 1,500 updates on lines of n a and n b with n up to 12, each with its "
        "learning rate from one grid; a run counts if it knows after every b of every line up to n = 16, a third "
        "more, whether the line goes on or ends. Counting is seen if some cell does so in more than half of its runs, "
        "the whole interval being above; it is undecided otherwise, because more training might do it. Claim 24 holds "
        "if all four are seen."
    )
    minutes = 10
    seeds = 20

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(3e-3, 1e-2, 3e-2)), grid(lr=(1e-2,)))
        return [
            *(Arm(_random(gain), {"gain": gain}) for gain in GAINS),
            Arm(ONE_UNIT, {"weight": -3.0}),
            *(Arm(_counter(cell), {"cell": cell}, rates) for cell in CELLS),
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        return _count(trial) if "cell" in trial.options else _run_freely(trial)

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        shares = {what: {arm: outcomes.share(arm, what) for arm in _free(outcomes)} for what in KINDS}
        words = {what: _seen(found) for what, found in shares.items()}
        counting = {cell: outcomes.share(_counter(cell), "counts") for cell in CELLS}
        seen = _seen(counting)
        words["counts"] = seen if seen is Word.HOLDS else Word.UNDECIDED
        best = {what: max(found, key=lambda arm: found[arm].value) for what, found in shares.items()}
        parts = [
            f"it {what}: {words[what]} ({best[what]}, {shares[what][best[what]].value:.0%} of runs)" for what in KINDS
        ]
        counted = ", ".join(f"{cell} {share.value:.0%}" for cell, share in counting.items())
        longest = _beyond(outcomes.scale)
        parts.append(f"it counts to {longest}, trained up to {_trained(outcomes.scale)}: {words['counts']} ({counted})")
        return [Verdict(24, together(list(words.values())), f"A network by itself, {'; '.join(parts)}.")]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        free = [
            [
                arm,
                *(shown(outcomes.share(arm, what), ".0%") for what in KINDS),
                shown(outcomes.mean(arm, "exponent"), "+.3f"),
            ]
            for arm in _free(outcomes)
        ]
        counting = [
            [
                cell,
                *(f"{key} {value:g}" for key, value in outcomes.choice(_counter(cell)).items()),
                shown(outcomes.share(_counter(cell), "counts"), ".0%"),
                f"{outcomes.median(_counter(cell), 'longest'):.0f}",
            ]
            for cell in CELLS
        ]
        note = "[..]: 95 % (Wilson; of the exponent Student)."
        beyond = f"up to n = {_beyond(outcomes.scale)}"
        return [
            Table("By itself", ["network", *KINDS, "largest Lyapunov exponent, nats a step"], free, note),
            Table("Counting", ["cell", "chosen", f"runs that count {beyond}", "longest n, median"], counting, note),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        paths = []
        for arm in _free(outcomes):
            path = [float(value) for value in outcomes.of(arm)[0].values["path"][:SHOWN]]
            paths.append(Line(arm, list(range(len(path))), path))
        counts = []
        for cell in CELLS:
            curve = outcomes.curve(_counter(cell), "right")
            counts.append(Line(cell, list(range(1, 1 + len(curve.mean))), curve.mean, curve.low, curve.high))
        mark = [Mark("half", HALF)]
        return {
            "paths": Lines("One unit of each network, seed 1", "step", "state", paths),
            "counting": Lines("Lines that are known to their end", "n", "share of runs", counts, marks=mark),
        }


def longest_counted(model: TrainedModel, most: int) -> list[bool]:
    """For each n from 1 to ``most`` whether, after each b of the line with n a, it is more probable that the line goes
    on than that it ends, or the other way round after the last one. The line is read after another one.
    """
    predictor = NetworkPredictor(model.model)
    on, end = (int(model.tokenizer.encode(text)[0]) for text in ("b", "\n"))
    found = []
    for count in range(1, most + 1):
        text = f"ab\n{'a' * count}{'b' * count}"
        tokens = torch.tensor([[model.tokenizer.eos_id, *model.tokenizer.encode(text).tolist()]])
        log_probs, _ = predictor.distribution(tokens, predictor.initial_state(1))
        goes_on = log_probs[0, -count:, on] > log_probs[0, -count:, end]
        found.append(bool(goes_on[:-1].all() and not goes_on[-1]))
    return found


def _random(gain: float) -> str:
    return f"tanh, gain {gain:g}"


def _counter(cell: str) -> str:
    return f"counting: {cell}"


def _free(outcomes: Outcomes) -> list[str]:
    return [arm.name for arm in outcomes.arms if "cell" not in arm.options]


def _trained(scale: Scale) -> int:
    return scale.pick(12, 3)


def _beyond(scale: Scale) -> int:
    return math.floor(_trained(scale) * BEYOND)


def _count(trial: Trial) -> Mapping[str, Any]:
    longest = _trained(trial.scale)
    options = {
        "corpus": f"anbn:1-{longest}:{trial.scale.pick(100_000, 2_000)}",
        "hidden_size": trial.scale.pick(16, 4),
        "window": trial.scale.pick(64, 8),
        "batch_size": trial.scale.pick(16, 4),
        "max_steps": trial.scale.pick(1500, 5),
        "dropout": 0.0,
    }
    run = train_language_model(trial, {**options, **trial.options})
    right = [False] if run.model is None else longest_counted(run.model, 2 * longest)
    reached = right.index(False) if False in right else len(right)
    known = [number <= reached for number in range(1, 2 * longest + 1)]
    return {**run.numbers, "longest": reached, "counts": reached >= _beyond(trial.scale), "right": [*map(float, known)]}


def _run_freely(trial: Trial) -> Mapping[str, Any]:
    """What a network without input does from a random state."""
    one = "weight" in trial.options
    size = 1 if one else trial.scale.pick(64, 12)
    generator = torch.Generator().manual_seed(trial.seed)
    with torch.random.fork_rng(devices=[]):
        model = LanguageModel(ModelConfig(cell="rnn", hidden_size=size, dropout=0.0), 2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        matrix = model.cells[0].get_parameter(model.cells[0].recurrent_matrices[0])
        drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
        matrix.copy_(torch.full((1, 1), trial.options["weight"]) if one else trial.options["gain"] * size**-0.5 * drawn)
    state = ((torch.rand(1, size, generator=generator, dtype=torch.float64) + 0.1,),)
    transient, steps = trial.scale.pick((1000, 2000), (100, 100))
    found = constant_dynamics(model, 0, state=state, transient=transient, steps=steps, seed=trial.seed)
    kinds = {what: found.kind in kinds for what, kinds in KINDS.items()}
    exponent = found.exponent if math.isfinite(found.exponent) else None
    return {**kinds, "kind": found.kind, "exponent": exponent, "path": found.trajectory[:60, 0].tolist()}


def _seen(shares: Mapping[str, Interval]) -> Word:
    """Whether some network does it in more than half of its runs."""
    words = [above(share, HALF) for share in shares.values()]
    if Word.HOLDS in words:
        return Word.HOLDS
    return Word.REFUTED if set(words) == {Word.REFUTED} else Word.UNDECIDED
