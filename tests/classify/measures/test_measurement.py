"""A measurement: its numbers are those that a person computes, and no order of the texts changes them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.measures.calibration import Bin, Calibration
from lmkit.classify.measures.measurement import measure_classes
from lmkit.classify.measures.options import ClassifierOptions
from lmkit.classify.measures.report import evaluate_classifier

# Six texts of three classes; what was said with which probability.
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1],  # a, said a
        [0.5, 0.3, 0.2],  # a, said a
        [0.1, 0.8, 0.1],  # a, said b: the worst
        [0.2, 0.6, 0.2],  # b, said b
        [0.4, 0.35, 0.25],  # b, said a
        [0.3, 0.4, 0.3],  # c, said b
    ]
)
LABELS = [0, 0, 0, 1, 1, 2]


def texts(labels: list[int], classes: str = "abc", names: str = "uvwxyz") -> LabelledTexts:
    lines = tuple(range(2, len(labels) + 2))
    return LabelledTexts("test.csv", tuple(names[: len(labels)]), np.array(labels), tuple(classes), {}, lines)


def test_the_numbers_are_those_of_the_table():
    found = measure_classes(texts(LABELS), np.log(PROBABILITIES), ClassifierOptions(bins=3, worst=2))
    assert found.confusion.counts.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert found.accuracy.value == 0.5
    a, b, c = found.confusion.scores()
    assert (a.precision, a.recall, a.f1) == (2 / 3, 2 / 3, 4 / 6)
    assert (b.precision, b.recall, b.f1) == (1 / 3, 1 / 2, 2 / 5)
    assert (c.precision, c.recall, c.f1) == (None, 0.0, 0.0)
    assert found.confusion.macro_f1 == pytest.approx((4 / 6 + 2 / 5 + 0) / 3)
    assert found.nats == pytest.approx(-sum(map(math.log, (0.7, 0.5, 0.1, 0.6, 0.35, 0.3))))
    assert found.nats_per_text == found.nats / 6
    assert [(one.line, one.text, one.label, one.said) for one in found.worst] == [
        (4, "w", "a", "b"),
        (7, "z", "c", "b"),
    ]
    assert (found.worst[0].probability, found.worst[0].said_probability) == pytest.approx((0.1, 0.8))


def test_a_class_that_neither_is_there_nor_is_said_has_no_score():
    found = measure_classes(texts([0, 1], "abc"), np.log([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]]))
    *_, last = found.confusion.scores()
    assert (last.precision, last.recall, last.f1) == (None, None, None)
    assert found.confusion.macro_f1 == (2 / 3 + 0) / 2  # of the two that are there


def test_bins_hold_equally_many_texts_and_their_errors_add_up():
    """Confidences in order: .4 wrong, .4 wrong | .5 right, .6 right | .7 right, .8 wrong."""
    calibration = measure_classes(texts(LABELS), np.log(PROBABILITIES), ClassifierOptions(bins=3)).calibration
    shown = [(one.texts, round(one.low, 9), round(one.high, 9), one.accuracy) for one in calibration.bins]
    assert shown == [(2, 0.4, 0.4, 0.0), (2, 0.5, 0.6, 1.0), (2, 0.7, 0.8, 0.5)]
    assert calibration.error == pytest.approx((2 * 0.4 + 2 * 0.45 + 2 * 0.25) / 6)
    variances = [0.24 + 0.24, 0.25 + 0.24, 0.21 + 0.16]
    assert calibration.by_chance == pytest.approx(sum(math.sqrt(2 / math.pi * one) for one in variances) / 6)


def test_texts_of_one_confidence_are_in_one_bin():
    confidence, right = np.array([0.9, 0.5, 0.9, 0.9, 0.9]), np.array([True, False, False, True, True])
    assert Calibration.of(confidence, right, 5).bins == (Bin(1, 0.5, 0.5, 0.5, 0.0), Bin(4, 0.9, 0.9, 0.9, 0.75))
    assert Calibration.of(np.ones(3), np.ones(3, dtype=bool), 10) == Calibration(
        (Bin(3, 1.0, 1.0, 1.0, 1.0),), 0.0, 0.0
    )


def test_chance_is_what_a_calibrated_classifier_shows():
    """The mean error over many draws is the one that is given, within the noise of 200 draws."""
    draw = np.random.default_rng(1)
    confidence = draw.uniform(0.5, 1, 400)
    errors = [Calibration.of(confidence, draw.random(400) < confidence, 10) for _ in range(200)]
    assert np.mean([one.error for one in errors]) == pytest.approx(errors[0].by_chance, rel=0.1)


def shuffled(order: NDArray[np.int64]) -> tuple[LabelledTexts, NDArray[np.float64]]:
    return texts(LABELS).take(order), np.log(PROBABILITIES)[order]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_texts_changes_nothing(seed):
    expected = measure_classes(texts(LABELS), np.log(PROBABILITIES)).as_dict()
    assert measure_classes(*shuffled(np.random.default_rng(seed).permutation(6))).as_dict() == expected


def test_other_names_of_the_classes_change_only_the_names():
    order = [2, 0, 1]  # the new number of each class
    renamed = texts([order[label] for label in LABELS], "xyz")
    moved = np.empty_like(PROBABILITIES)
    moved[:, order] = PROBABILITIES
    found, expected = measure_classes(renamed, np.log(moved)), measure_classes(texts(LABELS), np.log(PROBABILITIES))
    assert (found.accuracy, found.nats, found.calibration) == (expected.accuracy, expected.nats, expected.calibration)
    assert np.array_equal(found.confusion.counts[np.ix_(order, order)], expected.confusion.counts)
    assert found.confusion.macro_f1 == pytest.approx(expected.confusion.macro_f1)


def test_what_stands_in_training_is_reported_apart_and_the_baseline_beside():
    train, test = texts([0, 0, 1, 2], names="uvmn"), texts(LABELS)
    found: Any = evaluate_classifier(test, np.log(PROBABILITIES), training=train)
    assert (found.seen, found.unseen.value, found.commonest) == (2, 1 / 4, 3 / 6)
    # naive Bayes knows the words u and v, both of class a, which is also its guess for all others
    assert found.baseline.pairs == (2, 1, 1, 2)
    assert (found.baseline.measured.accuracy.value, found.baseline.difference.value) == (0.5, 0.0)
    assert found.as_dict()["accuracy"] == 0.5
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["naive_bayes"]["p_value"] == 1.0


def test_without_the_training_file_there_is_no_baseline():
    found = evaluate_classifier(texts(LABELS), np.log(PROBABILITIES), notes=["The training file is gone."]).as_dict()
    assert [found[name] for name in ("naive_bayes", "seen_in_training", "accuracy_unseen")] == [None] * 3
    assert found["notes"] == ["The training file is gone."]


def test_a_probability_of_zero_is_no_number_in_json():
    with np.errstate(divide="ignore"):
        found = measure_classes(texts([1, 0], "ab"), np.log([[1.0, 0.0], [1.0, 0.0]]))
    assert (found.nats, found.as_dict()["nats_per_text"], found.worst[0].probability) == (math.inf, None, 0.0)
