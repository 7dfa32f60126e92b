"""Output that is refused: a message that cannot be shown ends no work, a result that cannot be printed is one line and
exit code 1.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from lmkit.console.training import TrainingDisplay
from lmkit.session.session import Session
from tests import forks

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


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str


Run = Callable[..., list[Outcome]]


@pytest.fixture
def run(trained: Path, work: Path) -> Run:
    """Run commands, each with a place for standard output and for standard error: "full" is a device without room,
    "closed" a stream that was closed before the program began, "terminal" a terminal that is closed when a training
    begins, "file" a file.
    """
    names = itertools.count()

    def call(command: Sequence[str], *places: str) -> Outcome:
        paths = {"full": Path("/dev/full"), "file": None, "closed": None, "terminal": None}
        files = [paths[place] or work / f"file{next(names)}" for place in places]
        shown = [part.replace("RUN", str(trained)) for part in command]
        with open(files[0], "ab") as out, open(files[1], "ab") as err:
            handles = {"stdout": out.fileno(), "stderr": err.fileno()}
            code = forks.ended(forks.start(shown, work, **handles, before=partial(direct, places)))
        texts = [path.read_text(encoding="utf-8") if path.parent == work else "" for path in files]
        return Outcome(code, *texts)

    return lambda *cases: [call(*case) for case in cases]


def direct(places: Sequence[str]) -> None:
    """What no file that the parent opens can be."""
    os.environ.update(TERM="xterm", COLUMNS="100")
    for number, name, place in zip((1, 2), ("stdout", "stderr"), places, strict=True):
        if place == "closed":
            os.close(number)
            setattr(sys, name, None)
        elif place == "terminal":
            assert name == "stderr"
            close_when_a_training_begins(number)


def close_when_a_training_begins(number: int) -> None:
    begin = TrainingDisplay.begin
    master, handle = os.openpty()
    os.dup2(handle, number)
    os.close(handle)
    sys.stderr = forks.writer(number)

    def close(self: TrainingDisplay, session: Session) -> None:
        assert self.console.is_terminal
        begin(self, session)
        os.close(master)

    TrainingDisplay.begin = close  # type: ignore[method-assign]


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
