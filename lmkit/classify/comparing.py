"""Trained classifiers compared on one test file, with naive Bayes beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from lmkit.classify.measures.comparison import ClassifierComparison, compare_classifiers
from lmkit.classify.measures.measurement import right_on
from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.classify.naive_bayes import NaiveBayes
from lmkit.classify.testing import known_texts, read_test
from lmkit.classify.trained import TrainedClassifier, load_classifier
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.groups import Pairing, check_seeds, pair_by_seed
from lmkit.text.corpus import Progress

__all__ = ["compare_runs"]

NAIVE_BAYES = "naive Bayes"
Folder = str | os.PathLike[str]


def compare_runs(
    groups: Sequence[Sequence[Folder]],
    data: Folder,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    form: str | None = None,
    device: str = "auto",
    checkpoint: str | int = "best",
    options: ClassifierOptions = MEASURED,
    progress: Progress | None = None,
) -> ClassifierComparison:
    """Compare groups of runs, each of one run or of several that differ by their seed, on labelled texts; the first is
    the baseline, and naive Bayes on the training texts of the first run is one more group. Over seeds runs are pairs
    where two groups have the same ones: a seed decides the order of the texts and which are kept for validation.
    checkpoint: which model of each run: best, last or a step.

    Raises ConfigError for runs of different classes and for two of one seed in a group, RunError for what is no run of
    a classifier, DataError for texts that cannot be read.
    """
    if len(groups) < 2 or not all(groups):
        raise ConfigError("A comparison needs two runs or more, as in `lmkit classify compare A B --data test.csv`.")
    folders = [os.fspath(run) for group in groups for run in group]
    if twice := [run for run in folders if folders.count(run) > 1]:
        raise ConfigError(f"{twice[0]} is given twice: compare different runs.")
    loaded = [[load_classifier(os.fspath(run), device, checkpoint) for run in group] for group in groups]
    notes = [
        note
        for group, runs in zip(groups, loaded, strict=True)
        for note in check_seeds([os.fspath(folder) for folder in group], [run.config for run in runs])
    ]
    first = loaded[0][0]
    texts = read_test(first, data, text_column=text_column, label_column=label_column, form=form)
    for group, classifiers in zip(groups, loaded, strict=True):
        for run, classifier in zip(group, classifiers, strict=True):
            classifier.progress = progress
            if classifier.classes != first.classes:
                raise ConfigError(f"{run} has other classes than {groups[0][0]}: they cannot be compared.")
    rights = {
        name: np.array([right_on(texts, classifier.classify(texts.texts)) for classifier in classifiers])
        for name, classifiers in zip(map(_name, groups), loaded, strict=True)
    }
    pairings = dict(zip(rights, [_pairing(group, loaded[0]) for group in loaded], strict=True))
    known = known_texts(first)
    if known.texts is not None:
        pairings[NAIVE_BAYES] = Pairing([], f"because {NAIVE_BAYES} has no seed")
        rights[NAIVE_BAYES] = right_on(texts, NaiveBayes.train(known.texts).classify(texts.texts))[None]
    notes += [known.note] if known.note else []
    return compare_classifiers(texts.name, rights, options, without_seed=[NAIVE_BAYES], pairings=pairings, notes=notes)


def _pairing(group: Sequence[TrainedClassifier], baseline: Sequence[TrainedClassifier]) -> Pairing:
    return pair_by_seed([one.config for one in group], [one.config for one in baseline])


def _name(group: Sequence[Folder]) -> str:
    """A run by its folder; several by the first and how many more there are."""
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return f"{os.fspath(group[0])}{more}"
