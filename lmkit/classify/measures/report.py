"""A classifier measured beside the baseline that counts words, and without the texts that it may know by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.duplicates import seen_before
from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.measures.measurement import ClassMeasurement, measure_classes, right_on
from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.classify.measures.pairs import Pairs
from lmkit.classify.naive_bayes import NaiveBayes
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import share_interval

__all__ = ["Baseline", "ClassifierReport", "evaluate_classifier"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What naive Bayes, trained on the same texts, makes of the test texts; and the classifier against it, text by
    text: the first of ``pairs`` is the baseline.
    """

    measured: ClassMeasurement
    pairs: Pairs
    difference: Interval


@dataclass(frozen=True, eq=False)
class ClassifierReport:
    """A classifier on a test file. commonest: the accuracy of always saying the commonest class of training.

    seen: how many of the texts stand in the training file too; unseen: the accuracy on the others. Both, the baseline
    and ``commonest`` are None where the training file is not known, which ``notes`` says.
    """

    name: str
    measured: ClassMeasurement
    confidence: float
    baseline: Baseline | None = None
    commonest: float | None = None
    seen: int | None = None
    unseen: Interval | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the classifier's own figures, then the others."""
        return {
            "data": self.name,
            **self.measured.as_dict(),
            "confidence": self.confidence,
            "commonest_class_accuracy": self.commonest,
            "seen_in_training": self.seen,
            "accuracy_unseen": _ends(self.unseen),
            "naive_bayes": None if self.baseline is None else _baseline_dict(self.baseline),
            "notes": list(self.notes),
        }


def evaluate_classifier(
    data: LabelledTexts,
    log_probs: NDArray[np.float64],
    *,
    training: LabelledTexts | None = None,
    options: ClassifierOptions = MEASURED,
    notes: Sequence[str] = (),
) -> ClassifierReport:
    """Measure the log-probabilities (N, C) that a classifier gives to labelled texts. training: the texts that it was
    trained on, from which the baseline is trained and among which the test texts are looked for.
    """
    measured = measure_classes(data, log_probs, options)
    if training is None:
        return ClassifierReport(data.name, measured, options.confidence, notes=tuple(notes))
    right = right_on(data, log_probs)
    seen = seen_before(data, training)
    fresh = int((~seen).sum())
    unseen = share_interval(int(right[~seen].sum()), fresh, options.confidence) if fresh else None
    commonest = float((data.labels == training.counts.argmax()).mean())
    baseline = _baseline(data, training, right, options)
    return ClassifierReport(
        data.name, measured, options.confidence, baseline, commonest, int(seen.sum()), unseen, tuple(notes)
    )


def _baseline(
    data: LabelledTexts, training: LabelledTexts, right: NDArray[np.bool_], options: ClassifierOptions
) -> Baseline:
    log_probs = NaiveBayes.train(training).classify(data.texts)
    pairs = Pairs.of(right_on(data, log_probs), right)
    return Baseline(measure_classes(data, log_probs, options), pairs, pairs.difference(options.confidence))


def _baseline_dict(baseline: Baseline) -> dict[str, Any]:
    pairs = baseline.pairs
    return {
        **baseline.measured.as_dict(),
        "difference": _ends(baseline.difference),
        "p_value": pairs.p_value,
        "both_right": pairs.both,
        "naive_bayes_alone_right": pairs.first,
        "classifier_alone_right": pairs.second,
        "neither_right": pairs.neither,
    }


def _ends(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high}
