"""scripts/bench.py: a tiny case from end to end, what it computes of given speeds, and the table that it writes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
DOCUMENT = "# Benchmarks\n\n<!-- bench.py: begin -->\n\n<!-- bench.py: end -->\n\nWhat follows.\n"


@pytest.fixture
def load(monkeypatch):
    """A module of the scripts by its name."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


@pytest.fixture
def result_of(load):
    rounds = load("benchmarks.rounds")

    def make(plain: list[float], own: list[float], **more: Any) -> Any:
        return rounds.Result("train/words", "tokens", "the plain loop", plain, own, **more)

    return make


def test_a_case_is_measured_from_end_to_end(load, monkeypatch, tmp_path, capsys):
    table = tmp_path / "benchmarks.md"
    table.write_text(DOCUMENT)
    options = ["--tiny", "--rounds", "2", "--seconds", "0.001", "--most-spread", "inf"]
    written = ["--json", str(tmp_path / "a.json"), "--table", str(table)]
    monkeypatch.setattr(sys, "argv", ["bench.py", "text/characters", *options, *written])
    assert load("bench").main() == 0
    assert "times a dictionary of characters" in capsys.readouterr().out
    found = json.loads((tmp_path / "a.json").read_text())
    (result,) = found["results"]
    assert found["machine"]["threads"] == 1
    assert all(len(result["speeds"][side]) == 2 and min(result["speeds"][side]) > 0 for side in ("plain", "own"))
    assert "| text/characters | a dictionary of characters |" in table.read_text()


def test_a_worker_that_fails_ends_the_measurement_with_its_name(load, tmp_path):
    workers, case = load("benchmarks.workers"), load("benchmarks.case")
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match="text/words, side own ended with 3"):
        workers.Worker(script, "text/words", "own", case.Settings(), "wall")


@pytest.mark.parametrize(
    "name",
    [
        "gemm",
        "train/words-2x650-tied-float32",
        "eval/words",
        "eval/characters-64-rows",
        "score/characters",
        "generate/V100-64",
        "generate/V10000-1-int8",
        "cells/qrnn-width-1",
        "cells-sampling/gru",
        "checkpoint/wikitext2-8min",
        "text/characters",
        "text/words",
        "text/bpe",
    ],
)
@pytest.mark.parametrize("side", ["plain", "own"])
def test_a_step_of_each_side_does_some_work(load, tmp_path, monkeypatch, name, side):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    settings = load("benchmarks.case").Settings(torch.get_num_threads(), tiny=True, folder=tmp_path)
    step = load("benchmarks.registry").case_of(name).side(side, settings)
    assert step() > 0
    assert step() > 0


def test_sides_work_in_turn_and_their_order_changes(load, result_of):
    turns: list[str] = []

    def side(name: str) -> Any:
        def run() -> float:
            turns.append(name)
            return float(len(turns))

        return run

    result = load("benchmarks.rounds").alternate(result_of([], []), side("plain"), side("own"), side("gemm"), 3)
    assert turns == ["plain", "own", "gemm", "own", "plain", "gemm", "plain", "own", "gemm"]
    assert result.plain == [1, 5, 7]
    assert result.own == [2, 4, 8]
    assert result.gemm == [3, 6, 9]


def test_a_ratio_is_the_median_of_the_rounds_and_not_that_of_the_speeds(result_of):
    result = result_of([10, 1, 4, 100, 50], [20, 2.2, 7.6, 210, 100], gemm=[600, 800, 800], operations=10)
    assert result.ratios == pytest.approx([2, 2.2, 1.9, 2.1, 2])
    assert result.ratio == pytest.approx(2)
    assert result.middle == pytest.approx((2, 2.1))
    assert result.spread == pytest.approx(0.05)
    assert result.share_of_limit == pytest.approx(20 * 10 / 800)
    assert result.refusal() is None
    assert result.record()["ratio"] == pytest.approx(2)


def test_nothing_is_reported_of_ratios_that_scatter(load, result_of, tmp_path):
    result = result_of([10, 10, 10, 10, 10], [10, 12, 20, 28, 30])
    assert result.spread == pytest.approx(0.8)
    assert "80% of their median, more than 15%" in result.refusal()
    assert "ratio" not in result.record() and "refused" in result.record()
    assert result.refusal(0.9) is None
    table = tmp_path / "benchmarks.md"
    table.write_text(DOCUMENT)
    bench = load("bench")
    arguments = bench.argparse.Namespace(most_spread=0.15, json=tmp_path / "a.json", table=table, clock="wall")
    machine = {"cpu": "a processor", "threads": 1, "torch": "2", "commit": "abc", "date": "2026-01-02"}
    assert bench.report([result], machine, arguments) == 1
    assert table.read_text() == DOCUMENT
    assert bench.report([result, result_of([1, 1], [2, 2])], machine, arguments) == 1
    assert "| 2.00 | 2.00 to 2.00 |" in table.read_text()


def test_rows_are_replaced_by_case_and_others_stay(load, result_of):
    table = load("benchmarks.table")
    first = table.updated(DOCUMENT, [result_of([1, 1], [2, 2])], "here")
    other = result_of([1000, 1000], [3000, 3000], gemm=[5e9, 5e9], operations=1e6)
    other.case = "eval/words"
    both = table.updated(first, [other], "there")
    assert (
        "| eval/words | the plain loop | 3.00 | 3.00 to 3.00 | 3,000 tokens/s | 5 GFLOP/s, 60% of it | there |" in both
    )
    again = table.updated(both, [result_of([1, 1], [4, 4])], "elsewhere")
    lines = [line for line in again.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == ["| case", "| eval/words", "| train/words"]
    assert "| 4.00 | 4.00 to 4.00 | 4 tokens/s |  | elsewhere |" in again
    assert again.startswith("# Benchmarks\n\n<!-- bench.py: begin -->\n\n| case")
    assert again.endswith("<!-- bench.py: end -->\n\nWhat follows.\n")
    with pytest.raises(SystemExit, match="needs one line"):
        table.updated("# Benchmarks\n", [other], "there")


def test_cases_are_found_by_name_or_subject(load):
    registry = load("benchmarks.registry")
    assert [case.name for case in registry.find(["text"])] == ["text/characters", "text/words", "text/bpe"]
    assert [case.name for case in registry.find(["cells/gru"])] == ["cells/gru"]
    with pytest.raises(SystemExit, match="There is no case tex:"):
        registry.find(["tex"])
