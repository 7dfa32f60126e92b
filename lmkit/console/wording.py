"""What the display of a training says of one kind of model: its loss, its validations, its end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmkit.api import TrainedModel
from lmkit.console.tables import remarks
from lmkit.console.terminal.numbers import counted, rounded, rows_of
from lmkit.evaluation.measurement import Measurement
from lmkit.evaluation.perplexity import Evaluation
from lmkit.session.session import Session
from lmkit.session.setup import measured_language_model
from lmkit.text.token_file import TokenFile

__all__ = ["TEXT", "Wording", "headline", "sample_of", "split_sizes"]

SPLITS = ("train", "valid", "test")


class Wording(ABC):
    """unit, unit_short: what is predicted, and the same before ``/s``."""

    unit: str
    unit_short: str

    @abstractmethod
    def marked(self, session: Session) -> str:
        """What is said behind ``* marks the best validation so far``."""

    @abstractmethod
    def sizes(self, session: Session) -> str:
        """The splits and how much is in them."""

    @abstractmethod
    def loss(self, nats: float) -> Iterator[str]:
        """The loss of training in its units."""

    @abstractmethod
    def validation(self, evaluation: Any) -> str:
        """What a validation has measured."""

    @abstractmethod
    def sample(self, session: Session, length: int) -> str:
        """What the model does by now, "" where there is nothing to show."""

    @abstractmethod
    def closing(self, measurement: Any) -> list[str]:
        """The closing measurement in lines."""

    @abstractmethod
    def next_command(self, run: Path) -> str:
        """A command to try the model with."""


class _Text(Wording):
    unit, unit_short = "token", "tok"

    def marked(self, session: Session) -> str:
        return "; a sample of the model's text follows it"

    def sizes(self, session: Session) -> str:
        return split_sizes(session.corpus.splits)

    def loss(self, nats: float) -> Iterator[str]:
        yield f"loss {nats:.3f}"
        yield f"ppl {rounded(_exp(nats))}"

    def validation(self, evaluation: Evaluation) -> str:
        metrics = f"valid {evaluation.nats_per_token:.4f} nats  ppl {rounded(evaluation.perplexity)}"
        return metrics + (f"  {counted(evaluation.seams_open, 'seam')} open" if evaluation.seams_open else "")

    def sample(self, session: Session, length: int) -> str:
        return sample_of(session, length)

    def closing(self, measurement: Measurement) -> list[str]:
        return [headline(measurement), *remarks(measurement.metrics())]

    def next_command(self, run: Path) -> str:
        return f'lmkit sample {run} --prompt "..."'


TEXT = _Text()


def split_sizes(splits: Mapping[str, TokenFile]) -> str:
    """The tokens of each split, with its share of the characters."""
    total = sum(split.counts.chars for split in splits.values())
    shares = {name: 100 * split.counts.chars / total for name, split in splits.items()}
    return ", ".join(
        f"{name} {len(splits[name]):,} ({shares[name]:.{0 if shares[name] >= 1 else 1}f} %)"
        if name in splits
        else f"no {name}"
        for name in SPLITS
    )


def sample_of(session: Session, length: int) -> str:
    """What the model writes by now."""
    counts = vars(session.corpus.splits["train"].counts)
    return TrainedModel(
        measured_language_model(session.train), session.corpus.tokenizer, session.config, training_counts=counts
    ).sample(length=length, seed=session.config.runtime.seed, temperature=0.8)


def headline(measurement: Measurement) -> str:
    """The perplexity of the closing measurement, with how it was measured."""
    result = measurement.evaluation
    text = f"{measurement.split} perplexity {rounded(result.perplexity)} per token"
    text += f", {result.bits_per_char:.3f} bits per character"
    if not measurement.lossless:
        text += " (lossy: lower bound)"
    return f"{text} ({rows_of(measurement)}, state {measurement.state}, {measurement.precision})"


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
