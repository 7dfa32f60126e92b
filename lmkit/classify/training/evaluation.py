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
    label as the most probable one.
    """

    nll: float
    documents: int
    correct: int

    @classmethod
    def of(cls, log_probs: NDArray[np.float64], labels: NDArray[np.int64]) -> ClassifierEvaluation:
        """Of log-probabilities (N, C) and the labels (N,)."""
        nll = -log_probs[np.arange(len(labels)), labels].sum()
        return cls(float(nll), len(labels), int((log_probs.argmax(axis=1) == labels).sum()))

    @property
    def nats_per_document(self) -> float:
        """Mean negative log-likelihood of a label in nats."""
        return self.nll / self.documents if self.documents else math.nan

    @property
    def nats_per_target(self) -> float:
        """The same by the name that the evaluations of all kinds of training have."""
        return self.nats_per_document

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
