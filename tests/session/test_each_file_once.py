"""A run's files are read once each: by a resume, whatever it finds, and by whoever measures the model."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import Config
from lmkit.doctor.check import FAILED
from lmkit.doctor.run.run import check_run
from lmkit.session.session import Session
from tests import runs

SMALL: dict[str, Any] = {**runs.SMALL, "max_steps": 6, "eval_every": 3, "checkpoint_every": 3}
STORED = {"config.json", "run.json", "tokenizer.json", "model.safetensors"}
RESUMED = STORED | {"metrics.jsonl", "timings.jsonl", "lock"}

_watched: list[tuple[str, Counter[str]]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        folder, counts = _watched[-1]
        path = os.fspath(arguments[0])
        if path.startswith(f"{folder}{os.sep}") and not os.path.isdir(path):
            counts[os.path.relpath(path, folder)] += 1


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(_note)  # Python cannot remove it again; without a watched folder it does nothing


@contextmanager
def openings(folder: Path) -> Iterator[Counter[str]]:
    """How often each file below a folder is opened meanwhile, whoever does it."""
    counts: Counter[str] = Counter()
    _watched.append((str(folder), counts))
    try:
        yield counts
    finally:
        _watched.pop()


def stopped(folder: Path, steps: int) -> Path:
    """A run that was stopped after this many records, or has ended where it has fewer; its folder."""
    text = folder / "text.txt"
    text.write_text("The cat sat on the mat. The dog ran to the tree.\n" * 40, encoding="utf-8")
    with Session(Config().override({**SMALL, "corpus": str(text)}), folder / "run") as session:
        with closing(session.records()) as records:
            ended = len(list(islice(records, steps))) < steps
        if ended:
            session.close()
        else:
            session.stop()
    return folder / "run"


def lose_the_best_model(run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"another file")


def unended(run: Path) -> str:
    """run.json as it was before the end."""
    values = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del values["ended"]
    return json.dumps(values)


CASES: dict[str, tuple[int, dict[str, Any], Callable[[Path], object]]] = {
    "before a checkpoint": (0, {}, lambda run: None),
    "in the middle": (5, {}, lambda run: None),
    "in the middle, to a later end": (5, {"max_steps": 9}, lambda run: None),
    "at the best model, which is another": (4, {}, lose_the_best_model),
    "after the best model, which is another": (5, {}, lose_the_best_model),
    "at the end": (99, {}, lambda run: None),
    "at the end, whose model is not recorded": (99, {}, lambda run: (run / "run.json").write_text(unended(run))),
}


@pytest.mark.parametrize(("steps", "changes", "change"), CASES.values(), ids=list(CASES))
def test_a_resume_reads_each_file_once(
    tmp_path: Path, steps: int, changes: dict[str, Any], change: Callable[[Path], object]
):
    run = stopped(tmp_path, steps)
    change(run)
    with openings(run) as counts, Session.resume(run, changes):
        pass
    assert counts.keys() >= (RESUMED if steps else RESUMED - {"model.safetensors"})
    assert set(counts.values()) == {1}, counts


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_info_reads_each_file_once(tmp_path: Path, options: list[str]):
    run = stopped(tmp_path, 99)
    with openings(run) as counts:
        assert CliRunner().invoke(main, ["info", str(run), *options]).exit_code == 0
    assert counts == dict.fromkeys(("config.json", "run.json", "metrics.jsonl", "lock"), 1)


def test_doctor_reads_each_file_of_a_run_once(tmp_path: Path):
    run = stopped(tmp_path, 99)
    with openings(run) as counts:
        assert all(check.status != FAILED for check in check_run(run, "cpu"))
    assert {name: counts[name] for name in ("config.json", "run.json", "tokenizer.json", "metrics.jsonl")} == {
        "config.json": 1,
        "run.json": 1,
        "tokenizer.json": 1,
        "metrics.jsonl": 1,
    }


def test_a_measurement_reads_each_file_once(tmp_path: Path):
    run = stopped(tmp_path, 99)
    with openings(run) as counts:
        lm = lmkit.load(run)
        name, tokens = lm.split_tokens()
        lm.measure(tokens, split=name)
    assert counts == dict.fromkeys(STORED, 1)
