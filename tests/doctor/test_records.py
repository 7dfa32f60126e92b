"""A file of a run that was edited, or put there from another run, is found by doctor and told of by a resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config
from lmkit.doctor.check import FAILED, OK, SKIPPED, Check
from lmkit.doctor.run.run import check_run
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.session.session import Session
from lmkit.training.loop import EvaluationRecord
from tests import runs

SMALL: dict[str, Any] = {
    **runs.SMALL,
    "corpus": "markov:3000",
    "hidden_size": 4,
    "lr": 0.01,
    "dropout": 0.0,
    "max_steps": 8,
    "eval_every": 2,
}
NAMES = ("configuration's record", "model's hash", "metrics' hash")
STORED = Path(__file__).parent.parent / "stored_runs"


def begun(path: Path, **options: Any) -> Session:
    return Session(Config().override({**SMALL, **options}), path, warn=pytest.fail)


def finished(path: Path, **options: Any) -> Path:
    session = begun(path, **options)
    list(session.records())
    session.close()
    assert session.unsaved is None
    return path


def stopped(path: Path, **options: Any) -> Path:
    session = begun(path, **options)
    with closing(session.records()) as records:
        assert any(isinstance(record, EvaluationRecord) and record.step == 4 for record in records)
    session.stop()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to copy: finished, stopped, and other, which is finished of the same shape from another seed."""
    folder = tmp_path_factory.mktemp("made")
    finished(folder / "finished")
    stopped(folder / "stopped")
    finished(folder / "other", seed=2)
    return folder


@pytest.fixture(params=["finished", "stopped"])
def run(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / request.param, tmp_path / "run"))


def found(run: Path) -> dict[str, Check]:
    """The checks of records, which come one after the other; what comes after them is not waited for."""
    of_records = islice((check for check in check_run(run, "cpu") if check.name in NAMES), len(NAMES))
    return {check.name: check for check in of_records}


def statuses(run: Path) -> list[str]:
    checks = found(run)
    return [checks[name].status for name in NAMES]


def resumed(run: Path) -> list[str]:
    """What a resume to the end says."""
    said: list[str] = []
    session = Session.resume(run, warn=said.append)
    list(session.records())
    session.close()
    return said


def edit_metrics(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"perplexity": ', '"perplexity": 1', 1), encoding="utf-8")


def edit_config(run: Path, **options: Any) -> None:
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    values["training"].update(options)
    (run / "config.json").write_text(json.dumps(values), encoding="utf-8")


def swap_model(run: Path, made: Path) -> None:
    shutil.copy(made / "other" / "model.safetensors", run / "model.safetensors")


def test_a_run_that_nobody_touched_is_as_recorded(run: Path):
    assert statuses(run) == [OK, OK, OK]
    assert resumed(run) == []
    assert statuses(run) == [OK, OK, OK]


def test_an_edited_configuration_is_found(run: Path):
    edit_config(run, max_steps=9)
    assert statuses(run) == [FAILED, OK, OK]
    assert found(run)[NAMES[0]].advice == ("max_steps is 9, and run.json records 8.",)


def test_the_model_of_another_run_of_the_same_shape_is_found_and_the_right_one_put_back(run: Path, made: Path):
    swap_model(run, made)
    assert statuses(run) == [OK, FAILED, OK]
    (sentence,) = resumed(run)
    assert "run/model.safetensors is not the model that this run left" in sentence
    assert (run / "model.safetensors").read_bytes() == (made / "finished" / "model.safetensors").read_bytes()
    assert statuses(run) == [OK, OK, OK]


def test_edited_metrics_are_found(run: Path):
    edit_metrics(run)
    assert statuses(run) == [OK, OK, FAILED]
    (sentence,) = resumed(run)
    assert "run/metrics.jsonl is not as this run left it" in sentence


@pytest.mark.parametrize("change", [lambda text: text + "{}\n", lambda text: text.replace('"final"', '"final" ')])
def test_closing_figures_that_were_edited_are_found(made: Path, tmp_path: Path, change: Callable[[str], str]):
    run = Path(shutil.copytree(made / "finished", tmp_path / "run"))
    path = run / "metrics.jsonl"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert statuses(run) == [OK, OK, FAILED]


def test_without_validation_the_model_is_the_last_checkpoint_s(made: Path, tmp_path: Path):
    run = finished(tmp_path / "run", valid_fraction=0.0, test_fraction=0.0)
    assert statuses(run) == [OK, OK, OK]
    swap_model(run, made)
    assert statuses(run)[1] == FAILED


def test_a_run_that_was_extended_and_crashed_is_sound(made: Path, tmp_path: Path):
    run = Path(shutil.copytree(made / "finished", tmp_path / "run"))
    session = Session.resume(run, {"max_steps": 12}, warn=pytest.fail)
    with closing(session.records()) as records:
        assert any(isinstance(record, EvaluationRecord) and record.step == 10 for record in records)
    session.release()
    assert FAILED not in statuses(run)
    assert resumed(run) == []
    assert statuses(run) == [OK, OK, OK]


def test_a_best_model_that_no_checkpoint_has_yet_is_no_fault(made: Path, tmp_path: Path, monkeypatch: Any):
    session = begun(tmp_path / "run")
    with closing(session.records()) as records:
        for record in records:
            if isinstance(record, EvaluationRecord) and record.step == 2:
                session.saver.finish()  # and the process dies before the next one, with the model on the disk
                monkeypatch.setattr(CheckpointFolder, "save", lambda *content: None)
            if isinstance(record, EvaluationRecord) and record.step == 4:
                assert record.is_best
                break
    session.release()
    monkeypatch.undo()
    assert statuses(tmp_path / "run") == [OK, SKIPPED, OK]
    assert resumed(tmp_path / "run") == []


@pytest.mark.parametrize("name", sorted(path.name for path in STORED.iterdir()))
def test_a_stored_run_is_as_its_checkpoint_records(name: str, tmp_path: Path, made: Path):
    run = Path(shutil.copytree(STORED / name / "run", tmp_path / "run"))
    assert statuses(run) == [OK, OK, OK]
    edit_metrics(run)
    edit_config(run, lr=0.5)
    with (run / "model.safetensors").open("r+b") as file:
        file.seek(20)
        file.write(b"x")
    assert statuses(run) == [FAILED, FAILED, FAILED]


def test_a_run_without_checkpoints_and_records_is_passed_over(made: Path, tmp_path: Path):
    run = Path(shutil.copytree(STORED / "gru" / "run", tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    assert statuses(run) == [SKIPPED, SKIPPED, SKIPPED]
