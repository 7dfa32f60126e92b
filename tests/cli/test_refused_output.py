"""Output that is refused: a message that cannot be shown ends no work, a result that cannot be printed is one line and
exit code 1.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and Path("/dev/full").exists()), reason="needs fork and a device that is always full"
)

TRAIN = ["train", "--corpus", "text.txt", "--hidden-size", "8", "--batch-size", "4", "--window", "16", "--threads", "1"]
TRAIN += ["--precision", "float32", "--max-steps", "6", "--eval-every", "3"]
MEASURE = ["eval", "RUN", "--threads", "1"]
# commands that print, some through rich, some through click, some by themselves
PRINTING = [
    ["--help"],
    ["--version"],
    ["corpora"],
    ["corpora", "--json"],
    ["info", "RUN"],
    MEASURE,
    [*MEASURE, "--json"],
    ["score", "RUN", "text.txt", "--threads", "1"],
    ["compare", "RUN", "RUN", "--file", "text.txt", "--threads", "1", "--json"],
    ["sample", "RUN", "--length", "5"],
]

# Imports lmkit once, then runs each command in a fork of its own, with standard output and standard error as told:
# "full" is a device without room, "closed" a stream that was closed before the program began, "terminal" a terminal
# that is closed when a training begins, all else the name of a file. Prints the exit codes.
REFUSING = """
import gc, json, os, pty, sys
import lmkit.api, lmkit.cli, lmkit.console.tables
from lmkit.console.training import TrainingDisplay
if any(arguments[0] == "train" for arguments, _, _ in json.loads(sys.argv[1])):
    import torch._dynamo  # slow to import, and torch does it behind the scenes: once here, not in each child
codes = []
gc.freeze()
begin = TrainingDisplay.begin

def direct(number, name, kind):
    if kind == "closed":
        os.close(number)
        setattr(sys, name, None)
        return
    if kind == "terminal":
        master, handle = pty.openpty()
        def close(self, session):
            assert self.console.is_terminal
            begin(self, session)
            os.close(master)
        TrainingDisplay.begin = close
    else:
        path = "/dev/full" if kind == "full" else kind
        handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, number)
    os.close(handle)
    setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))

for arguments, out, err in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        direct(1, "stdout", out)
        direct(2, "stderr", err)
        lmkit.cli.main(arguments, prog_name="lmkit")
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str


Run = Callable[..., list[Outcome]]


@pytest.fixture
def run(trained: Path, work: Path) -> Run:
    """Run commands, each with a place for standard output and for standard error: full, closed, terminal or file."""

    def call(*cases: tuple[Sequence[str], str, str]) -> list[Outcome]:
        names = itertools.count()
        told: list[Any] = []
        for command, *places in cases:
            shown = [part.replace("RUN", str(trained)) for part in command]
            told.append([shown, *(f"{place}{next(names)}" if place == "file" else place for place in places)])
        done = subprocess.run(
            [sys.executable, "-c", REFUSING, json.dumps(told)],
            cwd=work,
            env={**os.environ, "PYTHONUTF8": "1", "TERM": "xterm", "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.stderr == ""
        codes = json.loads(done.stdout)
        return [Outcome(code, *map(read, places)) for code, (_, *places) in zip(codes, told, strict=True)]

    def read(name: str) -> str:
        return (work / name).read_text(encoding="utf-8") if name.startswith("file") else ""

    return call


def test_a_result_that_cannot_be_printed_is_one_line_and_exit_code_1(run: Run):
    cases = [(command, "full", "file") for command in PRINTING]
    cases += [(command, "closed", "file") for command in PRINTING if command[0] in ("--help", "info", "eval", "sample")]
    reasons = {"full": "No space left on device", "closed": "it is closed"}
    expected = [Outcome(1, "", f"Error: Standard output cannot be written: {reasons[out]}.\n") for _, out, _ in cases]
    wrong = [(case, found) for case, found, one in zip(cases, run(*cases), expected, strict=True) if found != one]
    assert wrong == []


def test_a_message_that_cannot_be_shown_hides_no_result(run: Run):
    noted = [*MEASURE, "--state", "line"]
    places = ["file", "full", "closed"]
    *done, mistake = run(*((noted, "file", place) for place in places), (["eval", "absent"], "file", "full"))
    assert done[0].stderr.startswith("Note: ")
    assert [(one.code, one.stdout) for one in done] == [(0, done[0].stdout)] * len(places)
    assert done[0].stdout != ""
    assert mistake == Outcome(2, "", "")


def test_a_training_goes_on_and_is_saved_whatever_becomes_of_its_output(run: Run, work: Path):
    """Its display may be refused without a word; a result that cannot be printed is an error once all is saved."""
    displays = ["file", "full", "closed", "terminal"]
    results = ["full", "closed"]
    shown = [([*TRAIN, "--out", f"display-{place}"], "file", place) for place in displays]
    hidden = [([*TRAIN, "--out", f"result-{place}"], place, "file") for place in results]
    hidden.append(([*TRAIN, "--json", "--out", "result-json"], "full", "file"))
    done = run(*shown, *hidden)
    for place, outcome in zip(displays, done[: len(displays)], strict=True):
        assert (outcome.code, outcome.stdout) == (0, done[0].stdout.replace("display-file", f"display-{place}"))
    for outcome in done[len(displays) :]:
        assert outcome.code == 1
        assert outcome.stderr.splitlines()[-1].startswith("Error: Standard output cannot be written: ")
        assert "Traceback" not in outcome.stderr
    for folder in work.glob("*-*"):
        for name in ("metrics.jsonl", "model.safetensors", "checkpoints/step-00000006/training.safetensors"):
            assert (folder / name).read_bytes() == (work / "display-file" / name).read_bytes(), (folder, name)
    assert '"final"' in (work / "display-file" / "metrics.jsonl").read_text(encoding="utf-8")
