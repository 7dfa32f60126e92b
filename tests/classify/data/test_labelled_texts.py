"""Labelled texts: labels are text, classes are sorted, and splits depend on what the rows say, not on their order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from lmkit.classify.data.duplicates import seen_before
from lmkit.classify.data.labelled import LabelledTexts, label_texts, named
from lmkit.classify.data.splitting import split_valid
from lmkit.classify.data.table import Table
from lmkit.errors import DataError


def table(rows: list[tuple[str, str]], **others: list[str]) -> Table:
    texts, labels = zip(*rows, strict=True)
    columns = {"text": texts, "label": labels, **{name: tuple(cells) for name, cells in others.items()}}
    return Table("train.csv", columns, tuple(range(2, len(rows) + 2)))


def labelled(rows: list[tuple[str, str]], **how: Any) -> LabelledTexts:
    return label_texts(table(rows), "text", "label", **how)


def pairs(data: LabelledTexts) -> list[tuple[str, str]]:
    return [(text, data.classes[label]) for text, label in zip(data.texts, data.labels.tolist(), strict=True)]


def test_classes_are_sorted_and_other_columns_are_carried_along():
    data = label_texts(table([("a", "z"), ("b", " m "), ("c", "z")], id=["7", "8", "9"]), "text", "label")
    assert (data.classes, data.labels.tolist(), data.counts.tolist()) == (("m", "z"), [1, 0, 1], [1, 2])
    taken = data.take([2, 0])
    assert (taken.texts, taken.labels.tolist()) == (("c", "a"), [1, 1])
    assert (taken.columns, taken.lines, taken.classes) == ({"id": ("9", "7")}, (4, 2), data.classes)


def test_labels_that_look_like_numbers_are_text():
    data = labelled([("a", "10"), ("b", "9"), ("c", "1.0"), ("d", "1")])
    assert data.classes == ("1", "1.0", "10", "9")


def test_labels_of_a_test_file_are_those_of_training():
    assert labelled([("a", "y")], classes=("x", "y")).labels.tolist() == [1]
    rows = [("a", "x"), ("b", "new"), ("c", "odd"), ("d", "new")]
    with pytest.raises(DataError) as error:
        labelled(rows, classes=("x", "y"))
    assert str(error.value) == (
        "train.csv, line 3: 'new', 'odd' are no class of the training file (3 rows): its classes are 'x', 'y'."
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("a", "x"), (" \n", "y")], "line 3: the text is empty"),
        ([("a", "x"), ("b", " ")], "line 3: the label is empty"),
        ([("a", "x"), ("b", "x")], "only one label in its column 'label', 'x'"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(rows, sentence):
    with pytest.raises(DataError, match=sentence):
        labelled(rows)


def test_one_column_cannot_be_text_and_label():
    with pytest.raises(DataError, match="cannot be both text and label"):
        label_texts(table([("a", "x")]), "text", "text")


def test_many_labels_are_named_in_part():
    assert named([str(number) for number in range(12)]).endswith("'9' and 2 more")
    assert len(named(["x" * 1000])) == 42


def test_the_hash_is_that_of_texts_and_labels():
    rows = [("a", "x"), ("b", "y")]
    data = labelled(rows)
    assert data.sha256 == label_texts(table(rows, id=["1", "2"]), "text", "label").sha256
    others = [
        labelled([("b", "y"), ("a", "x")]),
        labelled([("a", "y"), ("b", "x")]),
        labelled([("a", "x"), ("b ", "y")]),
    ]
    assert len({data.sha256, *(other.sha256 for other in others)}) == 4


ROWS = [(f"text {number}", "abc"[number % 3]) for number in range(60)] + [("text 0", "a"), ("text 0", "a"), ("t", "d")]


def test_a_split_takes_a_share_of_each_class_whatever_the_order_of_the_rows():
    train, valid = split_valid(labelled(ROWS), 0.2, seed=3)
    assert sorted(pairs(train) + pairs(valid)) == sorted(ROWS)
    assert all(4 <= count <= 6 for count in valid.counts[:3]) and valid.counts[3] == 0  # a class keeps its last text
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    for mine, theirs in zip((train, valid), split_valid(labelled(shuffled), 0.2, seed=3), strict=True):
        assert sorted(pairs(mine)) == sorted(pairs(theirs))
    assert sorted(pairs(valid)) != sorted(pairs(split_valid(labelled(ROWS), 0.2, seed=4)[1]))
    assert np.array_equal(np.argsort(valid.lines), np.arange(len(valid)))  # in the order of the file


def test_where_no_class_can_give_a_text_there_is_no_split():
    with pytest.raises(DataError, match=r"train\.csv has no class with two different texts"):
        split_valid(labelled([("a", "x"), ("b", "y"), ("a", "x")]), 0.5, seed=0)


@pytest.mark.parametrize("seed", range(8))
def test_a_text_that_comes_twice_is_on_one_side(seed):
    train, valid = split_valid(labelled(ROWS), 0.2, seed)
    assert not seen_before(valid, train).any()


def test_texts_of_training_are_found_in_a_test_file():
    train, test = labelled([("play  it", "x"), ("stop", "y")]), labelled([("Play it", "x"), ("play it\n", "y")])
    assert seen_before(test, train).tolist() == [False, True]
