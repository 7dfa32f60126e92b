"""What people see: a curve in one line, a training on a terminal and without one, nothing lost on the way."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from lmkit.config import Config, DataConfig
from lmkit.console import training as console_training
from lmkit.console.terminal import progress as console_progress
from lmkit.console.terminal.numbers import duration, learning_rate, number, rounded, sparkline
from lmkit.console.terminal.output import open_console
from lmkit.console.terminal.progress import ProgressLine
from lmkit.console.training import TrainingDisplay
from lmkit.console.wording import TEXT as TEXT_WORDING
from lmkit.console.wording import split_sizes
from lmkit.evaluation.measurement import Measurement, measure
from lmkit.evaluation.perplexity import Evaluation
from lmkit.session.language.measurements import TextMeasurements
from lmkit.session.session import Session
from lmkit.text import build_corpus
from lmkit.training.state import ValidationHistory
from tests.runs import SMALL

TEXT = "The cat sat on the mat. The dog ran to the tree.\n" * 80
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Show = Callable[..., tuple[str, str]]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call draws, and nothing is drawn between two calls."""
    monkeypatch.setattr(console_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(console_progress, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(ProgressLine, "_tick", lambda self: None)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich believes in a terminal of 80 columns."""
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at_once: None) -> Show:
    """Train a few steps with the display; gives standard output and standard error."""

    def call(
        *,
        terminal: bool = False,
        columns: int = 80,
        sample: str = "A sample.",
        pause: float = 0.0,
        out: str = "run",
        **options: Any,
    ) -> tuple[str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        if terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")  # rich then believes in a terminal
        monkeypatch.setattr(console_training, "PLAIN_SECONDS", 0.0)
        monkeypatch.setattr(console_training, "VALIDATION_SECONDS", pause)
        monkeypatch.setattr(console_training, "DETAILS_SECONDS", (0.0, 0.0))
        (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
        values = {**SMALL, "corpus": str(tmp_path / "text.txt"), "max_steps": 6, "eval_every": 3, **options}
        monkeypatch.setattr(type(TEXT_WORDING), "sample", lambda self, session, length: sample)
        with TrainingDisplay() as display:
            session = Session(Config().override(values), tmp_path / out, progress=display.line)
            display.begin(session)
            for record in session.records():
                display.record(record)
            result = session.close()
        display.result(result, sample)
        captured = capsys.readouterr()
        return captured.out, captured.err

    return call


def test_a_number_is_readable_however_large_it_is():
    assert [number(value) for value in (None, 3.27411, 2061.0666, 8.3e15, 1.2345e300)] == [
        "-",
        "3.2741",
        "2,061.0666",
        "8.3e15",
        "1.234e300",
    ]
    assert [number(value) for value in (math.inf, math.nan)] == ["inf", "nan"]


def test_a_validation_says_how_many_seams_it_left_open(show: Show, monkeypatch: pytest.MonkeyPatch):
    assert "seam" not in show()[1]
    monkeypatch.setattr(
        "lmkit.session.language.measurements.measure", partial(measure_with, Evaluation(seams_open=3, seams_repaired=1))
    )
    monkeypatch.setattr(TextMeasurements, "_one_stream_is_quick", lambda self, tokens: False)
    out, err = show(out="again")
    assert "3 seams open" in err
    assert re.search(r"\(\d+ rows with a warm-up of 256, 1 seam repaired, state carry", out)


def measure_with(more: Evaluation, *parts: Any, **how: Any) -> Measurement:
    found = measure(*parts, **how)
    return found._replace(evaluation=found.evaluation + more)


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
    assert len(steps) == 5  # the sixth is the end, which other lines speak of
    for word in ("run", " %", "epoch 1", "loss", "ppl", "lr 0.0", "norm", "tok/s", " left"):
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
        assert re.search(r"\d:\d\d left|-:-- left|100 %", line), "the time that is left"
        assert line.count("━") + line.count("─") >= 5, "a bar that can be seen moving"


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


def test_the_mark_of_the_best_validation_is_explained_once(show: Show):
    _, err = show()
    assert sum("* marks the best validation so far" in line for line in err.splitlines()) == 1
    assert err.index("* marks") < err.index("s  valid ")


def test_without_validation_no_mark_is_explained(show: Show):
    _, err = show(valid_fraction=0, test_fraction=0)
    assert "*" not in err


def test_validations_and_the_closing_test_are_stages_of_a_training(show: Show):
    _, err = show(terminal=True)
    for stage in ("validating", "measuring test"):
        assert any(stage in line and "100 %" in line for line in pictures(err)), stage


def test_of_validations_that_come_at_once_the_first_and_the_last_have_a_line(show: Show, tmp_path: Path):
    _, err = show(eval_every=1, pause=math.inf)
    assert re.findall(r"step +(\d+) .* valid ", err) == ["1", "6"]
    assert re.search(r"validation [▁-█]{6} ", err)
    assert (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").count('"kind": "evaluation"') == 6


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ({}, "train 800 (80 %), valid 100 (10 %), test 100 (10 %)"),
        ({"test_fraction": 0}, "train 900 (90 %), valid 100 (10 %), no test"),
        ({"valid_fraction": 0.005, "test_fraction": 0}, "train 995 (100 %), valid 5 (0.5 %), no test"),
    ],
    ids=str,
)
def test_each_split_is_shown_with_its_share_of_the_text(tmp_path: Path, fractions: dict[str, Any], expected: str):
    (tmp_path / "text.txt").write_text("a b " * 250, encoding="utf-8")
    corpus = build_corpus(DataConfig(corpus=str(tmp_path / "text.txt"), **fractions))
    assert split_sizes(corpus.splits) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000"),
        (6.6894, "6.689"),
        (318.24, "318.2"),
        (999.94, "999.9"),
        (999.96, "1,000"),
        (48039.6, "48,040"),
        (2.5e8, "250,000,000"),
        (math.inf, "inf"),
    ],
)
def test_a_perplexity_has_four_digits_and_no_exponent(value: float, text: str):
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(20.0, "20"), (0.003, "0.003"), (0.00294123, "0.00294"), (2.94e-5, "0.0000294"), (1500.0, "1500"), (0.0, "0")],
)
def test_a_learning_rate_has_three_digits_and_no_exponent(value: float, text: str):
    assert learning_rate(value) == text


def test_a_duration_is_that_of_a_clock():
    assert [duration(seconds) for seconds in (0, 0.6, 59.4, 61, 3599.6, 3723)] == [
        "0:00",
        "0:01",
        "0:59",
        "1:01",
        "1:00:00",
        "1:02:03",
    ]


def pictures(err: str) -> list[str]:
    """What a terminal showed one after the other."""
    return [line for line in re.split(r"[\r\n]", CONTROL.sub("", err)) if line]


def test_the_stages_of_some_work_are_named(at_once: None, terminal: None, capsys: pytest.CaptureFixture[str]):
    with ProgressLine() as line:
        for stage in ("reading", "encoding"):
            for part in (0.0, 0.5, 1.0):
                line(stage, part)
    err = capsys.readouterr().err
    heads = [picture[: picture.index(" %")].split() for picture in pictures(err)]
    assert [(head[0], head[-1]) for head in heads] == [
        (stage, part) for stage in ("reading", "encoding") for part in ("0", "50", "100")
    ]
    assert err.endswith("\r\x1b[2K"), "the line is gone when the work is done"


def test_work_that_cannot_say_how_far_it_is_shows_the_time(
    at_once: None, terminal: None, capsys: pytest.CaptureFixture[str]
):
    with ProgressLine() as line:
        line("merging")
        line("merging", details=["7 rounds"])
    assert all(re.fullmatch(r"\S merging  0:0\d(  7 rounds)?", one) for one in pictures(capsys.readouterr().err))


def test_quick_work_shows_nothing(terminal: None, capsys: pytest.CaptureFixture[str]):
    with ProgressLine() as line:
        line("reading", 0.5)
    assert capsys.readouterr().err == ""


def test_work_is_silent_without_a_terminal_until_it_takes_long(capsys: pytest.CaptureFixture[str]):
    with ProgressLine() as line:
        line("reading", 0.5)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_line_is_of_work_that_lasts_and_is_not_done(
    at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with ProgressLine(plain_seconds=0.0) as line:
        line("run", 0.5)
        line("validating", 1.0)
        monkeypatch.setattr(console_progress, "PATIENCE", 60.0)
        line("validating", 0.5)
        line("run", 0.6)
    (shown,) = capsys.readouterr().err.splitlines()
    assert re.match(r"run +50 %", shown)


def test_a_line_above_the_progress_takes_its_place(at_once: None, terminal: None, capsys: pytest.CaptureFixture[str]):
    with ProgressLine() as line:
        line("reading", 0.5)
        with line.hidden():
            print("found something", file=sys.stderr)
        line("reading", 0.6)
    err = capsys.readouterr().err
    assert "\r\x1b[2Kfound something\n" in err
    assert "reading" in err.partition("found something\n")[2]


def test_a_stage_of_strangers_cannot_steer_the_terminal(
    at_once: None, terminal: None, capsys: pytest.CaptureFixture[str]
):
    with ProgressLine() as line:
        line("scoring \x1b[31mred " + "長" * 100, 0.5)
    (picture,) = pictures(capsys.readouterr().err)
    assert "\x1b" not in picture
    assert cell_len(picture) < 80


def test_a_terminal_that_is_gone_ends_the_progress_and_not_the_work(
    at_once: None, terminal: None, monkeypatch: pytest.MonkeyPatch
):
    class Gone(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise OSError(5, "Input/output error")

    gone = Gone()
    with ProgressLine(open_console(file=gone)) as line:
        line("reading", 0.1)
        line("reading", 0.2)
    assert gone.writes == 1


def test_the_curve_of_validation_ends_in_the_figure_of_the_model_that_is_kept(capsys: pytest.CaptureFixture[str]):
    display = TrainingDisplay(TEXT_WORDING)
    display.curve = [1.0, 0.5, 0.7]
    kept = ValidationHistory(best=0.7, best_step=3)  # the fewest errors, not the least nats
    train = SimpleNamespace(validations=kept, step=3, tokens=9, elapsed=1.0)
    display.session = SimpleNamespace(train=train)  # type: ignore[assignment]  # all that a summary looks at
    display.summary()
    assert "1.000 → 0.700 nats per token" in capsys.readouterr().err
