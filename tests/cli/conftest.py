"""What the tests of the command line share: a small text, a quick way to call lmkit, and a run to look at."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner

from lmkit.cli import main

WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "ran",
    "to",
    "tree",
    "and",
    "saw",
    "a",
    "bird",
    "fish",
    "in",
    "sea",
    "blue",
    "red",
    "sky",
    "house",
    "man",
    "woman",
    "child",
    "day",
]
# Small and quick whatever the machine is: one thread, no precision that depends on the processor.
SMALL = ("--hidden-size", "8", "--batch-size", "4", "--window", "16", "--threads", "1", "--precision", "float32")


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str


Cli = Callable[..., Outcome]
Process = Callable[..., subprocess.CompletedProcess[str]]
Refused = Callable[..., str]


def make_text(lines: int = 150, seed: int = 3) -> str:
    """Lines of a few common words, the same for the same seed."""
    draw = random.Random(seed)
    return "".join(
        " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 8))).capitalize() + ".\n" for _ in range(lines)
    )


@pytest.fixture(scope="session")
def text() -> str:
    return make_text()


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    return SMALL


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """An empty folder to work in, with one text in it: text.txt. One thread, unless a test asks for more."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what --threads defaults to
    return folder


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Call lmkit in this process; an exception that is no exit is a traceback for the user, and fails the test."""

    def call(*arguments: object, input: str | bytes | None = None) -> Outcome:
        result = CliRunner().invoke(main, [str(part) for part in arguments], input=input, prog_name="lmkit")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            shown = "".join(traceback.format_exception(result.exception)[-3:])
            pytest.fail(f"lmkit {' '.join(map(str, arguments))[:200]}: a traceback\n{shown}", pytrace=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    yield call
    torch.set_num_threads(1)


@pytest.fixture
def refused(cli: Cli, work: Path) -> Refused:
    """Call lmkit with a mistake in it: exit code 2, one sentence on standard error, nothing on standard output, and no
    file or folder is new, changed or gone. Gives the sentence.
    """

    def call(*arguments: object, input: str | bytes | None = None) -> str:
        before = _files(work.parent)
        outcome = cli(*arguments, input=input)
        assert outcome.code == 2, outcome
        assert outcome.stdout == ""
        lines = outcome.stderr.strip().splitlines()
        if lines[0].startswith("Usage: "):  # click's own mistakes come with two lines of help before them
            lines = lines[3:]
        assert len(lines) == 1, outcome.stderr
        assert lines[0].startswith("Error: ")
        assert lines[0].endswith((".", "?", ")")), lines[0]
        assert len(lines[0]) < 1500, lines[0]
        assert _files(work.parent) == before, "something was left behind"
        return lines[0].removeprefix("Error: ")

    return call


def _files(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def process() -> Process:
    """Call ``python -m lmkit`` as a program of its own."""

    def call(*arguments: object, cwd: Path, input: str | None = None, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "lmkit", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONUTF8": "1", **environment},
            input=input or "",
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """The folder that every ``trained`` is a copy of."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    options = ["--hidden-size", "16", "--lr", "0.02", "--dropout", "0", "--epochs", "20"]
    arguments = ["train", "--corpus", str(folder / "text.txt"), *SMALL, *options, "--out", str(folder / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    torch.set_num_threads(1)
    return folder


@pytest.fixture
def trained(trained_once: Path) -> Path:
    """A run to look at, not to change: characters, trained for a moment on text.txt beside it."""
    return trained_once / "run"


@pytest.fixture
def damaged(trained_once: Path, work: Path) -> Path:
    """A copy of that run, to be damaged."""
    return Path(shutil.copytree(trained_once / "run", work / "run"))
