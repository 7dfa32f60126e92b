"""Charts become SVG files, the same bytes each time, that say what they show."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as tree
from itertools import pairwise

import pytest

from lmkit.errors import ConfigError, FailedError
from lmkit.plots.charts import Bar, Bars, Chart, HeatMap, Histogram, Line, Lines, Mark, Series
from lmkit.plots.render import _spread, render

CHARTS: dict[str, Chart] = {
    "lines": Lines(
        "Loss",
        "lag",
        "norm",
        [
            Line("lstm", [1, 10, 100], [1.0, 0.5, 0.2], [0.9, 0.4, 0.1], [1.1, 0.6, 0.3]),
            Line("rnn", [1, 10], [1.0, 0.5]),
        ],
        log_x=True,
        marks=[Mark("chance", 0.7)],
    ),
    "bars": Bars(
        "Loss", "nats", [Bar("a", 1.0, 0.9, 1.2, "first"), Bar("b", 2.0, group="second")], [Mark("chance", 1.5)]
    ),
    "heat": HeatMap(
        "Gates", "step", "unit", ["a", "b"], ["1", "2"], [[0.0, 1.0], [None, -2.0]], "value", diverging=True
    ),
    "histogram": Histogram("Norms", "norm", "steps", [0, 1, 2], [Series("a", [3, 1]), Series("b", [1, 2])], log_y=True),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_an_svg_of_the_same_bytes_each_time(name: str):
    content = render(CHARTS[name])
    assert tree.fromstring(content).tag.endswith("svg")
    assert content == render(CHARTS[name])
    assert b"date" not in content


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        render(CHARTS["bars"])


def test_a_matplotlib_that_cannot_be_imported_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FailedError, match=r"matplotlib cannot be imported.*matplotlib\.figure"):
        render(CHARTS["bars"])


def test_names_at_the_ends_of_lines_keep_apart_and_inside():
    assert _spread([0.2, 0.5]) == [0.2, 0.5]
    placed = _spread([0.99, 0.99, 1.0])
    assert max(placed) <= 1.0 + 1e-9
    assert all(high - low > 0.05 for low, high in pairwise(placed))
    assert _spread([]) == []
