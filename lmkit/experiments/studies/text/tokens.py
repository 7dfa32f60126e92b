"""Experiment: characters, words and byte pairs on one text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes, holm_known
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, decide, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.experiments.tools.texts import beginning, characters_of
from lmkit.plots.charts import Bar, Bars, Chart

__all__ = ["Tokens"]

LEAST_BITS, LEAST_SHARE, LEAST_FACTOR = 0.05, 0.02, 2.0
CHARACTERS, WORDS, FEW_WORDS, PAIRS, MORE_PAIRS = (
    "characters",
    "words",
    "1,000 words",
    "500 byte pairs",
    "2,000 byte pairs",
)
LETTERS = re.compile(r"[^\W\d_]+")
WRITTEN = 6_000  # characters of text that each model writes


class Tokens(Experiment):
    name = "tokens"
    title = "Characters, words and byte pairs"
    claims = (27,)
    question = "What do characters, words and byte pairs cost on one text, and which of them invent words?"
    rule = (
        "An LSTM of the same width reads one text in the same number of updates with the same number of tokens; each "
        "arm takes its rate and dropout from one grid, and the best validation on the way counts. Longer tokens read "
        "the text more often, which is part of what they are. Invented are words of letters that a model writes and "
        "that the whole text does not have. The claim has three parts: characters invent at least 2 % more of their "
        "words than 2,000 byte pairs do; all words take at least twice the parameters and the processor time of "
        "characters; 2,000 byte pairs need at least 0.05 bits per byte less than characters. Bits per byte of words "
        "are no part of it, because words lose text (Welch's test over seeds, Holm over the three differences)."
    )
    minutes = 12
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        choices = scale.pick(grid(lr=(3e-3, 1e-2), dropout=(0.1, 0.4)), grid(lr=(1e-2,), dropout=(0.1,)))
        kinds: dict[str, dict[str, Any]] = {
            CHARACTERS: {"tokenizer": "char"},
            PAIRS: {"tokenizer": "bpe", "vocab_size": 500},
            MORE_PAIRS: {"tokenizer": "bpe", "vocab_size": 2000},
            FEW_WORDS: {"tokenizer": "word", "vocab_size": 1000},
            WORDS: {"tokenizer": "word"},
        }
        return [Arm(name, {"max_steps": scale.pick(500, 3), **kind}, choices) for name, kind in kinds.items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        scale = trial.scale
        corpus, length = scale.corpus or "pydoc", scale.pick(200_000, 3_000)
        options = {
            "corpus": beginning(trial, corpus, length),
            "hidden_size": scale.pick(96, 8),
            "window": scale.pick(64, 8),
            "batch_size": scale.pick(32, 2),
        }
        run = train_language_model(trial, {**options, **trial.options})
        own: dict[str, Any] = {}
        if run.model is not None and not trial.tuning:
            known = set(_words(characters_of(corpus, length)))
            own = _writing(run.model, known, trial.seed, scale.pick(WRITTEN, 100))
        vocabulary = None if run.model is None else run.model.tokenizer.vocab_size
        return {**run.numbers, **own, "vocabulary": vocabulary}

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        (invented,) = outcomes.compare([(MORE_PAIRS, CHARACTERS)], "invented", paired=False)
        (bits,) = outcomes.compare([(MORE_PAIRS, CHARACTERS)], "test_bits_per_byte", paired=False)
        (time,) = outcomes.compare([(CHARACTERS, WORDS)], "cpu_seconds", paired=False)
        tests = ((invented, LEAST_SHARE), (bits, LEAST_BITS), (time, outcomes.mean(CHARACTERS, "cpu_seconds").value))
        p_values = holm_known([one.contrast.p_value for one, _ in tests])  # the three are one family
        words = [
            decide(one.contrast.interval(1 - 0.05 / len(tests)).map(-1.0), p, least)
            for (one, least), p in zip(tests, p_values, strict=True)
        ]
        sizes = [outcomes.values(name, "parameters")[0] for name in (CHARACTERS, WORDS)]
        larger = Word.HOLDS if sizes[1] >= LEAST_FACTOR * sizes[0] else Word.REFUTED
        costly = together([larger, words[2]])
        reason = (
            f"2,000 byte pairs invent {shown(invented.interval.map(-1.0), '.1%')} fewer of their words than characters "
            f"({words[0]}) and need {shown(bits.interval.map(-1.0), '.3f')} bits per byte less ({words[1]}). All words "
            f"have {sizes[1]:,.0f} parameters and characters {sizes[0]:,.0f}, and take "
            f"{outcomes.median(WORDS, 'cpu_seconds'):.1f} against {outcomes.median(CHARACTERS, 'cpu_seconds'):.1f} "
            f"seconds ({costly})."
        )
        return [Verdict(27, together([words[0], words[1], costly]), reason)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("vocabulary", "vocabulary", ",.0f"),
            ("parameters", "parameters", ",.0f"),
            ("bits per byte", "test_bits_per_byte", ".3f"),
            ("unknown", "test_oov_rate", ".2%"),
            ("invented words", "invented", ".1%"),
            ("seconds", "cpu_seconds", ".1f"),
        ]
        note = "Bits per byte of words are a lower bound: an unknown word counts as <unk> alone. [..]: 95 % over seeds."
        pairs = [(PAIRS, CHARACTERS), (MORE_PAIRS, CHARACTERS)]
        found = outcomes.compare(pairs, "test_bits_per_byte", paired=False)
        return [arms_table(outcomes, columns, note=note), comparisons_table(found, "bits per byte")]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        def bars(name: str, arms: Sequence[str]) -> list[Bar]:
            means = [(arm, outcomes.mean(arm, name)) for arm in arms]
            return [Bar(arm, mean.value, mean.low, mean.high) for arm, mean in means]

        lossless = (CHARACTERS, PAIRS, MORE_PAIRS)
        everything = [arm.name for arm in outcomes.arms]
        return {
            "bits": Bars(
                "Bits per byte of tokens that lose nothing", "test, bits per byte", bars("test_bits_per_byte", lossless)
            ),
            "invented": Bars(
                "Words that the text does not have", "share of the words written", bars("invented", everything)
            ),
        }


def _words(text: str) -> Iterator[str]:
    return (match[0].lower() for match in LETTERS.finditer(text))


def _writing(model: TrainedModel, known: set[str], seed: int, length: int) -> dict[str, Any]:
    """A text that a model writes: its words, and how many of them are invented. The first and last may be cut."""
    per_token = 1 if model.tokenizer.kind == "char" else 3
    text = model.sample("", length=max(1, length // per_token), seed=seed)
    words = list(_words(text))[1:-1]
    invented = [word for word in words if word not in known]
    share = len(invented) / len(words) if words else None
    return {"words_written": len(words), "invented": share, "examples": sorted(set(invented))[:20]}
