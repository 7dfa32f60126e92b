"""A log holds whole lines and nothing else, whatever others do to its file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.errors import RunError
from lmkit.run.log import LONGEST_LINE, LogFile
from lmkit.session.log import SessionLog
from lmkit.training.guard import Skipped
from lmkit.training.step import StepRecord

SKIPPED = Skipped(19, 0, 3, "nonfinite", 0.0, 0.0)


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    """Three lines: of numbers 0 to 2."""
    log = LogFile(tmp_path / "log.jsonl")
    for number in range(3):
        assert log.add({"number": number})
    return log


def numbers(log: LogFile) -> list[int]:
    """All that the log holds, in lines that are whole."""
    content = log.path.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line)["number"] for line in content.splitlines()]


LINE = len(b'{"number": 0}\n')
CHANGES: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "cut after a line": (lambda path: os.truncate(path, 2 * LINE), [0, 1, 3]),
    "cut in a line": (lambda path: os.truncate(path, 2 * LINE + 5), [0, 1, 3]),
    "cut before its end": (lambda path: os.truncate(path, 3 * LINE - 1), [0, 1, 3]),
    "emptied": (lambda path: os.truncate(path, 0), [3]),
    "deleted": (Path.unlink, [3]),
    "lengthened": (lambda path: path.write_bytes(path.read_bytes() + b'{"numb'), [0, 1, 2, 3]),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=list(CHANGES))
def test_a_file_that_was_changed_between_two_lines_is_not_filled_with_zeros(
    log: LogFile, change: Callable[[Path], object], expected: list[int]
):
    change(log.path)
    assert log.add({"number": 3})
    assert numbers(log) == expected
    assert log.add({"number": 4})
    assert numbers(log) == [*expected, 4]
    assert log.length == log.path.stat().st_size
    again = LogFile(log.path)
    assert again.continue_from(log.length, log.sha256), "length and sum are those of the file"


@pytest.mark.parametrize("length", [3 * LINE + 1, 2**46, 2**62])
def test_a_length_beyond_the_file_reads_no_more_than_there_is(log: LogFile, length: int):
    again = LogFile(log.path)
    assert not again.continue_from(length, None)
    assert again.length == 3 * LINE
    assert again.add({"number": 3})
    assert numbers(again) == [0, 1, 2, 3]


def test_after_another_sum_the_log_goes_on_behind_its_last_whole_line(log: LogFile):
    again = LogFile(log.path)
    assert not again.continue_from(2 * LINE + 5, "another")
    assert again.add({"number": 3})
    assert numbers(again) == [0, 1, 3]


def test_at_the_end_whole_lines_are_kept_and_half_a_line_is_cut(log: LogFile):
    with log.path.open("ab") as file:
        file.write(b'{"number": 77')
    again = LogFile(log.path)
    again.continue_at_the_end()
    assert again.add({"number": 3})
    assert numbers(again) == [0, 1, 2, 3]


def test_at_the_end_of_a_long_log_all_lines_are_kept(log: LogFile):
    lines = json.dumps({"number": 5}).encode() + b"\n"
    log.path.write_bytes(lines * (LONGEST_LINE // len(lines) + 9) + b'{"num')
    again = LogFile(log.path)
    again.continue_at_the_end()
    assert again.add({"number": 3})
    assert numbers(again) == [*([5] * (LONGEST_LINE // len(lines) + 9)), 3]


def test_a_log_that_is_not_there_begins(tmp_path: Path):
    for begin in (LogFile.continue_at_the_end, lambda log: log.continue_from(0, None)):
        log = LogFile(tmp_path / "new.jsonl")
        begin(log)
        assert log.add({"number": 0})
        assert numbers(log) == [0]
        log.path.unlink()


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_log_that_is_a_link_is_refused_and_nothing_is_written_there(log: LogFile):
    before = log.path.read_bytes()
    link = LogFile(log.path.with_name("link.jsonl"))
    link.path.symlink_to(log.path)
    for begin in (LogFile.continue_at_the_end, lambda log: log.continue_from(0, None)):
        with pytest.raises(RunError, match="link"):
            begin(link)
    assert not link.add({"number": 3})
    assert log.path.read_bytes() == before


def test_an_interval_whose_steps_were_all_skipped_has_no_loss(tmp_path: Path):
    log = SessionLog(tmp_path)
    train: Any = SimpleNamespace(tokens=128, elapsed=1.0)
    log.add_step(StepRecord(19, 0, 0.0, 0, 1e-3, 0.0, (SKIPPED,)), train)
    log.add_step(StepRecord(20, 0, 0.0, 0, 1e-3, 0.0, (SKIPPED,)), train)
    (line,) = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert record["nats_per_token"] is None
    assert (record["nll"], record["tokens_scored"], record["skipped"]) == (0.0, 0, 2)


def test_a_line_says_how_many_steps_were_clipped_also_after_a_resume_unless_those_before_were_not_counted(
    tmp_path: Path,
):
    train: Any = SimpleNamespace(tokens=128, elapsed=1.0)
    first = SessionLog(tmp_path)
    first.add_step(StepRecord(3, 0, 2.0, 8, 1e-3, 5.0, clipped=3), train)
    checkpoint = json.loads(json.dumps(first.state_dict()))
    early = {name: value for name, value in checkpoint.items() if name != "clipped"}
    strange = {**checkpoint, "clipped": "many"}
    for values, expected in ((checkpoint, [5, 1]), (early, [None, 1]), (strange, [None, 1])):
        log = SessionLog(tmp_path)
        log.continue_from(b"", values)
        log.add_step(StepRecord(20, 0, 2.0, 8, 1e-3, 5.0, clipped=2), train)
        log.add_step(StepRecord(40, 0, 2.0, 8, 1e-3, 5.0, clipped=1), train)
        lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line).get("clipped") for line in lines[-2:]] == expected
