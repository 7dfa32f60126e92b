"""Names of files that are no UTF-8, as old archives and other systems leave them: they work like any other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmkit.cli import main


@pytest.fixture
def named(work: Path) -> Path:
    """A folder whose name is Latin-1, with one text and one picture of such a name in it."""
    folder = Path(os.fsdecode(os.fsencode(work) + b"/t\xe9xts"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    (folder / os.fsdecode(b"b\xf6ok.txt")).write_bytes((work / "text.txt").read_bytes())
    (folder / os.fsdecode(b"p\xefcture.png")).write_bytes(b"\x89PNG\0\xff")
    return folder


@pytest.mark.parametrize("of_folder", [False, True], ids=["file", "folder"])
def test_a_text_whose_name_is_not_utf8_is_trained_resumed_and_measured(cli, named, small, of_folder: bool):
    corpus = named if of_folder else named / os.fsdecode(b"b\xf6ok.txt")
    run = named / os.fsdecode(b"r\xfcn")
    trained = cli("train", "--corpus", corpus, "--out", run, *small, "--max-steps", 3)
    assert trained.code == 0, trained.stderr
    resumed = cli("train", "--resume", run, "--max-steps", 5)
    assert resumed.code == 0, resumed.stderr
    for command in ("eval", "info", "doctor"):
        outcome = cli(command, run)
        assert outcome.code == 0, outcome.stderr
    compared = cli("compare", run, run)
    assert compared.code == 0, compared.stderr
    measured = cli("eval", run, "--file", corpus, "--json", "--threads", 1)
    assert measured.code == 0, measured.stderr


def test_standard_output_names_a_run_by_its_very_bytes(cli, named, small):
    run = named / os.fsdecode(b"r\xfcn")
    cli("train", "--corpus", "copy:2000", "--out", run, *small, "--max-steps", 1)
    assert os.fsencode(run) in CliRunner().invoke(main, ["info", str(run)]).stdout_bytes
