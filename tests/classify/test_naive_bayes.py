"""Naive Bayes: its probabilities are those of the formula, and what real data were measured to give comes out."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from lmkit.classify.data.labelled import LabelledTexts, label_texts, read_labelled
from lmkit.classify.data.table import Table
from lmkit.classify.naive_bayes import NaiveBayes


def labelled(rows: list[tuple[str, str]]) -> LabelledTexts:
    texts, labels = zip(*rows, strict=True)
    return label_texts(Table("it", {"text": texts, "label": labels}, tuple(range(len(rows)))), "text", "label")


ROWS = [("good good film", "pos"), ("a film", "neg"), ("Good", "pos")]


def test_probabilities_are_counts_raised_by_one():
    """Features: good, film, a, "good good", "good film", "a film". Counted once a text, pos has 5 (good twice), neg 3,
    so with one more for each the denominators are 11 and 9; the priors are 3/5 and 2/5.
    """
    bayes = NaiveBayes.train(labelled(ROWS))
    assert bayes.classes == ("neg", "pos")
    joint = np.array([2 / 5 * (1 / 9) * (2 / 9) * (1 / 9), 3 / 5 * (3 / 11) * (2 / 11) * (2 / 11)])
    found = bayes.classify(["GOOD film film unheard-of", "unheard-of", ""])
    assert np.allclose(np.exp(found[0]), joint / joint.sum(), rtol=1e-12)
    assert np.allclose(np.exp(found[1:]), [2 / 5, 3 / 5], rtol=1e-12)


def test_a_class_without_texts_has_the_chance_of_its_raised_count():
    data = labelled(ROWS).take([0, 2])
    assert math.isclose(np.exp(NaiveBayes.train(data).classify([""])[0, 0]), 1 / 4)


def test_prefixes_are_the_text_up_to_each_word():
    bayes = NaiveBayes.train(labelled(ROWS))
    words, log_probs = bayes.classify_prefixes(" good  film\n")
    assert words == ("good", "film")
    assert np.array_equal(log_probs, bayes.classify([" good", " good  film"]))
    assert bayes.classify_prefixes(" ").log_probs.shape == (0, 2)


def test_the_order_of_the_rows_and_the_names_of_the_classes_do_not_matter():
    texts = ["good film", "a a film", "film"]
    expected = NaiveBayes.train(labelled(ROWS)).classify(texts)
    shuffled = NaiveBayes.train(labelled(random.Random(1).sample(ROWS, 3)))
    assert np.allclose(shuffled.classify(texts), expected, rtol=1e-12)
    renamed = NaiveBayes.train(labelled([(text, {"pos": "a", "neg": "b"}[label]) for text, label in ROWS]))
    assert np.array_equal(renamed.classify(texts), expected[:, ::-1])


@pytest.mark.parametrize(("folder", "right", "texts"), [("snips", 684, 700), ("rt-polarity", 834, 1067)])
def test_real_texts_are_classified_as_well_as_was_measured(data_dir: Path, folder: str, right: int, texts: int):
    columns = {"text_column": "text", "label_column": "label"}
    if not (data_dir / folder).is_dir():
        pytest.skip(f"no {folder} among the real corpora")
    train = read_labelled(data_dir / folder / "train.csv", **columns)
    test = read_labelled(data_dir / folder / "test.csv", classes=train.classes, **columns)
    said = NaiveBayes.train(train).classify(test.texts).argmax(1)
    assert (int((said == test.labels).sum()), len(test)) == (right, texts)
