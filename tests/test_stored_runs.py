"""Runs that older versions of lmkit wrote live on: they load, measure, score, sample and resume as they did then.

A folder of ``stored_runs`` holds a run that was stopped at step 40 of 60, and ``expected.json``: what its version made
of it. A folder is never made anew. A new format of the run folder adds one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

import lmkit
from lmkit.cli import main
from lmkit.hardware import describe_cpu

FOLDER = Path(__file__).parent / "stored_runs"
NAMES = sorted(path.name for path in FOLDER.iterdir())
# Another processor adds the same float32 numbers in another order: 2^-24 for each of a few sums of at most 16 products.
TOLERANCE = 1e-5
# The same after 20 steps of training that each begin where the last one ended.
TRAINED_TOLERANCE = 1e-3
OTHER_KERNELS = {"MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, tmp_path: Path) -> Path:
    """A copy: nothing that a test does reaches the stored run."""
    return Path(shutil.copytree(FOLDER / name / "run", tmp_path / "run"))


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def test_a_stored_run_is_measured_as_it_was_then(run: Path, expected: dict[str, Any]):
    result = CliRunner().invoke(main, ["eval", str(run), "--json", "--threads", "1", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    _agree(json.loads(result.stdout), expected["eval"], TOLERANCE)


def test_a_stored_run_scores_as_it_did_then(run: Path, expected: dict[str, Any]):
    score = expected["score"]
    found = lmkit.load(run, "cpu").score(score["text"], state="carry", documents="file")
    assert [[token.id, token.token] for token in found] == [entry[:2] for entry in score["tokens"]]
    assert [token.log_prob for token in found] == pytest.approx([entry[2] for entry in score["tokens"]], rel=TOLERANCE)


def test_a_stored_run_writes_what_it_wrote_then(run: Path, expected: dict[str, Any]):
    sample = expected["sample"]
    assert lmkit.load(run, "cpu").sample(**sample["options"]) == sample["text"]


def test_a_stored_run_resumes_to_the_end_that_it_had_then(run: Path, expected: dict[str, Any]):
    lmkit.resume(run, allow_inexact=True)
    records, recorded = _records(run), expected["resumed"]["metrics"]
    assert len(records) == len(recorded)
    for found, then in zip(records, recorded, strict=True):
        _agree(found, then, TRAINED_TOLERANCE)


def test_on_its_machine_a_stored_run_resumes_to_the_bits_that_it_had_then(run: Path, expected: dict[str, Any]):
    if not _is_its_machine(run):
        pytest.skip("the stored runs were made on another machine")
    lmkit.resume(run, allow_inexact=True)
    recorded = expected["resumed"]["metrics"]
    assert [{key: found[key] for key in then} for found, then in zip(_records(run), recorded, strict=True)] == recorded
    with safe_open(run / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["lmkit"])["sha256"] == expected["resumed"]["tensors_sha256"]


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _agree(found: Mapping[str, Any], then: Mapping[str, Any], tolerance: float) -> None:
    """Every figure of then is there under its name; new ones may be there too."""
    for key, value in then.items():
        assert found[key] == (pytest.approx(value, rel=tolerance) if isinstance(value, float) else value), key


def _is_its_machine(run: Path) -> bool:
    """Whether the same processor computes with the same torch, and nobody asked for other kernels."""
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    same = info["cpu"] == describe_cpu() and info["versions"]["torch"] == torch.__version__
    return same and not OTHER_KERNELS & os.environ.keys()
