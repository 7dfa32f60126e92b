"""Checkpoints are written beside the training: they are of the moment at which they were begun, and nothing else is
different from writing them at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config
from lmkit.errors import FailedError
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.session.saving.writer import Writer
from lmkit.session.session import Session
from tests import runs
from tests.runs import assert_same, write_text

SMALL: dict[str, Any] = {
    **runs.SMALL,
    "max_steps": 12,
    "eval_every": 100,
    "checkpoint_every": 5,
    "checkpoint_seconds": 0.0,
    "dropout": 0.2,
}
Make = Callable[..., Session]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A new session in tmp_path/<name>; a warning fails the test, or is put into a list."""
    text = write_text(tmp_path)

    def call(name: str, warnings: list[str] | None = None, **options: Any) -> Session:
        warn = pytest.fail if warnings is None else warnings.append
        return Session(Config().override({**SMALL, "corpus": str(text), **options}), tmp_path / name, warn=warn)

    return call


class Gate:
    """The saves that go through it wait until it is opened. entered: whether one has come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.error: Exception | None = None
        save = CheckpointFolder.save

        def save_later(folder: CheckpointFolder, *arguments: Any) -> None:
            self.entered.set()
            assert self.opened.wait(60)
            if self.error is not None:
                raise self.error
            save(folder, *arguments)

        monkeypatch.setattr(CheckpointFolder, "save", save_later)

    def open_soon(self) -> None:
        """In a moment, when this thread has gone on to wait."""
        threading.Timer(0.05, self.opened.set).start()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lmkit-writer"]


def wait_for_the_writer() -> None:
    for writer in writers():
        writer.join()


def test_a_checkpoint_is_of_the_step_at_which_it_was_begun(make: Make, gate: Gate):
    slow = make("slow")
    for record in slow.records():
        if record.step == 5:
            assert gate.entered.wait(60)
            assert len(writers()) == 1
            assert slow.checkpoints.steps() == []
        if record.step == 9:  # the weights of step 5 are gone
            gate.opened.set()
    assert writers() == []
    slow.close()

    quick = make("quick")
    for _ in quick.records():
        quick.saver.finish()
        assert writers() == []
    quick.close()
    assert_same(slow.run.path, quick.run.path)
    for step in quick.checkpoints.steps():
        one, two = (session.checkpoints.open(step).files for session in (slow, quick))
        assert {**one, "clock.json": b""} == {**two, "clock.json": b""}


LEAVE: dict[str, Callable[[Session], Any]] = {
    "the loop is left": lambda session: None,
    "a stop": Session.stop,
    "an end": Session.close,
    "a release": Session.release,
}


@pytest.mark.parametrize("leave", LEAVE.values(), ids=list(LEAVE))
def test_whoever_leaves_a_training_waits_for_its_checkpoint(make: Make, gate: Gate, leave: Callable[[Session], Any]):
    session = make("run")
    records = session.records()
    next(record for record in records if record.step == 5)
    gate.open_soon()
    if leave is LEAVE["the loop is left"]:
        records.close()
    leave(session)
    assert session.checkpoints.steps() == [5]
    assert writers() == []


def test_an_exception_in_the_training_comes_after_its_checkpoint_is_written(
    make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    session = make("run")
    with pytest.raises(KeyboardInterrupt), closing(session.records()) as records:
        for record in records:
            if record.step == 6:
                gate.open_soon()
                monkeypatch.setattr("lmkit.training.loop.take_step", interrupted)
    assert session.checkpoints.steps() == [5]


def interrupted(*arguments: Any, **options: Any) -> Any:
    raise KeyboardInterrupt


def test_a_save_that_fails_beside_the_training_is_told_at_the_next_step_and_tried_again(make: Make, gate: Gate):
    warnings: list[str] = []
    session = make("run", warnings)
    gate.error = OSError(28, "No space left on device")
    for record in session.records():
        if record.step == 7:
            assert warnings == []
            gate.opened.set()
            wait_for_the_writer()
        if record.step == 8:
            assert warnings == ["Step 5 could not be saved: No space left on device."]
            gate.error = None
    assert session.checkpoints.steps() == [10, 12]
    session.close()
    assert session.unsaved is None
    assert len(warnings) == 1


def test_a_run_that_was_replaced_meanwhile_ends_its_training_at_the_next_step(make: Make, gate: Gate):
    session = make("run")
    gate.error = FailedError("the run was replaced")
    seen = []
    with pytest.raises(FailedError, match="was replaced"):
        for record in session.records():
            seen.append(record.step)
            if record.step == 7:
                gate.opened.set()
                wait_for_the_writer()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_the_clock_begins_no_save_while_one_is_under_way(make: Make, gate: Gate):
    session = make("run", checkpoint_every=None, checkpoint_seconds=1e-9, max_steps=5)
    for record in session.records():
        if record.step == 3:
            gate.opened.set()
            session.saver.finish()
            assert session.checkpoints.steps() == [1], "the next ones did not wait for it"
    assert session.checkpoints.steps() == [4, 5]


def test_where_the_system_grants_no_thread_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer: Writer[int] = Writer()
    writer.begin(lambda: 3)
    assert writer.is_done
    assert (writer.finish(), writer.finish()) == (3, None)
