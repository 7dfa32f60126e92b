"""What people type without the manual is done where it can mean one thing only; else a sentence says what to type."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import click
import pytest

from lmkit.cli import COMMANDS, main

COMMAND_NAMES = sorted(COMMANDS)


@pytest.fixture
def runs(work: Path, trained: Path) -> Path:
    """Two runs in the folder runs, text-2 the newer one."""
    for number in (1, 2):
        shutil.copytree(trained, work / "runs" / f"text-{number}")
        (work / "runs" / f"text-{number}" / "config.json").touch()
    return work / "runs"


@pytest.fixture
def run(runs: Path) -> str:
    """The name of the only run."""
    shutil.rmtree(runs / "text-2")
    return "text-1"


# Texts and runs as arguments


def test_a_text_can_be_given_to_train_as_an_argument(cli, work, small):
    options = (*small, "--max-steps", 2)
    assert cli("train", "text.txt", *options, "--out", "one").code == 0
    assert cli("train", "--corpus", "text.txt", *options, "--out", "two").code == 0
    for name in ("config.json", "model.safetensors"):
        assert (work / "one" / name).read_bytes() == (work / "two" / name).read_bytes()


def test_a_text_is_given_once(refused, work):
    assert "not both" in refused("train", "text.txt", "--corpus", "text.txt")
    assert "cat" in refused("train", "text.txt", "text.txt")


def test_what_is_no_text_is_named_for_what_it_is(refused, run):
    assert f"lmkit train --resume runs/{run}" in refused("train", f"runs/{run}")
    assert "lmkit train TEXT --preset shakespeare-2min" in refused("train", "shakespeare-2min")
    assert f"lmkit compare {run} runs/{run}" in refused("eval", run, f"runs/{run}")


def test_a_text_can_be_given_to_eval_as_an_argument(cli, trained, work, refused):
    (work / "other.txt").write_text("The cat sat.\n", encoding="utf-8")
    assert cli("eval", trained, "other.txt").stdout == cli("eval", trained, "--file", "other.txt").stdout
    assert cli("eval", trained, "valid").stdout == cli("eval", trained, "--split", "valid").stdout
    assert "not both" in refused("eval", trained, "other.txt", "--file", "other.txt")
    assert "not both" in refused("eval", trained, "other.txt", "--split", "valid")


def test_a_prompt_can_be_given_to_sample_as_an_argument(cli, trained, refused):
    expected = cli("sample", trained, "--prompt", "The cat", "--length", 9).stdout
    assert cli("sample", trained, "The", "cat", "--length", 9).stdout == expected
    assert "once" in refused("sample", trained, "The", "--prompt", "cat")


def test_a_run_is_found_in_the_folder_of_runs(cli, runs):
    assert cli("eval", "text-2").stdout == cli("eval", runs / "text-2").stdout
    assert cli("info", "text-2").stdout.startswith("runs/text-2")


def test_a_command_without_a_run_takes_the_only_one(cli, run):
    assert cli("sample", "--length", 5).stdout == cli("sample", run, "--length", 5).stdout
    assert cli("eval").stdout == cli("eval", run).stdout
    assert cli("score", input="The").stdout == cli("score", run, input="The").stdout


def test_a_command_without_a_run_lists_those_there_are(refused, runs):
    for command in ("sample", "eval", "score", "info"):
        message = refused(command)
        assert f"lmkit {command} text-" in message
        assert "text-1" in message
        assert "text-2" in message


def test_a_command_without_any_run_says_how_to_make_one(refused, work):
    assert "lmkit train TEXT" in refused("sample")


def test_a_run_that_is_nearly_named_is_suggested(refused, runs):
    assert "Did you mean runs/text-2?" in refused("eval", "tex-2")
    assert "Did you mean runs/text-2?" in refused("eval", "runs/tet-2")
    assert "text-1" in refused("eval", "nothing")
    assert "is a file, not a run" in refused("eval", "text.txt")


def test_a_text_can_be_given_to_doctor_as_an_argument(cli, work):
    assert cli("doctor", "text.txt").stdout == cli("doctor", "--corpus", "text.txt").stdout


def test_a_file_that_is_nearly_named_is_suggested(refused, work):
    for name in ("text", "tex.txt", "./tex.txt"):
        assert re.search(r"did you mean (\./)?text\.txt\?", refused("train", name)), name


def test_a_file_in_the_place_of_a_command_is_one_to_train_on(refused, work):
    assert "`lmkit train text.txt`" in refused("text.txt")


# Options of other programs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--init", "x"), "--resume RUN to continue"),
        (("train", "--max-hours", "2"), "--max-seconds"),
        (("train", "--pretrained", "run"), "--init-from RUN"),
        (("train", "--output", "x"), "--out"),
        (("train", "--hiden-size", "5"), "did you mean --hidden-size?"),
        (("train", "--hiden_size", "5"), "did you mean --hidden-size?"),
        (("train", "--transformer"), "--cell transformer"),
        (("train", "--zzzz"), "`lmkit train --help-all`"),
        (("sample", "--num-samples", "5"), "--num"),
        (("sample", "--count", "5"), "use --num."),
        (("eval", "--max-hours", "2"), "`lmkit eval --help-all`"),  # a hint is given where its option is known
        (("--corpus", "text.txt"), "There is no option --corpus"),
    ],
    ids=str,
)
def test_an_option_that_is_not_there_says_what_is(refused, work, arguments: tuple[str, ...], words: str):
    assert words in refused(*arguments)


def test_minutes_are_sixty_seconds(cli, work, small):
    assert cli("train", "text.txt", *small, "--max-steps", 1, "--max-minutes", 1.5, "--out", "run").code == 0
    assert json.loads((work / "run" / "config.json").read_text())["training"]["max_seconds"] == 90


def test_a_gpu_is_a_cuda_device(refused, trained, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA GPU found" in refused("train", "text.txt", "--gpu")
    assert refused("eval", trained, "--gpu") == refused("eval", trained, "--device", "cuda")


# Files that are no UTF-8 text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("one\nna\xefve\n".encode("latin-1"), ["line 2", "Latin-1", "`iconv -f LATIN1 -t UTF-8 ", "other-utf8.txt`"]),
        (b"\x93one\x94\n", ["line 1", "Windows-1252", "`iconv -f WINDOWS-1252 -t UTF-8 "]),
        ("one\n".encode("utf-16"), ["UTF-16", "`iconv -f UTF-16 -t UTF-8 "]),
        (b"%PDF-1.4\none", ["is a PDF, not text", "pdftotext"]),
        (b"PK\x03\x04one", [".docx", "plain text"]),
        (b"\x1f\x8bone", ["gzip", ".gz"]),
        (b"one\0\xff", ["binary"]),
        (
            "é\n".encode() + b"e\xe9 ",
            ["line 2", "correct that line"],
        ),  # no other encoding: it would spoil the first line
        ("é".encode()[:1], ["cut off"]),
    ],
    ids=["latin", "windows", "utf16", "pdf", "docx", "gzip", "binary", "damaged", "cut off"],
)
def test_a_file_that_is_no_utf8_says_what_it_is_and_what_to_do(refused, work, content: bytes, words: list[str]):
    (work / "other.txt").write_bytes(content)
    message = refused("train", "other.txt")
    assert "other.txt" in message
    assert all(word in message for word in words), message


# Help


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_help_is_short_and_the_whole_is_there_too(cli, command: str):
    short, whole = cli(command, "--help").stdout, cli(command, "--help-all").stdout
    options = [line for line in short.splitlines() if line.startswith("  -")]
    assert len(options) <= 15
    with click.Context(main) as context:
        shown = main.get_command(context, command)
    assert isinstance(shown, click.Command)
    for option in shown.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert any(name in whole for name in option.opts), option.name


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_no_help_shows_a_bound_that_nobody_meets(cli, command: str):
    assert not re.search(r"\d{9}", cli(command, "--help-all").stdout)


def test_no_message_shows_a_bound_that_nobody_meets(refused, work, trained):
    for arguments in (("train", "--seed"), ("sample", trained, "--num"), ("eval", trained, "--rows")):
        message = refused(*arguments, 10**15)
        assert "must be below 2^31" in message
        assert str(2**31) not in message
        assert str(2**31 - 1) not in message
