"""Experiment: what a perplexity counts, and likelihoods of texts of different length."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lmkit.api import TrainedModel
from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.files import is_file, write_atomically
from lmkit.plots.charts import Bar, Bars, Chart, Mark
from lmkit.text.sources.generated import Machine, Markov, Piece

__all__ = ["EqualChoices", "Perplexity"]

NEAR = 1.03  # a ratio of perplexities that does not matter
EQUAL = (2, 4, 16)
MIXED = (2, 8)
MEAN, GEOMETRIC = sum(MIXED) / len(MIXED), math.prod(MIXED) ** (1 / len(MIXED))  # 5 and 4
MIXED_ARM, CHAIN, ENGLISH, POOR, PIECES = (
    "2 and 8 letters in turn",
    "markov",
    "english",
    "english, poor",
    "english, bpe",
)
ON_ENGLISH = (ENGLISH, POOR, PIECES)
BITS = "test_bits_per_char"
APART, ALIKE = 2.0, 1.25  # ratios of perplexity per token, and of bits per character


@dataclass(frozen=True)
class EqualChoices(Machine):
    """Letters that are all alike likely: of the first ``counts[0]``, then of the first ``counts[1]``, and so on, round
    and round.
    """

    counts: tuple[int, ...]

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        number = state if isinstance(state, int) else 0
        after = number + 1 if number + 1 < len(self.counts) else self.start
        for letter in range(self.counts[number]):
            yield Piece(chr(ord("a") + letter), 1 / self.counts[number], after)


class Perplexity(Experiment):
    name = "perplexity"
    title = "Perplexity: a number of choices, and texts of different length"
    claims = (29, 30)
    question = "Is perplexity the number of choices on average, and may likelihoods of different texts be compared?"
    rule = (
        "LSTMs learn texts with a known number of choices: each character is one of 2, of 4 or of 16 letters, all "
        "alike likely, or one of 2 and one of 8 in turn. Claim 30 needs the perplexity within 3 % (the whole interval "
        "over seeds) of 2, 4 and 16, else it is refuted where an interval is outside; then it holds if the mixed text "
        "has the mean number of choices, 5, within 3 %, and it is partly so if it has the geometric mean, 4: "
        "perplexity is then a number of choices, but not their average. Claim 29 is measured on one corpus by a good "
        "model, by a poor one that has made a tenth of the updates, and by one of byte pairs. It needs the poor model "
        "to give a text of 100 characters a higher likelihood than the good one gives 10,000, and the good one to be "
        "better per token (in both the intervals are apart). It holds if tokens are then all that is needed, and is "
        "partly so if the perplexity per token of byte pairs is more than twice that of characters while bits per "
        "character are within a quarter: then tokens of another kind need another unit. Arms are not compared for "
        "quality, so nothing is chosen and updates are not equal."
    )
    minutes = 10
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        steps, slow = scale.pick((400, 40), (6, 2))
        letters = [Arm(_letters(count), {"counts": [count], "max_steps": steps}) for count in _equal(scale)]
        chain = {"corpus": scale.pick("markov:100000", "markov:3000"), "max_steps": steps}
        vocabulary = scale.pick(1000, 280)
        return [
            *letters,
            Arm(MIXED_ARM, {"counts": list(MIXED), "max_steps": steps}),
            Arm(CHAIN, chain),
            Arm(ENGLISH, {"max_steps": 3 * steps}),
            Arm(POOR, {"max_steps": 3 * slow}),
            Arm(PIECES, {"max_steps": 3 * steps, "tokenizer": "bpe", "vocab_size": vocabulary}),
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, rows = trial.scale.pick((64, 32), (8, 4))
        options: dict[str, Any] = {"hidden_size": width, "window": 32, "batch_size": rows, "lr": 5e-3, "dropout": 0.0}
        options |= trial.options
        counts = options.pop("counts", None)
        if counts is not None:
            options["corpus"] = _text(trial, tuple(counts))
        run = train_language_model(trial, options)
        if run.model is None:
            return run.numbers
        found = {**run.numbers, "source": _source(trial.arm.name), "uniform": _uniform(run.model)}
        if trial.arm.name not in ON_ENGLISH:
            return found
        short, long = trial.scale.pick((100, 10_000), (10, 100))
        return {**found, **_scored(run.model, "short", short), **_scored(run.model, "long", long)}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        return [_judge_lengths(outcomes), _judge_choices(outcomes)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        rows = [
            [
                arm.name,
                f"{outcomes.mean(arm.name, 'uniform').value:,.0f}",
                shown(math.exp(outcomes.mean(arm.name, "source").value), ".3f"),
                shown(perplexity(outcomes, arm.name), ".3f"),
                shown(outcomes.mean(arm.name, BITS), ".3f"),
            ]
            for arm in outcomes.arms
        ]
        columns = ["text", "a uniform model", "the source", "the trained model", "bits per character"]
        note = "Perplexity per token; the uniform model's is the size of the vocabulary, with <eos> and <unk>."
        return [Table("Perplexity", columns, rows, note), _lengths(outcomes)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        names = (*map(_letters, _equal(outcomes.scale)), MIXED_ARM, CHAIN)
        found = [(name, perplexity(outcomes, name)) for name in names]
        bars = [Bar(name, one.value, one.low, one.high) for name, one in found]
        marks = [Mark("mean of 2 and 8", MEAN), Mark("geometric mean", GEOMETRIC)]
        return {"choices": Bars("Perplexity and the number of choices", "perplexity", bars, marks)}


def perplexity(outcomes: Outcomes, arm: str) -> Interval:
    """The perplexity per token on the test split, over seeds."""
    return outcomes.mean(arm, "test").exp()


def near(found: Interval, value: float) -> Word:
    """Whether an interval lies within 3 % of a value; refuted where it is outside as a whole."""
    if found.low is None or found.high is None:
        return Word.UNDECIDED
    if value / NEAR <= found.low and found.high <= value * NEAR:
        return Word.HOLDS
    outside = found.high < value / NEAR or found.low > value * NEAR
    return Word.REFUTED if outside else Word.UNDECIDED


def choices_word(equal: Sequence[tuple[Interval, float]], mixed: Interval) -> Word:
    """The verdict on claim 30, from perplexities with their number of equal choices, and that of the mixed text."""
    words = [near(found, count) for found, count in equal]
    if Word.REFUTED in words:
        return Word.REFUTED
    if together(words) is not Word.HOLDS:
        return Word.UNDECIDED
    if near(mixed, MEAN) is Word.HOLDS:
        return Word.HOLDS
    return Word.PARTLY if near(mixed, GEOMETRIC) is Word.HOLDS else Word.UNDECIDED


def lengths_word(totals: Word, tokens: Word, *, misleads: bool) -> Word:
    """The verdict on claim 29: whether the totals mislead, whether those per token are right, and whether tokens of
    different kinds mislead again.
    """
    word = together([totals, tokens])
    return Word.PARTLY if word is Word.HOLDS and misleads else word


def apart(lower: Interval, higher: Interval) -> Word:
    """Whether one interval lies below another; refuted where it lies above."""
    ends = (lower.low, lower.high, higher.low, higher.high)
    if any(end is None for end in ends):
        return Word.UNDECIDED
    low, high, other_low, other_high = (float(end) for end in ends if end is not None)
    return Word.HOLDS if high < other_low else Word.REFUTED if low > other_high else Word.UNDECIDED


def _judge_choices(outcomes: Outcomes) -> Verdict:
    equal = [(perplexity(outcomes, _letters(count)), count) for count in _equal(outcomes.scale)]
    mixed, chain = perplexity(outcomes, MIXED_ARM), perplexity(outcomes, CHAIN)
    listed = ", ".join(f"{shown(found, '.3f')} of {count}" for found, count in equal)
    return Verdict(
        30,
        choices_word(equal, mixed),
        f"Perplexity with equal choices: {listed}; with 2 and 8 in turn {shown(mixed, '.3f')}, where the mean is 5 and "
        f"the geometric mean 4. In the Markov chain any of 8 characters may follow, and the perplexity is "
        f"{shown(chain, '.3f')}; that of the source is {math.exp(Markov().entropy_rate):.3f}.",
    )


def _judge_lengths(outcomes: Outcomes) -> Verdict:
    short, short_each = outcomes.mean(POOR, "short_nats"), outcomes.mean(POOR, "short_per_token")
    long, long_each = outcomes.mean(ENGLISH, "long_nats"), outcomes.mean(ENGLISH, "long_per_token")
    ratio = perplexity(outcomes, PIECES).value / perplexity(outcomes, ENGLISH).value
    bits = outcomes.mean(PIECES, BITS).value / outcomes.mean(ENGLISH, BITS).value
    misleads = ratio > APART and 1 / ALIKE < bits < ALIKE
    return Verdict(
        29,
        lengths_word(apart(short, long), apart(long_each, short_each), misleads=misleads),
        f"The poor model needs {shown(short, '.0f')} nats for the short text and the good one {shown(long, '.0f')} for "
        f"the long text; per token {shown(short_each, '.2f')} and {shown(long_each, '.2f')}. Byte pairs have "
        f"{ratio:.1f} times the perplexity per token of characters, and {bits:.2f} times the bits per character.",
    )


def _equal(scale: Scale) -> tuple[int, ...]:
    return scale.pick(EQUAL, EQUAL[:1])


def _letters(count: int) -> str:
    return f"{count} letters"


def _text(trial: Trial, counts: tuple[int, ...]) -> str:
    """The path of a text with so many choices, which all runs share."""
    length = trial.scale.pick(100_000, 2_000)
    path = trial.shared / f"letters-{'-'.join(map(str, counts))}-{length}.txt"
    if not is_file(path):
        trial.shared.mkdir(parents=True, exist_ok=True)
        write_atomically(path, EqualChoices(counts).sample(length))
    return str(path)


def _source(arm: str) -> float | None:
    """The entropy rate of what made an arm's text, in nats per character; None where nobody knows it."""
    known = {**{_letters(count): math.log(count) for count in EQUAL}, MIXED_ARM: math.log(GEOMETRIC)}
    return Markov().entropy_rate if arm == CHAIN else known.get(arm)


def _uniform(model: TrainedModel) -> float:
    """The perplexity of the same network with an output layer of zeros, measured like any other."""
    head = {name: value.clone() for name, value in model.model.head.state_dict().items()}
    with torch.no_grad():
        for parameter in model.model.head.parameters():
            parameter.zero_()
    found = model.perplexity("a" * 20)
    model.model.head.load_state_dict(head)
    return found


def _scored(model: TrainedModel, name: str, characters: int) -> dict[str, float]:
    """The likelihood of the first characters of the test text, as a whole and per token, in nats."""
    _, test = model.split_tokens("test")
    found = model.evaluate(model.tokenizer.decode(test.ids)[:characters])
    return {f"{name}_nats": found.nll, f"{name}_per_token": found.nats_per_token}


def _lengths(outcomes: Outcomes) -> Table:
    names = ("short_nats", "long_nats", "short_per_token", "long_per_token")
    rows = [[arm, *(shown(outcomes.mean(arm, name), ".2f") for name in names)] for arm in ON_ENGLISH]
    short, long = outcomes.scale.pick((100, 10_000), (10, 100))
    columns = [
        "model",
        *(f"{length:,} characters, {unit}" for unit in ("nats", "per token") for length in (short, long)),
    ]
    return Table("Likelihoods of a short and a long text", columns, rows, "Nats: minus the log-likelihood.")
