"""Experiment: how much text a recurrent network, an n-gram model and a transformer need; the order of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.config import Config
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import Contrast, deviation_interval, welch
from lmkit.evaluation.measurement import measure
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes, holm_known
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import shown
from lmkit.experiments.tools.texts import characters_of
from lmkit.files import is_file, write_atomically
from lmkit.plots.charts import Chart, Line, Lines
from lmkit.text.corpus import build_corpus
from lmkit.text.tokenizers.character import CharacterTokenizer

__all__ = ["DataSize"]

LEAST = 0.05  # bits per byte
LEAST_DEVIATION = 0.01
LSTM, TRANSFORMER, NGRAM = "lstm", "transformer", "n-gram"
KINDS = (LSTM, TRANSFORMER, NGRAM)
ORDERS, WEIGHTS = "other orders", "other first weights"
BITS = "test_bits_per_byte"
Judged = tuple[str, Interval, Word]  # of another model


class DataSize(Experiment):
    name = "data-size"
    title = "How much text a network needs"
    claims = (18, 26)
    question = "Do recurrent networks need less text than n-grams and transformers, and does the text's order matter?"
    rule = (
        "Training texts of 10,000 to 2,000,000 characters, one validation and one test text and one set of characters "
        "for all. Networks make the same number of updates at every size; size, rate and dropout are chosen for each "
        "network and text size, the order for the n-grams (Kneser-Ney), all by validation, and the best validation on "
        "the way counts. 0.05 bits per byte matter (Welch's test over seeds, Holm over all comparisons). Claim 26 "
        "holds if the LSTM is ahead of both others at the smallest text, and if it gains more than both from the "
        "smallest to the largest text. Claim 18 holds if the standard deviation of the loss over orders of the text, "
        "the first weights fixed, is at least 0.01 bits per byte for sure (95 % interval), and is refuted if it is "
        "below for sure; the deviation over first weights stands beside it."
    )
    minutes = 40
    takes_text = True

    def sizes(self, scale: Scale) -> Sequence[int]:
        """Characters of the training texts."""
        return scale.pick((10_000, 50_000, 250_000, 2_000_000), (600, 1_200))

    def arms(self, scale: Scale) -> Sequence[Arm]:
        size = {"max_steps": scale.pick(600, 3)}
        full = grid(parameters=(40_000, 250_000), lr=(2e-3, 6e-3), dropout=(0.0, 0.3))
        choices = scale.pick(full, grid(parameters=(3_000,), lr=(1e-2,), dropout=(0.0,)))
        orders = scale.pick(grid(order=(3, 4, 5, 6)), grid(order=(2, 3)))
        networks: dict[str, dict[str, Any]] = {
            LSTM: {"cell": "lstm"},
            TRANSFORMER: {"cell": "transformer", "num_layers": 2, "context": scale.pick(128, 8)},
        }
        found = []
        for characters in self.sizes(scale):
            own = {"characters": characters}
            found += [
                Arm(_arm(name, characters), {**size, **one, **own}, choices, budget=f"{characters:,} characters")
                for name, one in networks.items()
            ]
            found.append(Arm(_arm(NGRAM, characters), own, orders, seeded=False))
        middle = self.sizes(scale)[1]
        fixed = {**size, "cell": "lstm", "characters": middle, "sampler": "random", "lr": 6e-3}
        found.append(Arm(ORDERS, {**fixed, "init_seed": 1}, budget="random windows"))
        found.append(Arm(WEIGHTS, {**fixed, "data_seed": 1}, budget="random windows"))
        return found

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        options = dict(trial.options)
        sizes = self.sizes(trial.scale)
        text = _texts(trial, options.pop("characters"), sizes[-1], trial.scale.pick(40_000, 200))
        if "order" in options:
            return _ngram(text, options["order"], trial.tuning)
        layout = {"window": trial.scale.pick(64, 8), "batch_size": trial.scale.pick(32, 4)}
        parameters = options.pop("parameters", trial.scale.pick(100_000, 3_000))
        return train_language_model(trial, {**layout, **text, **options}, parameters=parameters, multiple=4).numbers

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        first, last = self.sizes(outcomes.scale)[0], self.sizes(outcomes.scale)[-1]
        ahead, gains = self._compared(outcomes)
        words = [word for _, _, word in (*ahead, *gains)]
        deviations = [deviation_interval(outcomes.values(name, BITS)) for name in (ORDERS, WEIGHTS)]
        small = [f"{shown(one, '.3f')} over the {other} ({word})" for other, one, word in ahead]
        more = [f"{shown(one, '.3f')} more than the {other} ({word})" for other, one, word in gains]
        return [
            Verdict(
                18,
                _at_least(deviations[0], LEAST_DEVIATION),
                f"The standard deviation of the test loss is {shown(deviations[0], '.4f')} bits per byte over orders "
                f"of the text and {shown(deviations[1], '.4f')} over first weights.",
            ),
            Verdict(
                26,
                together(words),
                f"With {first:,} characters the LSTM is ahead by {' and '.join(small)} bits per byte; from {first:,} "
                f"to {last:,} characters it gains {' and '.join(more)}.",
            ),
        ]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        sizes = self.sizes(outcomes.scale)
        rows = [[kind, *(shown(outcomes.mean(_arm(kind, size), BITS), ".3f") for size in sizes)] for kind in KINDS]
        chosen = [[kind, *(_choice(outcomes, _arm(kind, size)) for size in sizes)] for kind in KINDS]
        columns = ["", *(f"{size:,} characters" for size in sizes)]
        spread = [
            [
                name,
                shown(outcomes.mean(name, BITS), ".4f"),
                shown(deviation_interval(outcomes.values(name, BITS)), ".4f"),
            ]
            for name in (ORDERS, WEIGHTS)
        ]
        note = "[..]: 95 % confidence over seeds; an n-gram model has no seed."
        return [
            Table("Test loss by the size of the training text, bits per byte", columns, rows, note),
            Table("What was chosen", columns, chosen),
            Table("Order of the text against first weights", ["", "mean", "standard deviation"], spread),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        sizes = self.sizes(outcomes.scale)
        lines = []
        for kind in KINDS:
            means = [outcomes.mean(_arm(kind, size), BITS) for size in sizes]
            low = [one.value if one.low is None else one.low for one in means]
            high = [one.value if one.high is None else one.high for one in means]
            lines.append(Line(kind, sizes, [one.value for one in means], low, high))
        chart = Lines("Loss by the size of the text", "training characters", "test, bits per byte", lines, log_x=True)
        return {"loss": chart}

    def _compared(self, outcomes: Outcomes) -> tuple[list[Judged], list[Judged]]:
        """How far the LSTM is ahead of each other model at the smallest text, and how much more it gains up to the
        largest; corrected for these comparisons and those at the other sizes together.
        """
        sizes, others = self.sizes(outcomes.scale), KINDS[1:]
        contrasts = [_ahead(outcomes, other, size) for size in sizes for other in others]
        contrasts += [welch(*(_gains(outcomes, kind, sizes[0], sizes[-1]) for kind in (LSTM, one))) for one in others]
        intervals = [one.interval(1 - 0.05 / len(contrasts)) for one in contrasts]
        p_values = holm_known([one.p_value for one in contrasts])
        words = [decide(one, p, LEAST) for one, p in zip(intervals, p_values, strict=True)]
        ahead, more = slice(len(others)), slice(-len(others), None)
        first, last = (list(zip(others, intervals[part], words[part], strict=True)) for part in (ahead, more))
        return first, last


def _ahead(outcomes: Outcomes, other: str, characters: int) -> Contrast:
    """How much more another model needs than the LSTM."""
    return welch(*(outcomes.values(_arm(kind, characters), BITS) for kind in (other, LSTM)))


def _gains(outcomes: Outcomes, kind: str, first: int, last: int) -> list[float]:
    """What a model gains from one size of the text to another, seed by seed."""
    ends = zip(*(outcomes.values(_arm(kind, size), BITS) for size in (first, last)), strict=True)
    return [before - after for before, after in ends]


def _at_least(value: Interval, least: float) -> Word:
    if value.low is None or value.high is None:
        return Word.UNDECIDED
    return Word.HOLDS if value.low >= least else Word.REFUTED if value.high < least else Word.UNDECIDED


def _arm(kind: str, characters: int) -> str:
    return f"{kind}, {characters:,}"


def _choice(outcomes: Outcomes, arm: str) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in outcomes.choice(arm).items())


def _texts(trial: Trial, characters: int, most: int, measured: int) -> dict[str, Any]:
    """Options of the training on the first characters that are not for validation and test: a folder of three texts,
    and a tokenizer that knows the characters of the longest.
    """
    folder, tokenizer = trial.shared / f"{characters}", trial.shared / "tokenizer.json"
    if not is_file(folder / "train.txt") or not is_file(tokenizer):
        text = characters_of(trial.scale.corpus or trial.scale.pick("python-stdlib", "pydoc"), 2 * measured + most)
        valid, test, train = text[:measured], text[measured : 2 * measured], text[2 * measured :]
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(tokenizer, CharacterTokenizer.train([text]).to_json())
        write_atomically(folder / "valid.txt", valid)
        write_atomically(folder / "test.txt", test)
        write_atomically(folder / "train.txt", train[:characters])  # last: it says that the others are there
    return {"corpus": str(folder), "tokenizer": str(tokenizer)}


def _ngram(options: Mapping[str, Any], order: int, tuning: bool) -> dict[str, Any]:
    """An n-gram model of the training text, measured."""
    corpus = build_corpus(Config().override(options).data)
    tokenizer, train = corpus.tokenizer, corpus.splits["train"]
    model = NgramModel.train(train.ids, vocab_size=tokenizer.vocab_size, order=order, eos_id=tokenizer.eos_id)
    found: dict[str, Any] = {"ngrams": sum(model.num_ngrams)}
    for split in ("valid",) if tuning else ("valid", "test"):
        result = measure(model, corpus.splits[split], tokenizer, split=split).evaluation
        found |= {split: result.nats_per_token, f"{split}_bits_per_byte": result.bits_per_byte}
    return found
