"""What a classifier makes of labelled texts: accuracy, errors by class, nats, calibration, its worst errors."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.measures.calibration import Calibration
from lmkit.classify.measures.confusion import Confusion
from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import share_interval

__all__ = ["ClassMeasurement", "Wrong", "measure_classes", "right_on"]

Floats = NDArray[np.float64]


class Wrong(NamedTuple):
    """A text whose class was not said: its line in the file, its class with the probability it got, and the class that
    was said, with its own.
    """

    line: int
    text: str
    label: str
    probability: float
    said: str
    said_probability: float


@dataclass(frozen=True, eq=False)
class ClassMeasurement:
    """A classifier on labelled texts. nats: the negative log-probability of the classes, a sum; worst: the texts whose
    class got the least probability, of those that are wrong.
    """

    accuracy: Interval
    nats: float
    confusion: Confusion
    calibration: Calibration
    worst: tuple[Wrong, ...]

    @property
    def texts(self) -> int:
        """How many."""
        return self.confusion.total

    @property
    def nats_per_text(self) -> float:
        """The cross-entropy; log C where a classifier knows nothing and says so."""
        return self.nats / self.texts

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is not finite, or not defined, is None."""
        scores = [
            {**dataclasses.asdict(score), "precision": score.precision, "recall": score.recall, "f1": score.f1}
            for score in self.confusion.scores()
        ]
        return {
            "accuracy": self.accuracy.value,
            "accuracy_low": self.accuracy.low,
            "accuracy_high": self.accuracy.high,
            "texts": self.texts,
            "correct": self.confusion.right,
            "macro_f1": self.confusion.macro_f1,
            "nats_per_text": self.nats_per_text if math.isfinite(self.nats) else None,
            "calibration_error": self.calibration.error,
            "calibration_error_by_chance": self.calibration.by_chance,
            "classes": list(self.confusion.classes),
            "per_class": scores,
            "confusion": self.confusion.counts.tolist(),
            "reliability": [dataclasses.asdict(one) for one in self.calibration.bins],
            "worst": [one._asdict() for one in self.worst],
        }


def right_on(data: LabelledTexts, log_probs: Floats) -> NDArray[np.bool_]:
    """Which of N texts have their class said, (N,). log_probs: (N, C); of equal ones the first class is said."""
    right: NDArray[np.bool_] = log_probs.argmax(1) == data.labels
    return right


def measure_classes(data: LabelledTexts, log_probs: Floats, options: ClassifierOptions = MEASURED) -> ClassMeasurement:
    """Measure log-probabilities (N, C) of the classes of N texts. The order of the texts changes nothing."""
    said, rows = log_probs.argmax(1), np.arange(len(data))
    right = said == data.labels
    losses = -log_probs[rows, data.labels]
    confidence = np.exp(np.minimum(log_probs[rows, said], 0.0))
    confusion = Confusion.of(data.classes, data.labels, said)
    return ClassMeasurement(
        share_interval(confusion.right, len(data), options.confidence),
        math.fsum(losses.tolist()),
        confusion,
        Calibration.of(confidence, right, options.bins),
        _worst(data, losses, said, confidence, options.worst),
    )


def _worst(
    data: LabelledTexts, losses: Floats, said: NDArray[np.int64], confidence: Floats, most: int
) -> tuple[Wrong, ...]:
    wrong = np.flatnonzero(said != data.labels)
    order = sorted(wrong.tolist(), key=lambda row: (-losses[row], data.texts[row], data.lines[row]))
    return tuple(
        Wrong(
            data.lines[row],
            data.texts[row],
            data.classes[data.labels[row]],
            math.exp(-losses[row]),
            data.classes[said[row]],
            float(confidence[row]),
        )
        for row in order[:most]
    )
