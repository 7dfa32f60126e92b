"""Predictions as columns: what is carried along, and names that would come twice."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from lmkit.classify.data.table import Table
from lmkit.classify.predictions import carried, class_columns, word_columns
from lmkit.classify.prefixes import Prefixes
from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.scoring.table import header, rows

LOG_PROBS = np.log([[0.25, 0.75], [0.5, 0.5]])
TABLE = Table("a.csv", {"text": ("u", "v"), "id": ("7", "8"), "predicted": ("x", "y")}, (2, 3))


def test_the_class_comes_before_the_probability_of_each():
    columns = list(class_columns(("a", "b"), LOG_PROBS))
    assert [column.name for column in columns] == ["predicted", "probability", "p_a", "p_b"]
    assert list(columns[0].values) == ["b", "a"]  # of equal ones the first
    assert np.allclose([column.values for column in columns[1:]], [[0.75, 0.5], [0.25, 0.5], [0.75, 0.5]])
    words = list(word_columns(("a", "b"), Prefixes(("what", "time"), LOG_PROBS)))
    assert (words[0].name, list(words[0].values)) == ("word", ["what", "time"])


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_names_of_classes_may_hold_what_separates(form):
    names = ["a\tb", 'c, "d"', "e\nf"]
    columns = list(class_columns(names, np.log([[0.5, 0.3, 0.2]])))
    text = header([column.name for column in columns], form) + rows(columns, form)
    if form == "jsonl":
        assert list(json.loads(text))[2:] == [f"p_{name}" for name in names]
    elif form == "csv":
        assert next(csv.reader(io.StringIO(text, newline="")))[2:] == [f"p_{name}" for name in names]
    else:
        assert text.splitlines()[0].split("\t")[2:] == ["p_a\\tb", 'p_c, "d"', "p_e\\nf"]


def test_columns_are_carried_along_by_their_names():
    assert carried(TABLE, None, ("a",)) == {}
    assert carried(TABLE, "id, text", ("a",)) == {"id": ("7", "8"), "text": ("u", "v")}
    assert carried(TABLE, "line,id", ("a",)) == {"line": (2, 3), "id": ("7", "8")}
    assert carried(Table("a.csv", {"text": ("u",), "line": ("9",)}, (2,)), "line", ("a",)) == {"line": ("9",)}
    with pytest.raises(DataError, match=r"no column 'nr'.*--columns"):
        carried(TABLE, "nr", ("a",))
    with pytest.raises(ConfigError, match="'predicted' is one of the prediction, too"):
        carried(TABLE, "all", ("a",))
