"""Labelled texts for a trained classifier: those of a test file, and those that it was trained on."""

from __future__ import annotations

import os
from typing import NamedTuple

from lmkit.classify.data.labelled import LabelledTexts, read_labelled
from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.classify.measures.report import ClassifierReport, evaluate_classifier
from lmkit.classify.trained import TrainedClassifier
from lmkit.classify.training.setup import read_splits
from lmkit.errors import LmkitError

__all__ = ["Known", "known_texts", "read_test", "report_on"]


class Known(NamedTuple):
    """The texts that a classifier was trained on; None where they are not there any more, and why."""

    texts: LabelledTexts | None
    note: str = ""


def read_test(
    classifier: TrainedClassifier,
    name: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    form: str | None = None,
) -> LabelledTexts:
    """Labelled texts of the classifier's classes, by default from columns that are called as those of training. Raises
    DataError, also for a label that training did not have.
    """
    labels = classifier.config.labels
    return read_labelled(
        name,
        text_column=text_column or labels.text_column,
        label_column=label_column or labels.label_column,
        classes=classifier.classes,
        form=form,
    )


def known_texts(classifier: TrainedClassifier) -> Known:
    """The training texts of a run, where its file still is what it was."""
    without = "No naive Bayes and no search for texts that training had, too"
    try:
        texts = read_splits(classifier.config).train
    except LmkitError as error:
        return Known(None, f"{without}: {error}")
    recorded = classifier.run.record.text_hash if classifier.run is not None else None
    if recorded not in (None, texts.sha256):
        return Known(None, f"{without}: {texts.name} has changed since the training.")
    return Known(texts)


def report_on(
    classifier: TrainedClassifier, data: LabelledTexts, options: ClassifierOptions = MEASURED
) -> ClassifierReport:
    """Measure a classifier on labelled texts, beside naive Bayes on the same training texts."""
    log_probs = classifier.classify(data.texts)
    known = known_texts(classifier)
    notes = [known.note] if known.note else []
    return evaluate_classifier(data, log_probs, training=known.texts, options=options, notes=notes)
