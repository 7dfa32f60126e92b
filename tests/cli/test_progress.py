"""What takes long says how far it is, on standard error alone, and numbers do not know of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.console.terminal import progress as console_progress
from lmkit.console.terminal.progress import ProgressLine
from lmkit.evaluation.ngram.arpa import read_arpa, write_arpa
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.text import CharacterTokenizer

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that shows every report at once."""
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(console_progress, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(ProgressLine, "_tick", lambda self: None)


def stages(err: str) -> list[str]:
    """The stages that were shown, in order, with what stands at their end."""
    lines = [line for line in re.split(r"[\r\n]", CONTROL.sub("", err)) if line]
    names = [re.split(r" [━─]|  ", re.sub(r"^[⠀-⣿] ", "", line))[0] for line in lines]
    return list(dict.fromkeys(names))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "RUN"], ["loading", "measuring test"]),
        (["eval", "RUN", "--rows", "4", "--split", "valid"], ["loading", "measuring valid"]),
        (["eval", "RUN", "--file", "TEXT"], ["loading", "measuring TEXT"]),
        (
            ["eval", "RUN", "--ngram", "2", "--tune"],
            ["loading", "counting 2-grams", "tuning, pass 1", "tuning, pass 2", "measuring test"],
        ),
        (["eval", "RUN", "--dynamic"], ["loading", "measuring gradients", "measuring test"]),
        (["score", "RUN", "TEXT", "--json"], ["loading", "scoring"]),
        (["score", "RUN", "TEXT", "--json", "--per", "line", "--state", "line"], ["loading", "scoring"]),
        (["score", "RUN", "--nbest", "LIST", "--json"], ["loading", "rescoring"]),
        (["compare", "RUN", "RUN", "--resamples", "100"], ["loading", "scoring RUN", "comparing"]),
        (["sample", "RUN", "--length", "20", "--num", "2"], ["loading", "generating"]),
        (["tokenize", "TEXT", "--tokenizer", "bpe", "--vocab-size", "300"], ["training the tokenizer"]),
        (["tokenize", "TEXT", "--stats"], ["training the tokenizer", "building the vocabulary", "encoding"]),
    ],
    ids=lambda part: "" if part[0] == "loading" else " ".join(part),
)
def test_each_command_says_how_far_it_is(watching, cli, trained, work, arguments, expected):
    (work / "list.txt").write_text("1\t-1.5\tThe cat sat.\n1\t-1.25\tThe dog ran.\n", encoding="utf-8")
    text = work / "new.txt"
    text.write_text((work / "text.txt").read_text(encoding="utf-8") + "The end.\n", encoding="utf-8")
    places = {"RUN": str(trained), "TEXT": "new.txt", "LIST": "list.txt"}
    json_too = [] if "--json" in arguments else ["--json"]
    outcome = cli(*(places.get(part, part) for part in arguments), *json_too)
    assert outcome.code == 0, outcome
    assert all(json.loads(line) for line in outcome.stdout.splitlines())
    found = stages(outcome.stderr)
    wanted = [re.sub("RUN|TEXT", lambda name: places[name[0]], stage)[:40] for stage in expected]
    assert [stage for stage in wanted if any(name.startswith(stage) for name in found)] == wanted, found
    end = outcome.stderr.rpartition("\r\x1b[2K")[2]
    assert end == "" or end.startswith("Note: "), "the terminal is clean at the end"


def test_doctor_shows_its_checks_above_the_line(watching, cli, trained):
    outcome = cli("doctor", trained)
    assert outcome.code == 0, outcome
    assert {"loading", "checking"} <= set(stages(outcome.stderr))
    assert "\r" not in outcome.stdout


def test_a_mistake_after_some_work_stands_on_a_clean_line(watching, cli, trained):
    outcome = cli("eval", trained, "--file", "no-such.txt")
    assert outcome.code == 2
    assert "\r\x1b[2KError: " in outcome.stderr


def test_a_text_of_unknown_length_has_no_share(watching, cli, trained, work):
    outcome = cli("score", trained, input="The cat sat.\n" * 40)
    assert outcome.code == 0, outcome
    shown = [line for line in re.split(r"[\r\n]", CONTROL.sub("", outcome.stderr)) if "scoring" in line]
    assert shown
    assert not any("%" in line for line in shown), shown
    assert re.fullmatch(r". scoring  \d:\d\d  520 tokens", shown[-1])


@pytest.mark.parametrize("state", ["carry", "line"])
def test_the_tokens_of_a_block_are_counted_while_they_are_scored(trained, text, state):
    files = [[text, text], [text[:-1]]]
    lm = lmkit.load(trained, "cpu")
    counted: list[int] = []
    for scored in lm.score_files(
        files, state=state, documents="file", window=50, report=lambda block, tokens: counted.append(tokens)
    ):
        assert counted == sorted(counted)
        assert counted[-1] == len(scored.block)
        counted.clear()


@pytest.mark.parametrize("how", [{}, {"rows": 7, "warmup": 20}, {"state": "document"}, {"state": "line"}], ids=str)
def test_a_measurement_reports_rising_shares_up_to_one_and_stays_the_same_number(trained, how):
    lm = lmkit.load(trained, "cpu")
    _, tokens = lm.split_tokens("test", state=how.get("state"))
    silent = lm.measure(tokens, split="test", window=32, **how)
    told: list[tuple[str, float]] = []
    lm.progress = lambda stage, share: told.append((stage, share))
    assert lm.measure(tokens, split="test", window=32, **how) == silent
    shares = [share for _, share in told]
    assert {stage for stage, _ in told} == {"measuring test"}
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert shares[-1] == 1


def test_an_arpa_file_is_read_with_its_share(tmp_path: Path, monkeypatch):
    from lmkit.evaluation.ngram import arpa_sections

    tokenizer = CharacterTokenizer.train(["abc"])
    ids = np.array([2, 3, 4, 3, 2, 4, 4, 2])
    path = tmp_path / "model.arpa"
    write_arpa(NgramModel.train(ids, vocab_size=5, order=2, eos_id=1), tokenizer, path)
    monkeypatch.setattr(arpa_sections, "LINES_PER_REPORT", 1)
    shares: list[float] = []
    read_arpa(path, tokenizer, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
