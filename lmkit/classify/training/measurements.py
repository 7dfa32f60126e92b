"""Measurements of a classifier in training: on the texts that are kept for validation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from lmkit.classify.naive_bayes import NaiveBayes
from lmkit.classify.trained import log_probs_of
from lmkit.classify.training.evaluation import ClassifierEvaluation
from lmkit.classify.training.setup import LabelledSetup
from lmkit.model.classifier import Classifier
from lmkit.session.measurements import Measurements
from lmkit.text.corpus import Progress

__all__ = ["ClosingMeasurement", "LabelMeasurements"]


@dataclass(frozen=True)
class ClosingMeasurement:
    """The best model on the texts of a split, and naive Bayes on the same training texts beside it."""

    split: str
    evaluation: ClassifierEvaluation
    naive_bayes: ClassifierEvaluation

    def metrics(self) -> dict[str, Any]:
        """All metrics by name, ready for JSON."""
        return self.logged()

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it."""
        beside = {"naive_bayes_correct": self.naive_bayes.correct, "naive_bayes_accuracy": self.naive_bayes.accuracy}
        return {"split": self.split, **self.evaluation.logged(), **beside}


class LabelMeasurements(Measurements):
    """Of a classifier."""

    def __init__(self, setup: LabelledSetup, progress: Progress | None) -> None:
        super().__init__()
        self._setup = setup
        self._progress = progress or (lambda stage, share: None)

    def validate(self) -> ClassifierEvaluation:
        return self._measure("validating")

    def close(self) -> ClosingMeasurement | None:
        train, valid = self._setup.splits
        if valid is None:
            return None
        counted = NaiveBayes.train(train).classify(valid.texts)
        return ClosingMeasurement(
            "valid", self._measure("measuring valid"), ClassifierEvaluation.of(counted, valid.labels)
        )

    def _measure(self, stage: str) -> ClassifierEvaluation:
        valid, tokens, model = self._setup.splits.valid, self._setup.corpus.splits["valid"], self._setup.train.measured
        assert isinstance(model, Classifier), "not a training of a classifier"
        assert valid is not None, "the tokens are its"
        with self.interruptible():
            report = partial(self._progress, stage)
            log_probs = log_probs_of(model, tokens.ids, tokens.document_starts, report=report)
        return ClassifierEvaluation.of(log_probs, valid.labels, self._setup.config.labels.best_by)
