"""lmkit sweep: every combination, ranked by validation; what cannot be is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GRID = """
seeds = 2
[options]
corpus = "text.txt"
max_steps = 3
hidden_size = 4
batch_size = 2
window = 8
[grid]
dropout = [0.0, 0.5]
[choose]
lr = [0.001, 0.1]
"""


@pytest.fixture
def write(work: Path):
    """A grid in a file."""

    def call(text: str, name: str = "grid.toml") -> Path:
        (work / name).write_text(text, encoding="utf-8")
        return work / name

    return call


def test_every_combination_is_trained_and_ranked_by_validation(cli, work: Path, write, monkeypatch):
    monkeypatch.setattr("lmkit.experiments.engine.engine.can_render", lambda: False)
    write(GRID)
    shown = cli("sweep", "grid.toml", "--jobs", 1)
    assert shown.code == 0, shown.stderr
    result: dict[str, Any] = json.loads((work / "sweeps" / "grid" / "result.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in result["arms"]] == ["dropout 0.0", "dropout 0.5"]
    assert (len(result["runs"]), len(result["tuning"])) == (4, 4)
    means = {
        arm["name"]: sum(run["values"]["valid"] for run in result["runs"] if run["arm"] == arm["name"])
        for arm in result["arms"]
    }
    best = min(means, key=lambda name: means[name]).split()[1]
    report = (work / "sweeps" / "grid" / "report.md").read_text(encoding="utf-8")
    rows = [line for line in report.splitlines() if line.startswith("| 0.")]
    assert rows[0].startswith(f"| {best} |")
    assert "paired by seeds" in report
    assert cli("sweep", "grid.toml", "--jobs", 1).stdout == shown.stdout
    assert list((work / "sweeps" / "grid" / "runs").iterdir())  # the models are there, those that chose are not
    assert not list((work / "sweeps" / "grid" / "runs").glob("*seed-100000*"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[options]\nmax_steps = 3", "[grid] is empty"),
        ("[grid]\nhiden_size = [1]", "did you mean hidden_size?"),
        ("[grid]\nhidden_size = 4", "hidden_size of [grid] must be a list"),
        ("[grid]\nlr = []", "lr of [grid] must be a list"),
        ("[grid]\nhidden_size = [4, -1]", "--hidden-size must be at least 1"),
        ("[grid]\nseed = [1, 2]", "give `seeds = N` at the top"),
        ("[options]\nmax_seconds = 3\n[grid]\nlr = [1.0]", "bound the runs by max_steps or epochs"),
        ("[options]\nlr = 3.0\n[grid]\nlr = [1.0]", "lr is given twice"),
        ("seeds = 1\n[grid]\nlr = [1.0]", "at least 2: one run of a combination has no interval"),
        ('[options]\ncorpus = "-"\n[grid]\nlr = [1.0]', "standard input is read once"),
        ('[options]\ncorpus = "none.txt"\n[grid]\nlr = [1.0]', "none.txt"),
        ('[options]\ncorpus = "text.txt"\nbatch_size = 5000\n[grid]\nlr = [1.0, 0.1]', "too short for 5,000 rows"),
        (
            '[grid]\ncorpus = ["a b.txt", "A-B.txt"]',
            "corpus a b.txt and corpus A-B.txt of [grid] would have the same file",
        ),
        ('[grid]\nlr = [1.0]\n[choose]\ncorpus = ["a.txt", "A.txt"]', "of [choose] would have the same file"),
        ("grids = 1", "There is no 'grids' in a grid"),
        ("grid = 1", "[grid] must be a table"),
        ("[grid", "Cannot read"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(refused, write, text: str, sentence: str):
    assert sentence in refused("sweep", write(text), "--jobs", 1)


def test_a_grid_that_is_not_there_is_refused(refused):
    assert "Cannot read none.toml" in refused("sweep", "none.toml")
