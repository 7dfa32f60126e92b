"""Experiment: which cure cures what, vanishing or exploding gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Comparison, Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.experiments.tools.questions import answer_losses
from lmkit.plots.charts import Bar, Bars, Chart, Mark
from lmkit.session.session import Session
from lmkit.text.sources.generated.recall import Recall
from lmkit.training.step import StepRecord

__all__ = ["Cures"]

LEAST = 0.2  # nats of an answer, or of a character in the exploding regime
CLIP = 1.0
VANISHING, EXPLODING = "vanishing", "exploding"
PLAIN, CLIPPED, GATED, BOTH = "plain", "clipped", "gated", "gated, clipped"
RELU, IDENTITY, ORTHOGONAL = "relu, clipped", "identity and relu, clipped", "orthogonal, clipped"
ARMS: dict[str, dict[str, Any]] = {
    PLAIN: {"cell": "rnn"},
    CLIPPED: {"cell": "rnn", "max_grad_norm": CLIP},
    GATED: {"cell": "lstm"},
    BOTH: {"cell": "lstm", "max_grad_norm": CLIP},
}
OTHERS: dict[str, dict[str, Any]] = {
    RELU: {"cell": "rnn", "nonlinearity": "relu", "max_grad_norm": CLIP},
    IDENTITY: {"cell": "irnn", "irnn_form": "paper", "max_grad_norm": CLIP},
    ORTHOGONAL: {"cell": "rnn", "recurrent_init": "orthogonal", "max_grad_norm": CLIP},
}


class Cures(Experiment):
    name = "cures"
    title = "Cures: what clipping, gates, identity and orthogonal starts do for gradients"
    claims = (12, 13)
    question = "Which of clipping, gates, rectified units, identity and orthogonal starts cures which gradients?"
    rule = (
        "Two tasks. Vanishing: a letter is asked for after 20 dots (delayed recall), networks of 64 units from their "
        "usual starts; what counts is the loss of the answer. Exploding: the same text, orthogonal recurrent matrices "
        "times 3, so that gradients through 64 steps grow; what counts is the loss per character of the test text. A "
        "run whose loss is not finite, or worse than a uniform guess, counts as a uniform guess. All networks train "
        "for 1,500 updates by AdamW, each with its learning rate from one grid, unclipped or clipped at norm 1. An "
        "advantage matters from 0.2 nats on (Welch's test over seeds, Holm over all comparisons of a task). Claim 12, "
        "as taught, says that clipping helps in the vanishing task (over the plain network) and gates help in the "
        "exploding one (over the plain network, unclipped): it holds if both do, and is partly so if one does. The "
        "two other ways round are reported beside it. Claim 13 has four parts, each in the vanishing task and "
        "clipped: rectified units, identity with rectified units, and gates help over the clipped tanh network, and "
        "gates over identity with rectified units."
    )
    minutes = 15

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        steep = {"recurrent_init": "orthogonal", "recurrent_scale": 3.0}
        return [
            *(Arm(_name(VANISHING, name), one, rates) for name, one in (ARMS | OTHERS).items()),
            *(Arm(_name(EXPLODING, name), {**one, **steep}, rates) for name, one in ARMS.items()),
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        lag, characters = trial.scale.pick((20, 200_000), (2, 3_000))
        norms: list[float] = []

        def listen(session: Session, record: Any) -> None:
            norms.extend([record.grad_norm] if isinstance(record, StepRecord) else [])

        options = {
            "corpus": f"recall:{lag}:{characters}",
            "hidden_size": trial.scale.pick(64, 8),
            "window": trial.scale.pick(64, 8),
            "batch_size": trial.scale.pick(32, 4),
            "max_steps": trial.scale.pick(1500, 6),
            "dropout": 0.0,
            "max_grad_norm": 0.0,
        }
        run = train_language_model(trial, {**options, **trial.options}, listener=listen)
        return {**run.numbers, **_losses(run.model, run.numbers, lag), **_explosions(norms)}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        vanishing, exploding = _comparisons(outcomes)
        words = {key: decide(one.advantage, one.p_holm, LEAST) for key, one in (vanishing | exploding).items()}
        clip, gates = (VANISHING, CLIPPED, PLAIN), (VANISHING, GATED, PLAIN)
        clip_steep, gates_steep = (EXPLODING, CLIPPED, PLAIN), (EXPLODING, GATED, PLAIN)
        parts = [(VANISHING, name, CLIPPED) for name in (RELU, IDENTITY, BOTH)] + [(VANISHING, BOTH, IDENTITY)]
        found = vanishing | exploding
        return [
            Verdict(
                12,
                together([words[clip], words[gates_steep]]),
                f"As taught: clipping against vanishing {_said(found, words, clip)}, gates against exploding "
                f"{_said(found, words, gates_steep)}. The other way round: gates against vanishing "
                f"{_said(found, words, gates)}, clipping against exploding {_said(found, words, clip_steep)}.",
            ),
            Verdict(
                13,
                together([words[part] for part in parts]),
                "; ".join(f"{part[1]} over {part[2]} {_said(found, words, part)}" for part in parts) + ".",
            ),
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("answer, nats", "answer", ".3f"),
            ("character, nats", "bounded", ".4f"),
            ("largest gradient norm, log10", "largest", ".2f"),
            ("largest over median, log10", "spread", ".2f"),
            ("not finite", "diverged", ".0%"),
        ]
        groups = zip(
            _comparisons(outcomes), ("nats of an answer", "nats per character"), (VANISHING, EXPLODING), strict=True
        )
        note = f"A uniform guess of the answer costs {math.log(len(Recall.letters)):.3f} nats. Norms before clipping."
        return [
            arms_table(outcomes, columns, note=f"{note} [..]: 95 % confidence over seeds (Student)."),
            *(comparisons_table(list(found.values()), unit, title=title.capitalize()) for found, unit, title in groups),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        chance = [Mark("uniform guess", math.log(len(Recall.letters)))]
        return {
            "vanishing": Bars(
                "A letter after 20 dots", "loss of the answer, nats", _bars(outcomes, VANISHING, "answer"), chance
            ),
            "exploding": Bars("Steep matrices", "loss, nats per character", _bars(outcomes, EXPLODING, "bounded")),
        }


Key = tuple[str, str, str]


def _name(task: str, arm: str) -> str:
    return f"{task}: {arm}"


def _comparisons(outcomes: Outcomes) -> tuple[dict[Key, Comparison], dict[Key, Comparison]]:
    """Of each task, by task, arm and baseline."""
    pairs = [(CLIPPED, PLAIN), (GATED, PLAIN), (BOTH, CLIPPED), (BOTH, IDENTITY)]
    pairs += [(name, CLIPPED) for name in OTHERS]
    return (
        _compared(outcomes, VANISHING, pairs, "answer"),
        _compared(outcomes, EXPLODING, [(CLIPPED, PLAIN), (GATED, PLAIN), (BOTH, GATED)], "bounded"),
    )


def _compared(outcomes: Outcomes, task: str, pairs: Sequence[tuple[str, str]], value: str) -> dict[Key, Comparison]:
    found = outcomes.compare([(_name(task, one), _name(task, other)) for one, other in pairs], value, paired=False)
    return {(task, *pair): comparison for pair, comparison in zip(pairs, found, strict=True)}


def _said(found: Mapping[Key, Comparison], words: Mapping[Key, Word], key: Key) -> str:
    return f"{shown(found[key].advantage, '+.3f')} nats ({words[key]})"


def _losses(model: TrainedModel | None, numbers: Mapping[str, Any], lag: int) -> dict[str, float]:
    """The loss of the answer and of a character, both at most that of a uniform guess, which one that is no number
    counts as.
    """
    guess = math.log(len(Recall.letters))
    whole = numbers.get("test", numbers.get("valid"))
    if model is None or whole is None:
        return {"answer": guess, "bounded": math.log(len(Recall.letters) + 3)}
    answers = answer_losses(model, [item.behind("\n") for item in Recall(lag).items()])
    bound = math.log(model.tokenizer.vocab_size)
    return {"answer": min(guess, sum(answers) / len(answers)), "bounded": min(bound, whole)}


def _explosions(norms: Sequence[float]) -> dict[str, float | None]:
    """The largest norm of a gradient before clipping, and how far above the median it is, as powers of ten."""
    finite = sorted(norm for norm in norms if math.isfinite(norm) and norm > 0)
    if not finite:
        return {"largest": None, "spread": None}
    return {"largest": math.log10(finite[-1]), "spread": math.log10(finite[-1] / finite[len(finite) // 2])}


def _bars(outcomes: Outcomes, task: str, value: str) -> list[Bar]:
    bars = []
    for arm in outcomes.arms:
        if arm.name.startswith(task):
            mean = outcomes.mean(arm.name, value)
            bars.append(Bar(arm.name.removeprefix(f"{task}: "), mean.value, mean.low, mean.high))
    return bars
