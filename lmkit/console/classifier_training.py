"""What the display of a training says of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmkit.classify.training.evaluation import ClassifierEvaluation
from lmkit.classify.training.measurements import ClosingMeasurement
from lmkit.config import ClassifierConfig
from lmkit.console.terminal.numbers import counted
from lmkit.console.wording import Wording
from lmkit.session.session import Session

__all__ = ["LABELS"]


class _Labels(Wording):
    unit, unit_short = "text", "texts"

    def marked(self, session: Session) -> str:
        assert isinstance(session.config, ClassifierConfig), "a session of a classifier"
        return {"nats": "", "accuracy": ", by accuracy"}[session.config.labels.best_by]

    def sizes(self, session: Session) -> str:
        splits = session.corpus.splits
        sizes = ", ".join(f"{name} {counted(split.counts.documents, 'text')}" for name, split in splits.items())
        return f"{len(session.corpus.info['classes']['train'])} classes; {sizes}"

    def loss(self, nats: float) -> Iterator[str]:
        yield f"loss {nats:.3f}"

    def validation(self, evaluation: ClassifierEvaluation) -> str:
        return f"valid {evaluation.nats_per_document:.4f} nats  accuracy {evaluation.accuracy:.2%}"

    def sample(self, session: Session, length: int) -> str:
        return ""

    def closing(self, measurement: ClosingMeasurement) -> list[str]:
        found, baseline = measurement.evaluation, measurement.naive_bayes
        right = f"{found.correct:,} of {counted(found.documents, 'text')}"
        return [
            f"{measurement.split} accuracy {found.accuracy:.2%} ({right}), {found.nats_per_document:.4f} nats per text",
            f"naive Bayes, which counts words and pairs of words: {baseline.accuracy:.2%} ({baseline.correct:,})",
        ]

    def next_command(self, run: Path) -> str:
        return f"lmkit classify eval {run} --data test.csv"


LABELS = _Labels()
