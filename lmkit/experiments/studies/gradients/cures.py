"""Experiment: which cure cures what, vanishing or exploding gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Comparison, Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, together
from lmkit.experiments.tasks.recall import DelayedRecall
from lmkit.experiments.tasks.training import TaskTraining, make_reader, train_on
from lmkit.experiments.tools.language_model import options_of, train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.plots.charts import Bar, Bars, Chart, Line, Lines, Mark
from lmkit.session.session import Session
from lmkit.text.corpus import build_corpus
from lmkit.training.step import StepRecord

__all__ = ["Cures"]

LEAST = 0.1  # of the share of wrong answers, or nats per character
CLIP = 1.0
VANISHING, EXPLODING = "vanishing", "exploding"
PLAIN, CLIPPED, GATED, BOTH = "plain", "clipped", "gated", "gated, clipped"
RELU, IDENTITY, ORTHOGONAL, LSTM = "relu", "identity and relu", "orthogonal", "lstm, forget bias 1"
ARMS: dict[str, dict[str, Any]] = {
    PLAIN: {"cell": "rnn"},
    CLIPPED: {"cell": "rnn", "clip": CLIP},
    GATED: {"cell": "gru"},
    BOTH: {"cell": "gru", "clip": CLIP},
}
OTHERS: dict[str, dict[str, Any]] = {
    RELU: {"cell": "rnn", "nonlinearity": "relu", "clip": CLIP},
    IDENTITY: {"cell": "irnn", "irnn_form": "paper", "clip": CLIP},
    ORTHOGONAL: {"cell": "rnn", "recurrent_init": "orthogonal", "clip": CLIP},
    LSTM: {"cell": "lstm", "forget_bias": 1.0, "clip": CLIP},
}
STEEP = {"recurrent_init": "orthogonal", "recurrent_scale": 3.0}


class Cures(Experiment):
    name = "cures"
    title = "Cures: what clipping, gates, identity and orthogonal starts do for gradients"
    claims = (12, 13)
    question = "Which of clipping, gates, rectified units, identity and orthogonal starts cures which gradients?"
    rule = (
        "Two tasks. Vanishing: a letter is asked for after 40 dots (delayed recall), networks of 32 units from their "
        "usual starts, 2,000 updates of 32 sequences by Adam; what counts is the share of wrong answers, mean over "
        "the updates, so that a network that learns early is better than one that learns late. Exploding: a text, "
        "networks of 64 units with orthogonal recurrent matrices times 3, windows of 64, 1,000 updates by plain "
        "gradient descent; what counts is the test loss per character, which is that of a uniform guess where it is "
        "not finite or worse. Each arm takes its rate from one grid, unclipped or clipped at norm 1; the arms of a "
        "task have equal updates, the two tasks have not. An advantage matters from 0.1 on (Welch's test over seeds, "
        "Holm over all comparisons of a task). Claim 12, as taught, says that clipping helps in the vanishing task "
        "and gates (GRU) help in the exploding one, each over the plain unclipped network: it holds if both do, and "
        "is partly so if one does. The other way round is reported beside it. Claim 13 has four parts, all in the "
        "vanishing task and clipped: rectified units, identity with rectified units, and gates each help over the "
        "clipped tanh network, and gates over identity with rectified units."
    )
    minutes = 15
    equal: ClassVar[Mapping[str, float]] = {}
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        steep = scale.pick(grid(lr=(0.1, 0.3, 1.0)), grid(lr=(0.1,)))
        return [
            *(Arm(_name(VANISHING, name), one, rates) for name, one in (ARMS | OTHERS).items()),
            *(Arm(_name(EXPLODING, name), one, steep) for name, one in ARMS.items()),
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        return _recall(trial) if trial.arm.name.startswith(VANISHING) else _steep_text(trial)

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found, words = _decided(outcomes)
        (clip, gates_steep), (gates, clip_steep), parts = ASKED.values()
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
        vanishing, exploding = (_part(outcomes, task) for task in (VANISHING, EXPLODING))
        wrong = [("wrong answers, mean over the updates", "wrong", ".1%"), ("at the end", "error", ".1%")]
        reach = ("gradient of the first over that of the last step, log10, at the start", "reach", ".1f")
        loss = [("test, nats per character", "bounded", ".4f"), ("largest gradient norm, log10", "largest", ".2f")]
        finite = ("not finite", "diverged", ".0%")
        compared = _comparisons(outcomes)
        return [
            _answers(outcomes),
            arms_table(vanishing, [*wrong, reach], title="Vanishing: a letter after 40 dots"),
            comparisons_table(list(compared[0].values()), "share of wrong answers", title="Vanishing: differences"),
            arms_table(exploding, [*loss, finite], title="Exploding: a text, steep matrices"),
            comparisons_table(list(compared[1].values()), "nats per character", title="Exploding: differences"),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        chance = [Mark("chance", DelayedRecall.chance)]
        lines = []
        for arm in _part(outcomes, VANISHING).arms:
            curve = outcomes.curve(arm.name, "errors")
            updates = [_every(outcomes.scale) * (1 + number) for number in range(len(curve.mean))]
            lines.append(Line(_short(arm), updates, curve.mean, curve.low, curve.high))
        bars = []
        for arm in _part(outcomes, EXPLODING).arms:
            mean = outcomes.mean(arm.name, "bounded")
            bars.append(Bar(_short(arm), mean.value, mean.low, mean.high))
        return {
            "vanishing": Lines("A letter after 40 dots", "updates", "share of wrong answers", lines, marks=chance),
            "exploding": Bars("A text, steep matrices", "test loss, nats per character", bars),
        }


Key = tuple[str, str, str]
# What is asked of which claim: of a task, whether an arm is better than another.
ASKED: Mapping[str, Sequence[Key]] = {
    "12, as taught": [(VANISHING, CLIPPED, PLAIN), (EXPLODING, GATED, PLAIN)],
    "12, the other way round": [(VANISHING, GATED, PLAIN), (EXPLODING, CLIPPED, PLAIN)],
    "13": [*((VANISHING, name, CLIPPED) for name in (RELU, IDENTITY, BOTH)), (VANISHING, BOTH, IDENTITY)],
}

HELPS = {Word.HOLDS: "yes", Word.PARTLY: "too little to matter", Word.REFUTED: "no", Word.UNDECIDED: "undecided"}


def _decided(outcomes: Outcomes) -> tuple[dict[Key, Comparison], dict[Key, Word]]:
    """All comparisons, and the word on each."""
    vanishing, exploding = _comparisons(outcomes)
    found = vanishing | exploding
    return found, {key: decide(one.advantage, one.p_holm, LEAST) for key, one in found.items()}


def _answers(outcomes: Outcomes) -> Table:
    """What helps against what: the claims in their parts, each with its answer."""
    found, words = _decided(outcomes)
    rows = []
    for claim, keys in ASKED.items():
        for task, arm, baseline in keys:
            form, unit = ("+.0%", "of the answers") if task == VANISHING else ("+.2f", "nats per character")
            better = shown(found[task, arm, baseline].advantage, form)
            rows.append([f"{arm} over {baseline}", task, f"{better} {unit}", HELPS[words[task, arm, baseline]], claim])
    note = (
        "Above 0: more right answers, or a lower loss. [..]: 95 % confidence, corrected for the number of comparisons "
    )
    note += "of a task (Bonferroni)."
    return Table("What helps against what", ["", "against", "better by", "does it help?", "claim"], rows, note)


def _name(task: str, arm: str) -> str:
    return f"{task}: {arm}"


def _short(arm: Arm) -> str:
    return arm.name.partition(": ")[2]


def _every(scale: Scale) -> int:
    """Updates between two measurements of the recall."""
    return scale.pick(50, 3)


def _part(outcomes: Outcomes, task: str) -> Outcomes:
    """Those of one task."""
    return replace(outcomes, arms=tuple(arm for arm in outcomes.arms if arm.name.startswith(task)))


def _comparisons(outcomes: Outcomes) -> tuple[dict[Key, Comparison], dict[Key, Comparison]]:
    """Of each task, by task, arm and baseline."""
    pairs = [(CLIPPED, PLAIN), (GATED, PLAIN), (BOTH, CLIPPED), (BOTH, IDENTITY)]
    pairs += [(name, CLIPPED) for name in OTHERS]
    return (
        _compared(outcomes, VANISHING, pairs, "wrong"),
        _compared(outcomes, EXPLODING, [(CLIPPED, PLAIN), (GATED, PLAIN), (BOTH, GATED)], "bounded"),
    )


def _compared(outcomes: Outcomes, task: str, pairs: Sequence[tuple[str, str]], value: str) -> dict[Key, Comparison]:
    found = outcomes.compare([(_name(task, one), _name(task, other)) for one, other in pairs], value, paired=False)
    return {(task, *pair): comparison for pair, comparison in zip(pairs, found, strict=True)}


def _said(found: Mapping[Key, Comparison], words: Mapping[Key, Word], key: Key) -> str:
    return f"{shown(found[key].advantage, '+.3f')} ({words[key]})"


def _recall(trial: Trial) -> Mapping[str, Any]:
    options = dict(trial.options)
    training = TaskTraining(
        cell=options.pop("cell"),
        clip=options.pop("clip", None),
        lr=options.pop("lr"),
        options=options,
        hidden_size=trial.scale.pick(32, 4),
        max_steps=trial.scale.pick(2000, 6),
        eval_every=_every(trial.scale),
        seed=trial.seed,
    )
    task = DelayedRecall(trial.scale.pick(40, 3))
    errors = []
    for record in train_on(task, training):
        trial.interruption.check()
        errors.append(record.error)
    mean = sum(errors) / len(errors)
    return {"wrong": mean, "valid": mean, "error": errors[-1], "errors": errors, "reach": _reach(task, training)}


def _reach(task: DelayedRecall, training: TaskTraining) -> float | None:
    """How much smaller the gradient of the untrained network's loss is with respect to the first input than to the
    last, as a power of ten.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = make_reader(task, training)
    batch = task.batch(training.batch_size, torch.Generator().manual_seed(training.seed))
    inputs = batch.inputs.requires_grad_()
    (gradient,) = torch.autograd.grad(task.loss(model(inputs), batch.targets), inputs)
    first, last = float(gradient[0].norm()), float(gradient[-1].norm())
    return math.log10(first / last) if first and last else None


def _steep_text(trial: Trial) -> Mapping[str, Any]:
    norms: list[float] = []

    def listen(session: Session, record: Any) -> None:
        norms.extend([record.grad_norm] if isinstance(record, StepRecord) else [])

    options = {
        "hidden_size": trial.scale.pick(64, 8),
        "num_layers": 1,
        "window": trial.scale.pick(64, 8),
        "batch_size": trial.scale.pick(32, 4),
        "max_steps": trial.scale.pick(1000, 4),
        "optimizer": "sgd",
        "dropout": 0.0,
        **STEEP,
        **{name: value for name, value in trial.options.items() if name != "clip"},
        "max_grad_norm": trial.options.get("clip", 0.0),
    }
    run = train_language_model(trial, options, listener=listen)
    finite = [norm for norm in norms if math.isfinite(norm) and norm > 0]
    guess = math.log(build_corpus(options_of(trial, options).data).tokenizer.vocab_size)
    loss = run.numbers.get("test", run.numbers.get("valid"))
    bounded = guess if loss is None or not math.isfinite(loss) else min(guess, loss)
    return {**run.numbers, "bounded": bounded, "largest": math.log10(max(finite)) if finite else None}
