"""What a validation of a classifier measures: sums and counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassifierEvaluation"]


@dataclass(frozen=True)
class ClassifierEvaluation:
    """nll: negative log-likelihood of the labels in nats, a sum over ``documents``; ``correct`` of them have their
    label as the most probable one. best_by: what makes one model better than another, ``nats`` or ``accuracy``.
    """

    nll: float
    documents: int
    correct: int
    best_by: str = "nats"

    @classmethod
    def of(
        cls, log_probs: NDArray[np.float64], labels: NDArray[np.int64], best_by: str = "nats"
    ) -> ClassifierEvaluation:
        """Of log-probabilities (N, C) and the labels (N,)."""
        nll = -log_probs[np.arange(len(labels)), labels].sum()
        return cls(float(nll), len(labels), int((log_probs.argmax(axis=1) == labels).sum()), best_by)

    @property
    def nats_per_document(self) -> float:
        """Mean negative log-likelihood of a label in nats."""
        return self.nll / self.documents if self.documents else math.nan

    @property
    def nats_per_target(self) -> float:
        """The same by the name that the evaluations of all kinds of training have."""
        return self.nats_per_document

    @property
    def rank(self) -> tuple[float, ...]:
        """The nats per document; by accuracy the number of errors, and of equally many the nats."""
        nats = self.nats_per_document
        return (nats,) if self.best_by == "nats" or math.isnan(nats) else (float(self.documents - self.correct), nats)

    @property
    def accuracy(self) -> float:
        """Share of the documents whose most probable class is their label."""
        return self.correct / self.documents if self.documents else math.nan

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it."""
        return {
            "nll": self.nll,
            "documents_scored": self.documents,
            "correct": self.correct,
            "nats_per_document": self.nats_per_document,
            "accuracy": self.accuracy,
        }
