"""lmkit doctor: checks of a run and of a text, with an exit code that scripts can use."""

from __future__ import annotations

import json
from typing import Any

import pytest


def checks(stdout: str) -> dict[str, dict[str, Any]]:
    found = json.loads(stdout)
    assert set(found) == {"passed", "checks"}
    return {check["name"]: check for check in found["checks"]}


def test_a_sound_run_ends_with_zero_and_a_line_for_each_check(cli, trained):
    outcome = cli("doctor", trained, "--threads", 1)
    assert outcome.code == 0
    *lines, last = outcome.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    for name in ("causality", "carried windows = one pass", "rows are independent", "probabilities sum to one"):
        assert any(name in line and "largest difference" in line for line in lines)
    for name in ("tokenizer round trip", "tokenizer's hash", "finite weights"):
        assert any(name in line for line in lines)
    assert last == f"{len(lines)} checks: 0 failed, 0 with a warning"


def test_json_has_the_same_checks(cli, trained):
    outcome = cli("doctor", trained, "--json", "--threads", 1)
    found = checks(outcome.stdout)
    assert json.loads(outcome.stdout)["passed"] is True
    assert found["causality"]["status"] == "ok"
    assert found["causality"]["value"] == 0
    assert set(found["causality"]) == {"name", "status", "figure", "value", "advice"}


def test_a_damaged_run_ends_with_one(cli, damaged):
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-4:] = b"\0\0\xc0\x7f"  # not a number
    (damaged / "model.safetensors").write_bytes(weights)
    outcome = cli("doctor", damaged, "--threads", 1)
    assert outcome.code == 1
    assert outcome.stderr == ""
    assert "FAILED   weights" in outcome.stdout
    assert "finite" in outcome.stdout
    as_json = cli("doctor", damaged, "--threads", 1, "--json")
    assert as_json.code == 1
    assert json.loads(as_json.stdout)["passed"] is False


def test_a_text_is_checked_before_training(cli, work, text):
    outcome = cli("doctor", "--corpus", "text.txt", "--batch-size", 4, "--window", 16, "--threads", 1)
    assert outcome.code == 0
    for name in ("UTF-8", "line endings", "unknown tokens in test", "duplicate lines", "parameters", "memory", "time"):
        assert name in outcome.stdout
    assert "(an estimate" in outcome.stdout
    named = cli("doctor", "--corpus", "text.txt", "--batch-size", 4, "--window", 16, "--threads", 1, "--json")
    piped = cli(
        *("doctor", "--corpus", "-", "--batch-size", 4, "--window", 16, "--threads", 1, "--json"), input=text.encode()
    )
    ours, theirs = checks(named.stdout), checks(piped.stdout)
    assert {**ours, "text": None} == {**theirs, "text": None}


def test_faults_of_a_text_end_with_one_and_their_places(cli, work):
    (work / "bad.txt").write_bytes(b"good\nbad \xff\r\nworse \xfe\n")
    outcome = cli("doctor", "--corpus", "bad.txt", "--threads", 1)
    assert outcome.code == 1
    assert "FAILED   UTF-8" in outcome.stdout
    assert "bad.txt, line 2, byte offset 9: 0xff." in outcome.stdout
    assert "bad.txt, line 3, byte offset 18: 0xfe." in outcome.stdout
    assert "They are mixed" in outcome.stdout
    assert cli("doctor", "--corpus", "text.txt", "--batch-size", 9000, "--threads", 1).code == 1


def test_options_of_training_are_taken(cli, work):
    plain = ("doctor", "--corpus", "text.txt", "--json", "--threads", 1)
    wide = checks(cli(*plain, "--nhid", 64, "--tokenizer", "word", "--batch-size", 4, "--bptt", 8).stdout)
    small = checks(cli(*plain, "--hidden-size", 8, "--batch-size", 4, "--window", 8).stdout)
    assert wide["parameters"]["value"] > small["parameters"]["value"]
    assert "word tokens" in wide["splits"]["figure"]
    (work / "config.toml").write_text("[data]\ncorpus = 'text.txt'\n[training]\nbatch_size = 2\n", encoding="utf-8")
    outcome = cli("doctor", "--config", "config.toml", "--window", 8, "--json", "--threads", 1)
    assert "2 rows of 8" in checks(outcome.stdout)["size against batch and window"]["figure"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give a run folder"),
        (("absent",), "no run folder absent"),
        (("--corpus", "absent.txt"), "absent.txt"),
        (("--corpus", "text.txt", "--batch-size", 0), "--batch-size"),
        (("--corpus", "text.txt", "--head", "adaptive", "--cutoffs", "9000"), "--cutoffs"),
        (("--preset", "nothing"), "preset"),
        (("--device", "cpu"), "Give a run folder"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_mistakes_are_told_in_a_sentence(refused, work, arguments, words: str):
    assert words in refused("doctor", *arguments, "--threads", 1, "--json")


def test_a_run_takes_no_options_of_training(refused, work, trained):
    assert "not both" in refused("doctor", trained, "--hidden-size", 8)
    assert "not both" in refused("doctor", trained, "--corpus", "text.txt")
