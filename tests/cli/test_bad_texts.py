"""Texts that break programs: each command gives the right numbers for them, or one clear sentence, and never less."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lmkit.cli import main

KINDS = ["char", "word", "bpe"]
TEXTS = {
    "one character": b"T",
    "unknown words": "Zyx qwv\nprst 日本\n".encode() * 9,
    "one unknown word": "日本".encode(),
    "mixed line endings": b"The cat.\r\nA dog.\rThe man\n\r\nOn\r" * 5,
    "NUL bytes": b"The\0cat\0\n\0\0A dog.\n\0" * 5,
    "a NUL byte": b"\0",
    "no space for long": b"ab1,it's2be!" * 300,
    "blank lines": b"  \n \n\t\n" * 9,
}
# each text for each kind of token, with one policy or the other
CASES = [(name, kind, ("carry", "line")[(i + j) % 2]) for i, name in enumerate(TEXTS) for j, kind in enumerate(KINDS)]
PAIRS = [["char", "other"], ["char", "bpe"], ["word", "char"]]
LONG = 10_000_000  # bytes of a line


@pytest.fixture(scope="module")
def models(trained_once: Path, small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind of token, and one more of characters."""
    folder = tmp_path_factory.mktemp("models")
    kinds: dict[str, list[object]] = {"word": ["word"], "bpe": ["bpe", "--vocab-size", 290], "other": ["char"]}
    for name, options in kinds.items():
        corpus, out = trained_once / "text.txt", folder / name
        arguments = ["train", "--corpus", corpus, "--out", out, *small, "--max-steps", 5, "--tokenizer", *options]
        result = CliRunner().invoke(main, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
    return {"char": trained_once / "run", **{name: folder / name for name in kinds}}


@pytest.fixture
def file(work: Path) -> Path:
    return work / "strange.txt"


@pytest.fixture
def measured(cli, models, file):
    """The metrics of lmkit eval on the strange text; JSON without NaN, which is none."""

    def call(kind: str, *options: object) -> dict[str, Any]:
        outcome = cli("eval", models[kind], "--file", file, "--threads", 1, "--json", *options)
        assert outcome.code == 0, outcome
        metrics: dict[str, Any] = json.loads(outcome.stdout, parse_constant=pytest.fail)
        return metrics

    return call


@pytest.fixture
def rows(cli, models, file):
    """The rows of lmkit score on the strange text."""

    def call(kind: str, *options: object) -> list[dict[str, Any]]:
        outcome = cli("score", models[kind], file, "--threads", 1, "--json", *options)
        assert outcome.code == 0, outcome
        return [json.loads(line, parse_constant=pytest.fail) for line in outcome.stdout.splitlines()]

    return call


def total(found: list[dict[str, Any]]) -> float:
    assert all(math.isfinite(row["logprob_nats"]) for row in found)
    return math.fsum(row["logprob_nats"] for row in found)


# Right numbers


@pytest.mark.parametrize(("name", "kind", "state"), CASES)
def test_a_strange_text_is_scored_and_measured_alike(rows, measured, file, name: str, kind: str, state: str):
    file.write_bytes(TEXTS[name])
    text = TEXTS[name].decode()
    metrics = measured(kind, "--state", state)
    assert (metrics["chars"], metrics["bytes"]) == (len(text), len(TEXTS[name]))
    tokens, lines = (rows(kind, "--state", state, "--per", per) for per in ("token", "line"))
    for found in (tokens, lines):
        assert total(found) == pytest.approx(-metrics["nll_nats"], rel=1e-5)
    assert len(tokens) == metrics["tokens"] == sum(line["tokens"] for line in lines)
    assert sum(token["oov"] for token in tokens) == metrics["oov_tokens"]
    assert [text[line["start"] : line["end"]] for line in lines] == re.findall(r"[^\n]*\n|[^\n]+", text)
    if kind != "word":
        assert {place for token in tokens for place in range(token["start"], token["end"])} == set(range(len(text)))


@pytest.mark.parametrize(("name", "kind", "state"), CASES)
def test_the_words_of_a_strange_text_are_all_there(rows, file, name: str, kind: str, state: str):
    file.write_bytes(TEXTS[name])
    text = TEXTS[name].decode()
    words = rows(kind, "--state", state, "--per", "word")
    assert [word["text"] for word in words if word["text"].strip()] == text.split()
    tokens = total(rows(kind, "--state", state))
    if kind == "word" or text.endswith("\n"):
        assert total(words) == pytest.approx(tokens, rel=1e-5)
    else:
        assert total(words) <= tokens + 1e-3  # that the last word ends is counted too


@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, PAIRS[number % 3]) for number, name in enumerate(name for name, text in TEXTS.items() if len(text) > 10)],
)
def test_a_strange_text_is_compared_on_the_figures_of_eval(
    cli, refused, models, measured, file, name: str, pair: list[str]
):
    file.write_bytes(TEXTS[name])
    expected = [measured(kind) for kind in pair]
    arguments = ("compare", *(models[kind] for kind in pair), "--file", file, "--threads", 1)
    if pair != ["char", "other"]:
        if expected[0]["oov_tokens"] > 0 or "word" in pair:
            assert "--allow-lossy" in refused(*arguments)
        arguments = (*arguments, "--allow-lossy")
    assert cli(*arguments).code == 0
    runs = json.loads(cli(*arguments, "--json").stdout, parse_constant=pytest.fail)["runs"]
    assert [run["nll"] for run in runs] == [pytest.approx(found["nll_nats"], rel=1e-5) for found in expected]


@pytest.mark.parametrize("per", ["token", "word", "line"])
def test_a_text_of_unknown_words_alone_gets_scores_and_a_note(cli, models, measured, file, per: str):
    file.write_bytes("Zyx qwv 日本".encode())
    outcome = cli("score", models["word"], file, "--per", per, "--threads", 1)
    assert outcome.code == 0
    assert outcome.stderr == "Note: all 3 tokens are <unk>: the scores say nothing about the text.\n"
    metrics = measured("word")
    assert (metrics["oov_tokens"], metrics["oov_rate"], metrics["perplexity_excluding_oov"]) == (3, 1.0, None)
    assert cli("eval", models["word"], "--file", file, "--threads", 1).code == 0


# Refusals


def refuse_everywhere(refused: Any, run: Path, file: Path, content: bytes, word: str) -> None:
    file.write_bytes(content)
    for state in ("carry", "line"):
        for per in ("token", "word", "line"):
            assert word in refused("score", run, file, "--per", per, "--state", state, "--threads", 1)
        assert word in refused("eval", run, "--file", file, "--state", state, "--rows", 4, "--threads", 1)
        assert word in refused("eval", run, "--file", "-", "--state", state, "--threads", 1, input=content)
    assert word in refused("compare", run, run, "--file", file, "--threads", 1)
    assert "empty" in refused("score", run, "--nbest", file, "--threads", 1)


def test_an_empty_text_is_refused_by_every_command(refused, models, file):
    refuse_everywhere(refused, models["bpe"], file, b"", "empty")


def test_white_space_alone_is_no_text_for_words(refused, models, file):
    refuse_everywhere(refused, models["word"], file, b" \t\r", "only white space")


@pytest.mark.parametrize("short", [b"T", b"abc"], ids=ascii)
def test_a_text_too_short_to_compare_on_is_refused(refused, models, file, short: bytes):
    file.write_bytes(short)
    for pair in (["char", "other"], ["char", "bpe"], ["word", "word"], ["word", "bpe"]):
        arguments = (*(models[kind] for kind in pair), "--file", file, "--allow-lossy", "--threads", 1)
        assert "too short to compare" in refused("compare", *arguments)


def test_an_n_gram_model_of_another_vocabulary_is_refused(refused, models, work, file):
    file.write_text("The cat.\n", encoding="utf-8")
    words = "-0.5\t<s>\n-0.5\t</s>\n-0.5\tcat\n-0.5\tzebra\n"
    (work / "zoo.arpa").write_text(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{words}\n\\end\\\n", encoding="utf-8")
    for kind in KINDS:
        for arguments in ((), ("--file", file)):
            message = refused("eval", models[kind], "--arpa", "zoo.arpa", "--threads", 1, *arguments)
            assert "zoo.arpa does not fit the tokenizer" in message
            assert "zebra" in message


def test_a_model_of_another_vocabulary_cannot_be_mixed_in(refused, models):
    for kind, other in (("char", "word"), ("word", "bpe"), ("bpe", "char")):
        message = refused("eval", models[kind], "--mix", models[other], "--threads", 1)
        assert "the same tokenizer" in message


# N-best lists


@pytest.mark.parametrize(("score", "line_end"), [("one", "\n"), ("-1\0", "\r\n")], ids=ascii)
def test_a_score_that_is_no_number_is_named_with_its_line(refused, models, work, score: str, line_end: str):
    lines = ["1\t-1\tThe cat.", "", "1\t-2\tA\rdog\0.", f"2\t{score}\tA man."]
    (work / "list.txt").write_bytes(line_end.join(lines).encode())
    message = refused("score", models["char"], "--nbest", "list.txt", "--threads", 1)
    assert message.startswith("list.txt, line 4: the score ")
    assert "not a number" in message


@pytest.mark.parametrize("kind", KINDS)
def test_strange_hypotheses_are_scored_as_the_lines_that_they_are(cli, models, work, kind: str):
    texts = ["T", "", "The\0cat", "A\rdog", "日本", "  ", "the cat " * 500]
    listed = "".join(f"{number}\t-1\t{text}\r\n" for number, text in enumerate(texts))
    (work / "list.txt").write_bytes(listed.encode())
    outcome = cli("score", models[kind], "--nbest", "list.txt", "--threads", 1, "--json")
    assert outcome.code == 0, outcome
    found = [json.loads(line, parse_constant=pytest.fail) for line in outcome.stdout.splitlines()]
    assert [row["text"] for row in found] == texts
    (work / "lines.txt").write_bytes("".join(text + "\n" for text in texts).encode())
    lines = cli("score", models[kind], "lines.txt", "--per", "line", "--state", "line", "--threads", 1, "--json")
    expected = [json.loads(line)["logprob_nats"] for line in lines.stdout.splitlines()]
    assert [row["logprob_nats"] for row in found] == pytest.approx(expected, rel=1e-5)


# A line of 10 MB


@pytest.mark.parametrize("size", [LONG // 50, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_long_word_is_one_unknown_word(rows, measured, refused, models, file, size: int):
    file.write_bytes(b"x" * size)
    metrics = measured("word")
    assert (metrics["tokens"], metrics["oov_tokens"], metrics["chars"]) == (1, 1, size)
    assert metrics["nll_nats"] == pytest.approx(measured("word", "--state", "line")["nll_nats"])
    for per in ("token", "word", "line"):
        (row,) = rows("word", "--per", per)
        assert row["logprob_nats"] == pytest.approx(-metrics["nll_nats"], rel=1e-5)
        assert (row["start"], row["end"]) == (0, size)
    assert "too short to compare" in refused("compare", models["word"], models["word"], "--file", file, "--threads", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "unit"), [("char", "the cat sat "), ("word", "the cat sat "), ("bpe", "the,cat1")])
def test_a_line_of_10_mb_is_scored_measured_and_compared_alike(cli, rows, models, file, kind: str, unit: str):
    file.write_text(unit * (LONG // len(unit)) + "\n", encoding="utf-8")
    outcome = cli("eval", models[kind], "--file", file, "--rows", 256, "--threads", 1, "--json")
    metrics = json.loads(outcome.stdout)
    (row,) = rows(kind, "--per", "line", "--state", "line")
    assert row["logprob_nats"] == pytest.approx(-metrics["nll_nats"], rel=1e-3)
    assert (row["tokens"], row["end"]) == (metrics["tokens"], metrics["chars"])
    arguments = ("compare", models[kind], models[kind], "--file", file, "--rows", 256, "--threads", 1)
    (same, _) = json.loads(cli(*arguments, "--json").stdout)["runs"]
    assert same["nll"] == pytest.approx(metrics["nll_nats"], rel=1e-6)


@pytest.mark.slow
def test_a_hypothesis_of_10_mb_is_rescored(cli, models, work):
    (work / "list.txt").write_text("1\t-1\t" + "the cat sat " * (LONG // 12) + "\n", encoding="utf-8")
    outcome = cli("score", models["word"], "--nbest", "list.txt", "--threads", 1, "--json")
    assert json.loads(outcome.stdout)["tokens"] > 10**6
