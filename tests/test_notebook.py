"""The notebook for a class: its cells run from top to bottom, and what it shows was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmkit

# What the class trains on, and what a test does in its place: long enough for its windows.
SMALLER = {
    "alphabet:forward:100000": "alphabet:forward:3000",
    "alphabet:both:100000": "alphabet:both:3000",
    "pydoc": "markov:3000",
}
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "lessons" / "class.ipynb"


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that runs notebooks."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return __import__("notebook")


def test_the_notebook_of_the_class_runs_in_small(notebooks: Any, monkeypatch: pytest.MonkeyPatch):
    train, sample = lmkit.train, lmkit.TrainedModel.sample

    def train_little(corpus: str, **options: Any) -> Any:
        return train(SMALLER.get(corpus, corpus), **{**options, "max_steps": 2, "hidden_size": 8})

    def sample_little(model: Any, prompt: str, *, length: int, **how: Any) -> str:
        return sample(model, prompt, length=min(50, length), **how)

    monkeypatch.setattr(lmkit, "train", train_little)
    monkeypatch.setattr(lmkit.TrainedModel, "sample", sample_little)
    monkeypatch.setattr("lmkit.plots.picture.render", lambda chart, **how: f"<svg>{chart.title}</svg>".encode())
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    made = notebooks.run(NOTEBOOK)
    for (number, old), (_, new) in zip(notebooks.code_cells(kept), notebooks.code_cells(made), strict=True):
        assert [kinds(one) for one in old["outputs"]] == [kinds(one) for one in new["outputs"]], f"cell {number}"
    assert kept["nbformat"] == 4
    assert NOTEBOOK.stat().st_size < 500_000


def kinds(output: dict[str, Any]) -> list[str]:
    """What an output is: a stream, or the forms of a value."""
    return sorted(output["data"]) if "data" in output else [output["name"]]


def test_a_cell_keeps_what_it_prints_and_its_last_value(notebooks: Any):
    class Shown:
        def __repr__(self) -> str:
            return "plain"

        def _repr_svg_(self) -> str:
            return "<svg/>"

    namespace: dict[str, Any] = {"Shown": Shown}
    assert notebooks.run_cell("x = 2\nprint('a')\nprint('b')", 1, namespace) == [
        {"name": "stdout", "output_type": "stream", "text": ["a\n", "b\n"]}
    ]
    (number,) = notebooks.run_cell("x + 1", 2, namespace)
    assert (number["execution_count"], number["data"]) == (2, {"text/plain": "3"})
    (shown,) = notebooks.run_cell("Shown()", 3, namespace)
    assert shown["data"] == {"text/plain": "plain", "image/svg+xml": "<svg/>"}
    assert notebooks.run_cell("None", 4, namespace) == []
    with pytest.raises(ZeroDivisionError):
        notebooks.run_cell("1 / 0", 5, namespace)
