"""lmkit eval: one number whatever the window, in every unit, on the text that was meant."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import pytest

import lmkit

KEYS = {
    "nll_nats",
    "tokens",
    "perplexity",
    "bits_per_token",
    "bits_per_char",
    "bits_per_byte",
    "word_perplexity",
    "oov_tokens",
    "perplexity_excluding_oov",
    "state",
    "rows",
    "warmup",
    "window",
    "precision",
    "split",
    "lossless",
}
HOW = {"window", "rows", "warmup", "split", "state", "precision", "seams_repaired", "seams_open"}


@pytest.fixture
def measure(cli):
    """The metrics of lmkit eval --json."""

    def call(*arguments: object, input: str | None = None) -> dict[str, Any]:
        outcome = cli("eval", *arguments, "--json", "--threads", 1, input=input)
        assert outcome.code == 0, outcome.stderr
        assert outcome.stdout.count("\n") == 1
        metrics: dict[str, Any] = json.loads(outcome.stdout)
        return metrics

    return call


def numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in HOW and type(value) in (int, float)}


def test_json_has_every_metric(measure, trained):
    metrics = measure(trained)
    assert set(metrics) >= KEYS
    assert (metrics["split"], metrics["state"], metrics["precision"]) == ("test", "carry", "float32")
    assert (metrics["rows"], metrics["lossless"], metrics["oov_tokens"]) == (1, True, 0)


def test_in_eight_bits_the_perplexity_is_near_and_says_so(measure, trained):
    exact, rounded = measure(trained), measure(trained, "--decoder", "int8")
    assert rounded["perplexity"] != exact["perplexity"]
    assert rounded["perplexity"] == pytest.approx(exact["perplexity"], rel=0.05)
    assert "The matrices of this model were rounded to eight bits (--decoder int8)." in rounded["notes"]
    assert rounded["tokens"] == exact["tokens"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--cache", 10), "Test-time adapters work on matrices in float32: leave out --decoder int8."),
        (("--precision", "bfloat16"), "--precision bfloat16 does not go with --decoder int8: leave one out."),
    ],
)
def test_what_does_not_go_with_eight_bits_is_refused(cli, trained, options, says):
    outcome = cli("eval", trained, "--decoder", "int8", *options, "--threads", 1)
    assert outcome.code == 2
    assert says in " ".join(outcome.stderr.split())


def test_the_figures_follow_from_the_sum_and_the_counts(measure, trained, text: str):
    metrics = measure(trained, "--file", trained.parent / "text.txt")
    nll = metrics["nll_nats"]
    assert metrics["tokens"] == metrics["chars"] == metrics["bytes"] == len(text)
    assert metrics["perplexity"] == pytest.approx(math.exp(nll / len(text)))
    assert metrics["bits_per_byte"] == pytest.approx(nll / len(text) / math.log(2))
    words = len(text.split()) + text.count("\n")
    assert metrics["word_perplexity"] == pytest.approx(math.exp(nll / words))


@pytest.mark.parametrize("window", [1, 7])
def test_the_window_changes_no_number(measure, trained, window: int):
    expected = numbers(measure(trained, "--window", 256))
    assert numbers(measure(trained, "--window", window)) == pytest.approx(expected, rel=1e-5)


def test_rows_with_a_long_warmup_agree_closely(measure, trained):
    one = measure(trained, "--rows", 1)
    four = measure(trained, "--rows", 4, "--warmup", 1000)
    assert (four["seams_repaired"], four["seams_open"]) == (0, 0)
    assert (four["rows"], four["warmup"], four["tokens"]) == (4, 1000, one["tokens"])
    assert numbers(four) == pytest.approx(numbers(one), rel=1e-4)


def test_rows_without_warmup_start_cold_and_are_repaired(measure, trained):
    metrics = measure(trained, "--rows", 4, "--warmup", 0)
    assert (metrics["rows"], metrics["warmup"]) == (4, 0)
    assert 0 < metrics["seams_repaired"] <= 3
    assert metrics["nll_nats"] == pytest.approx(measure(trained)["nll_nats"], rel=1e-5)


def test_a_row_gets_a_warmup_by_default(measure, trained):
    assert measure(trained, "--rows", 4)["warmup"] == 256
    assert measure(trained)["warmup"] == 0


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_file_with_the_text_of_a_split_gives_the_split_s_metrics(measure, trained, work, text: str, split: str):
    begin, end = json.loads((trained / "run.json").read_text(encoding="utf-8"))["corpus"]["ranges"][split]
    (work / "part.txt").write_text(text[begin:end], encoding="utf-8", newline="")
    from_split, from_file = measure(trained, "--split", split), measure(trained, "--file", "part.txt")
    assert numbers(from_split) == numbers(from_file)
    assert from_split["split"] == split
    assert from_file["split"] == "part.txt"


def test_the_splits_are_the_last_tenths_of_the_text(measure, trained, text: str):
    sizes = [measure(trained, "--split", split)["chars"] for split in ("train", "valid", "test")]
    borders = [int(0.8 * len(text)), int(0.9 * len(text)), len(text)]
    assert sizes == [borders[0], borders[1] - borders[0], borders[2] - borders[1]]


def test_standard_input_is_a_file(measure, trained, text: str):
    from_file = measure(trained, "--file", trained.parent / "text.txt")
    assert numbers(measure(trained, "--file", "-", input=text)) == numbers(from_file)


def test_unseen_characters_are_counted(measure, trained, work):
    (work / "other.txt").write_text("The cat saw Привет.\n", encoding="utf-8")
    metrics = measure(trained, "--file", "other.txt")
    assert metrics["oov_tokens"] == 6
    assert metrics["tokens"] == metrics["chars"] == 20
    assert metrics["bytes"] == 26
    assert metrics["perplexity_excluding_oov"] != metrics["perplexity"]


def test_one_character_can_be_measured(measure, trained, work):
    (work / "one.txt").write_text("T", encoding="utf-8")
    metrics = measure(trained, "--file", "one.txt")
    assert metrics["tokens"] == 1
    assert metrics["word_perplexity"] == pytest.approx(metrics["perplexity"])


def test_a_text_without_words_has_no_word_perplexity(measure, cli, trained, work):
    (work / "blank.txt").write_text("  ", encoding="utf-8")
    assert measure(trained, "--file", "blank.txt")["word_perplexity"] is None
    outcome = cli("eval", trained, "--file", "blank.txt", "--threads", 1)
    assert outcome.code == 0
    assert "nan" not in outcome.stdout


def test_the_state_can_be_reset_for_studies_and_a_note_says_so(cli, measure, trained):
    outcome = cli("eval", trained, "--state", "reset", "--window", 5, "--threads", 1)
    assert outcome.code == 0
    assert "reset" in outcome.stderr
    assert "5" in outcome.stderr
    assert measure(trained, "--state", "reset", "--window", 5)["nll_nats"] != measure(trained)["nll_nats"]
    assert cli("eval", trained, "--threads", 1).stderr == ""


@pytest.mark.parametrize(
    "tokenizer", [("char",), ("word",), ("bpe", "--vocab-size", 300)], ids=lambda options: options[0]
)
def test_the_lines_state_is_that_of_score(cli, measure, work, small, tokenizer: tuple[object, ...]):
    assert (
        cli("train", "--corpus", "text.txt", *small, "--tokenizer", *tokenizer, "--max-steps", 2, "--out", "run").code
        == 0
    )
    (work / "lines.txt").write_text("The cat sat.\n\nA  dog\r\n \nThe cat sat.\nOn", encoding="utf-8", newline="")
    outcome = cli("score", "run", "lines.txt", "--state", "line", "--columns", "logprob", "--threads", 1)
    rows = outcome.stdout.split()[1:]
    metrics = measure("run", "--file", "lines.txt", "--state", "line")
    assert metrics["tokens"] == len(rows)
    assert metrics["nll_nats"] == pytest.approx(-math.fsum(map(float, rows)), rel=1e-6)
    assert (metrics["state"], metrics["lossless"], metrics["chars"]) == ("line", tokenizer[0] != "word", 39)
    for arguments in (("--window", 1), ("--window", 7), ("--rows", 4), ("--rows", 3, "--window", 5)):
        other = measure("run", "--file", "lines.txt", "--state", "line", *arguments)
        assert numbers(other) == pytest.approx(numbers(metrics), rel=1e-6)
    assert metrics["nll_nats"] != pytest.approx(measure("run", "--file", "lines.txt")["nll_nats"], rel=1e-6)


def test_the_lines_of_a_split_are_measured_and_a_note_says_that_they_were_not_trained_so(cli, measure, trained, text):
    outcome = cli("eval", trained, "--state", "line", "--rows", 16, "--threads", 1)
    assert outcome.code == 0
    assert outcome.stderr == (
        "Note: The model was trained with state carry; this is state line: each line is read without the text before "
        "it, which usually raises the loss. Compare it only with figures of state line.\n"
    )
    assert "test: state line, 16 rows, float32" in outcome.stdout
    metrics = measure(trained, "--state", "line")
    begin, end = json.loads((trained / "run.json").read_text(encoding="utf-8"))["corpus"]["ranges"]["test"]
    lm = lmkit.load(trained, "cpu")
    alone = [lm.evaluate(line).nll for line in text[begin:end].splitlines(keepends=True)]
    assert metrics["nll_nats"] == pytest.approx(math.fsum(alone), rel=1e-6)
    assert lm.evaluate(text[begin:end], state="line").nll == pytest.approx(math.fsum(alone), rel=1e-6)


def test_a_model_that_was_trained_with_reset_is_not_said_to_be_trained_with_carry(cli, work, small):
    cli("train", "--corpus", "text.txt", *small, "--sampler", "random", "--max-steps", 1, "--out", "run")
    outcome = cli("eval", "run", "--state", "reset", "--threads", 1)
    assert outcome.code == 0
    assert "trained with state carry" not in outcome.stderr


def test_a_document_model_is_measured_document_by_document(cli, measure, work, small):
    options = ("--documents", "line", "--sampler", "document", "--max-steps", 5)
    assert cli("train", "--corpus", "text.txt", *small, *options, "--out", "run").code == 0
    one = measure("run")
    assert one["state"] == "document"
    for arguments in (("--rows", 4), ("--window", 3), ("--window", 7, "--rows", 3)):
        assert numbers(measure("run", *arguments)) == pytest.approx(numbers(one), rel=1e-5)
    assert numbers(measure("run", "--state", "carry")) != pytest.approx(numbers(one), rel=1e-5)


def test_a_word_model_s_word_perplexity_is_its_perplexity(cli, measure, work, small):
    assert (
        cli("train", "--corpus", "text.txt", *small, "--tokenizer", "word", "--max-steps", 2, "--out", "run").code == 0
    )
    metrics = measure("run")
    assert metrics["word_perplexity"] == pytest.approx(metrics["perplexity"])
    assert metrics["lossless"] is False
    shown = cli("eval", "run", "--threads", 1).stdout
    assert "lossy: lower bound" in shown


def test_words_only_leaves_line_ends_out(cli, measure, trained):
    metrics = measure(trained)
    plain = cli("eval", trained, "--threads", 1).stdout
    only = cli("eval", trained, "--words-only", "--threads", 1).stdout
    assert f"{metrics['word_perplexity']:,.4f}" in plain
    assert f"{metrics['words_only_perplexity']:,.4f}" in only
    assert "line ends" in plain
    assert "line ends" not in only


def test_every_unit_is_shown_with_its_count(cli, measure, trained):
    metrics = measure(trained)
    shown = cli("eval", trained, "--threads", 1).stdout
    for name in ("perplexity", "bits_per_token", "bits_per_char", "bits_per_byte", "word_perplexity"):
        assert f"{metrics[name]:,.4f}" in shown, name
    for name in ("tokens", "chars", "bytes", "words", "oov_tokens"):
        assert f"{metrics[name]:,}" in shown, name
    assert "test" in shown
    assert "float32" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_a_lower_precision_is_named_and_agrees_closely(measure, trained, needs_bfloat16):
    needs_bfloat16()
    lower = measure(trained, "--precision", "bfloat16")
    assert lower["precision"] == "bfloat16"
    assert lower["nats_per_token"] == pytest.approx(measure(trained)["nats_per_token"], rel=0.02)


@pytest.mark.parametrize("alias", ["ppl", "perplexity"])
def test_eval_has_other_names(cli, trained, alias: str):
    expected = cli("eval", trained, "--json", "--threads", 1).stdout
    assert cli(alias, trained, "--json", "--threads", 1).stdout == expected


def test_a_corpus_that_changed_is_refused(cli, refused, work, small, text: str):
    assert cli("train", "--corpus", "text.txt", *small, "--max-steps", 1, "--out", "run").code == 0
    assert cli("eval", "run", "--threads", 1).code == 0
    (work / "text.txt").write_text(text[:-5] + "moon\n", encoding="utf-8", newline="")
    message = refused("eval", "run", "--threads", 1)
    assert "changed" in message
    assert "--file" in message
    assert cli("eval", "run", "--file", "text.txt", "--threads", 1).code == 0


def test_a_corpus_that_is_gone_is_named(
    cli, refused, work, small, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    # a cache of its own: in that of the other tests the same text is known elsewhere, and would be found
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    assert cli("train", "--corpus", "text.txt", *small, "--max-steps", 1, "--out", "run").code == 0
    (work / "text.txt").rename(work / "renamed.txt")
    assert "text.txt" in refused("eval", "run", "--threads", 1)
    assert cli("sample", "run", "--length", 3).code == 0


def test_a_split_that_is_not_there_is_named(cli, refused, work, small):
    options = ("--test-fraction", 0, "--max-steps", 1, "--out", "run")
    assert cli("train", "--corpus", "text.txt", *small, *options).code == 0
    message = refused("eval", "run", "--split", "test", "--threads", 1)
    assert "test" in message
    assert "valid" in message


def test_a_damaged_token_cache_changes_no_figure_and_is_said_in_one_line(
    cli, measure, trained, work, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMKIT_CACHE", str(work / "cache"))
    before = measure(trained)
    (ids,) = (work / "cache").glob("tokens/*/test.ids")
    ids.write_bytes(bytes(255 - id for id in ids.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = cli("eval", trained, "--json", "--threads", 1)
    assert outcome.stderr == "Note: The token cache of text was damaged: made again.\n"
    assert json.loads(outcome.stdout) == before


@pytest.mark.parametrize("command", ["eval", "adapters", "compare"])
def test_rows_that_do_not_fit_the_memory_are_refused_with_what_would(
    refused, trained, monkeypatch: pytest.MonkeyPatch, command: str
):
    from lmkit.model import memory

    monkeypatch.setattr(memory, "memory_size", lambda device: int(memory.PROGRAM_BYTES) + 1_000_000)
    run = {
        "eval": ["eval", trained],
        "adapters": ["eval", trained, "--cache", 10],
        "compare": ["compare", trained, trained],
    }
    found = refused(*run[command], "--file", "text.txt", "--rows", 1_000_000, "--threads", 1)
    assert "this machine has 0.4 GiB: --rows" in found
    assert "would fit." in found
