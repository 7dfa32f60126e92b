"""What a validation of a classifier counts, and what makes one better than another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmkit.classify.training.evaluation import ClassifierEvaluation

SHARES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])


@pytest.mark.parametrize(("best_by", "rank"), [("nats", ()), ("accuracy", (1.0,))])
def test_errors_and_nats_are_counted_by_hand(best_by: str, rank: tuple[float, ...]):
    found = ClassifierEvaluation.of(np.log(SHARES), np.array([0, 1, 1]), best_by)
    nats = -(math.log(0.9) + math.log(0.4) + math.log(0.8)) / 3
    assert (found.documents, found.correct) == (3, 2)
    assert found.rank == pytest.approx((*rank, nats))


def test_by_accuracy_fewer_errors_are_better_whatever_their_nats_and_of_equally_many_the_fewer_nats():
    unsure, sure, wrong = (ClassifierEvaluation(nll, 10, right, "accuracy") for nll, right in ((9, 8), (5, 8), (1, 7)))
    assert sure.rank < unsure.rank < wrong.rank


@pytest.mark.parametrize("best_by", ["nats", "accuracy"])
def test_what_is_no_number_is_never_better(best_by: str):
    broken = ClassifierEvaluation(math.nan, 10, 10, best_by)
    assert not broken.rank < ClassifierEvaluation(99.0, 10, 0, best_by).rank
