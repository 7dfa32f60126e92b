"""A run whose text is no longer where it was: it goes on with the same text elsewhere, and with no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lmkit.cli import main


@pytest.fixture(scope="module")
def moved_once(tmp_path_factory: pytest.TempPathFactory, text: str, small: tuple[str, ...]) -> Path:
    """The folder that every ``moved`` is a copy of: text.txt became new/book.txt after four steps of ``run``; ``whole``
    is that run, resumed to eight steps before.
    """
    folder = tmp_path_factory.mktemp("moved")
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    train("--corpus", folder / "text.txt", *small, "--max-steps", 4, "--out", folder / "run")
    shutil.copytree(folder / "run", folder / "whole")
    train("--resume", folder / "whole", "--max-steps", 8)
    (folder / "new").mkdir()
    (folder / "text.txt").rename(folder / "new" / "book.txt")
    return folder


def train(*arguments: object) -> None:
    result = CliRunner().invoke(main, ["train", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    torch.set_num_threads(1)


@pytest.fixture
def moved(
    moved_once: Path, work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run, and a cache that does not know the text where it is now."""
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    (work / "text.txt").unlink()
    for name in ("run", "whole", "new"):
        shutil.copytree(moved_once / name, work / name)
    return work / "run"


def test_a_run_whose_text_has_moved_goes_on_to_the_same_bytes(cli, moved, work):
    resumed = cli("train", "--resume", "run", "--corpus", "new/book.txt", "--max-steps", 8)
    assert resumed.code == 0, resumed.stderr
    assert (moved / "model.safetensors").read_bytes() == (work / "whole" / "model.safetensors").read_bytes()
    assert json.loads((moved / "config.json").read_text())["data"]["corpus"] == "../new/book.txt"
    assert cli("eval", "run", "--threads", 1).code == 0
    again = cli("train", "--resume", "run", "--max-steps", 9)
    assert again.code == 0, again.stderr


def test_another_text_is_refused_and_nothing_changes(refused, moved, work, text: str):
    (work / "other.txt").write_text(text.replace("cat", "cow"), encoding="utf-8", newline="")
    message = refused("train", "--resume", "run", "--corpus", "other.txt", "--max-steps", 8)
    assert "--corpus other.txt is not the text that run was trained on" in message
    assert "no file or folder" in refused("train", "--resume", "run", "--corpus", "nowhere.txt", "--max-steps", 8)


@pytest.mark.parametrize(
    "command",
    [("train", "--resume", "run"), ("eval", "run"), ("compare", "run", "whole"), ("eval", "run", "--ngram", 2)],
)
def test_what_needs_the_text_says_how_to_go_on(refused, moved, command):
    message = refused(*command)
    assert "is no longer at" in message
    assert "lmkit train --resume run --corpus PATH" in message
    assert "--file PATH" in message


def test_doctor_says_it_too_and_checks_the_rest(cli, moved):
    outcome = cli("doctor", "run", "--json")
    assert outcome.code == 0, outcome.stderr
    checks = {check["name"]: check for check in json.loads(outcome.stdout)["checks"]}
    assert checks["corpus"]["status"] == "skipped"
    assert "lmkit train --resume run --corpus PATH" in checks["corpus"]["advice"][0]


def test_the_same_text_from_standard_input_is_taken(cli, moved, work):
    piped = cli(
        "train", "--resume", "run", "--corpus", "-", "--max-steps", 5, input=(work / "new/book.txt").read_bytes()
    )
    assert piped.code == 0, piped.stderr
