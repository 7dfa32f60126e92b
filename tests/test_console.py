"""What people see: a curve in one line, a training on a terminal and without one, nothing lost on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config
from lmkit.console import training as console_training
from lmkit.console.figures import sparkline
from lmkit.console.training import TrainingDisplay
from lmkit.session import Session
from lmkit.training.step import StepRecord

TEXT = "The cat sat on the mat. The dog ran to the tree.\n" * 80
SMALL = {"hidden_size": 8, "batch_size": 4, "window": 16, "threads": 1, "precision": "float32", "device": "cpu"}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Show = Callable[..., tuple[str, str]]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Train a few steps with the display; gives standard output and standard error."""

    def call(
        *, terminal: bool = False, columns: int = 80, sample: str = "A sample.", **options: Any
    ) -> tuple[str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        if terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")  # rich then believes in a terminal
        monkeypatch.setattr(console_training, "PLAIN_SECONDS", 0.0)
        monkeypatch.setattr(console_training, "REFRESH_SECONDS", 0.0)
        (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
        values = {**SMALL, "corpus": str(tmp_path / "text.txt"), "max_steps": 6, "eval_every": 3, **options}
        with TrainingDisplay() as display:
            session = Session(Config().override(values), tmp_path / "run", progress=display.preparing)
            display.begin(session)
            for record in session.records():
                if isinstance(record, StepRecord):
                    display.step(record)
                else:
                    display.evaluation(record, sample)
            result = session.close()
        display.result(result, sample)
        captured = capsys.readouterr()
        return captured.out, captured.err

    return call


def test_a_sparkline_is_one_character_a_value():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([8, 1]) == "█▁"
    assert sparkline([5, 5, 5]) == "▁▁▁"
    assert sparkline([3]) == "▁"
    assert sparkline([]) == ""


def test_a_sparkline_passes_over_what_is_no_number():
    assert sparkline([1, math.nan, 8, math.inf]) == "▁█"
    assert sparkline([math.nan]) == ""


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    curve = [100.0, *range(1000, 0, -1), 200.0]
    line = sparkline(curve, width=20)
    assert len(line) == 20
    assert line[0] == "▁"
    assert sparkline(curve, width=60)[1] == "█"
    assert len(sparkline(list(range(61)))) == 60


def test_without_a_terminal_there_are_plain_lines(show: Show):
    out, err = show()
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    lines = err.splitlines()
    steps = [line for line in lines if "tok/s" in line]
    assert len(steps) == 6
    for word in ("loss", "ppl", "lr", "norm", "tok/s", "s left"):
        assert word in steps[0]
    assert sum("valid" in line and "A sample." in line for line in lines) == 2
    assert re.search(r"validation [▁-█]{2} ", err)
    assert "perplexity" in out
    assert "run" in out
    assert out.endswith("A sample.\n")


def test_a_validation_is_one_line_whatever_the_sample_holds(show: Show):
    _, err = show(sample="First\nsecond\tthird\r\n" + "long " * 100)
    validations = [line for line in err.splitlines() if line.startswith("step ")]
    assert len(validations) == 2
    assert all(len(line) <= 80 for line in validations)
    assert all("First" in line for line in validations)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_on_a_terminal_a_line_lives(show: Show, columns: int):
    out, err = show(terminal=True, columns=columns)
    assert "\x1b" in err
    pictures = [line for line in re.split(r"[\r\n]", CONTROL.sub("", err)) if "loss" in line]
    assert pictures
    assert max(map(len, pictures)) <= columns
    assert "perplexity" in out


@pytest.mark.parametrize("columns", [80, 100])
def test_a_usual_terminal_is_wide_enough_for_the_live_line(show: Show, columns: int):
    _, err = show(terminal=True, columns=columns)
    pictures = [line for line in re.split(r"[\r\n]", CONTROL.sub("", err)) if "loss" in line]
    for line in pictures:
        assert "…" not in line, line
        assert "%" in line
        assert re.search(r"\d:\d\d|-:--", line), "the time that is left"
        assert line.count("━") >= 5, "a bar that can be seen moving"


def test_text_is_shown_as_it_is(show: Show):
    sample = "a :key: of :heart: [bold]x[/bold] [/y] \\[z] {a} c:\\"
    out, err = show(columns=200, sample=sample)
    assert sample in out
    assert sample in err


def test_a_sample_cannot_steer_the_terminal(show: Show):
    _, err = show(sample="red \x1b[31m bell \x07 clear \x1b[2J end")
    assert not {"\x1b", "\x07"} & set(err)


def test_one_is_not_spoken_of_as_several(show: Show):
    _, err = show(max_steps=1)
    assert "1 threads" not in err
    assert "1 steps" not in err


def test_without_validation_nothing_is_called_best(show: Show):
    _, err = show(valid_fraction=0, test_fraction=0)
    assert "best" not in err
    assert "nan" not in err


def test_the_parts_before_training_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(console_training, "REFRESH_SECONDS", 0.0)
    with TrainingDisplay() as display:
        for stage in ("reading", "encoding"):
            for part in (0.0, 0.5, 1.0):
                display.preparing(stage, part)
    shown = CONTROL.sub("", capsys.readouterr().err)
    assert "reading" in shown
    assert "encoding" in shown
    assert "50 %" in shown


def test_the_parts_before_training_are_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    with TrainingDisplay() as display:
        display.preparing("reading", 0.5)
    assert capsys.readouterr().err == ""
