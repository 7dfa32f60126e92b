"""lmkit tokenize, corpora and info: what is there, for people and for programs."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import fields
from typing import Any

import pytest

from lmkit.cli.train import command as train
from lmkit.config import Config


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_tokens_of_a_text_are_shown_with_their_ids(cli, work, kind: str):
    (work / "hello.txt").write_text("Hello hello\nworld", encoding="utf-8")
    shown = rows(cli("tokenize", "hello.txt", "--tokenizer", kind, "--json").stdout)
    tokens = [row["token"] for row in shown]
    if kind == "char":
        assert tokens == list("Hello hello\nworld")
    elif kind == "word":
        assert tokens == ["Hello", "hello", "<eos>", "world"]
    else:
        assert len(tokens) < 17
    plain = cli("tokenize", "hello.txt", "--tokenizer", kind).stdout
    assert f"{len(tokens)} tokens" in plain
    for row in shown:
        assert f"{row['id']}:{row['token']!r}" in plain


def test_all_tokens_are_counted_and_some_shown(cli, work, text: str):
    outcome = cli("tokenize", "text.txt", "--limit", 7)
    assert f"{len(text):,} tokens" in outcome.stdout
    assert len(rows(cli("tokenize", "text.txt", "--limit", 7, "--json").stdout)) == 7
    assert len(rows(cli("tokenize", "text.txt", "--limit", len(text) + 5, "--json").stdout)) == len(text)


def test_a_text_is_tokenized_as_a_run_would(cli, work, trained):
    (work / "new.txt").write_text("The cat 🐈.", encoding="utf-8")
    expected = rows(cli("tokenize", "new.txt", "--tokenizer", trained, "--json").stdout)
    assert rows(cli("tokenize", "new.txt", "--tokenizer", trained / "tokenizer.json", "--json").stdout) == expected
    assert [row["token"] for row in expected] == [*"The cat ", "<unk>", "."]
    assert "1 of them <unk>" in cli("tokenize", "new.txt", "--tokenizer", trained).stdout


def test_standard_input_and_corpora_can_be_tokenized(cli, work):
    assert len(rows(cli("tokenize", "-", "--json", input="abc").stdout)) == 3
    assert len(rows(cli("tokenize", "pydoc", "--json", "--limit", 5).stdout)) == 5


def test_a_kind_is_that_kind_even_beside_a_folder_that_is_called_so(cli, work):
    (work / "char").mkdir()
    assert cli("tokenize", "text.txt", "--tokenizer", "char").code == 0


def test_statistics_compare_the_three_granularities(cli, work):
    outcome = cli("tokenize", "text.txt", "--stats", "--json")
    found = {row["kind"]: row for row in rows(outcome.stdout)}
    assert set(found) == {"char", "word", "bpe"}
    assert found["char"]["chars_per_token"] == 1
    assert found["word"]["tokens_per_word"] == pytest.approx(1)
    assert found["bpe"]["oov"] == 0
    assert found["char"]["tokens"] > found["bpe"]["tokens"] > found["word"]["tokens"]
    plain = cli("tokenize", "text.txt", "--stats").stdout
    for row in found.values():
        assert f"{row['vocab_size']:,}" in plain
        assert f"{row['tokens']:,}" in plain
    assert cli("tokenize", "-", "--stats", input=(work / "text.txt").read_text(encoding="utf-8")).code == 0


def test_a_table_stays_whole_where_there_is_no_terminal(cli, work, trained):
    """One row of a table is one line, so that grep and cut work."""
    (header, *_) = cli("tokenize", "text.txt", "--stats").stdout.splitlines()
    assert "characters per token" in header
    assert "tokens per word" in header


def test_a_line_of_info_stays_whole_where_there_is_no_terminal(cli, trained):
    (line,) = [line for line in cli("info", trained).stdout.splitlines() if line.startswith("options ")]
    assert "--hidden-size 16" in line
    assert "--threads 1" in line


def test_corpora_are_listed_and_described(cli):
    listed = cli("corpora").stdout
    entries = rows(cli("corpora", "--json").stdout)
    assert {"pydoc", "python-stdlib", "markov", "brackets", "copy"} <= {entry["name"] for entry in entries}
    for entry in entries:
        assert entry["name"] in listed
        assert {"name", "title", "description", "kind", "source", "licence", "size"} <= set(entry)
        described = " ".join(cli("corpora", entry["name"]).stdout.split())
        assert entry["description"] in described
        assert entry["licence"] in described
        assert rows(cli("corpora", entry["name"], "--json").stdout) == [entry]


def test_info_shows_what_a_run_holds(cli, trained):
    shown = cli("info", trained).stdout
    stored = json.loads(cli("info", trained, "--json").stdout)
    assert set(stored) >= {"config", "run", "metrics"}
    assert stored["config"]["model"]["hidden_size"] == 16
    assert f"lstm 1 x 16, {stored['run']['parameters']:,} parameters" in shown
    best = min(record["nats_per_token"] for record in stored["metrics"] if record["kind"] == "evaluation")
    assert f"{best:.4f}" in shown


def test_options_as_info_writes_them_make_the_same_configuration():
    """Those of each kind: a word, a number, a flag, lists of numbers and of names, a path with a space."""
    config = Config().override(
        {"corpus": "my texts/a.txt", "cell": "lstm", "hidden_size": 48, "tie_embeddings": True, "lr": 1e-5}
        | {"head": "adaptive", "cutoffs": (10, 20), "betas": (0.8, 0.99), "freeze": ("embedding",), "unfreeze_every": 7}
    )
    with train.make_context("train", shlex.split(shlex.join(config.arguments()))) as context:
        given = {name: value for name, value in context.params.items() if value is not None}
    names = {item.name for section in fields(config) for item in fields(getattr(config, section.name))}
    assert Config().override({name: value for name, value in given.items() if name in names}) == config
    assert Config().arguments() == []


def test_info_names_one_checkpoint_as_one(cli, damaged):
    newest, *others = sorted(
        (damaged / "checkpoints").iterdir(), key=lambda path: -int(path.name.removeprefix("step-"))
    )
    for path in others:
        shutil.rmtree(path)
    step = f"{int(newest.name.removeprefix('step-')):,}"
    assert f"; checkpoint at step {step}\n" in cli("info", damaged).stdout
    assert f"step {step} is whole" in cli("doctor", damaged).stdout


def test_info_says_what_has_become_of_a_run(cli, damaged):
    assert "finished; checkpoints at steps" in cli("info", damaged).stdout
    (damaged / "metrics.jsonl").write_text("", encoding="utf-8")
    assert "interrupted; checkpoints at steps " in (shown := cli("info", damaged).stdout)
    assert f"`lmkit train --resume {damaged}` continues it" in shown
    assert json.loads(cli("info", damaged, "--json").stdout)["status"] == "interrupted"


def test_info_lists_the_presets(cli):
    presets = json.loads(cli("info", "--presets", "--json").stdout)
    assert "pytorch-examples" in [preset["name"] for preset in presets]
    shown = cli("info", "--presets").stdout
    for preset in presets:
        assert all(preset[key] in shown for key in ("name", "purpose", "text", "time", "expected"))


@pytest.mark.parametrize("command", [(), ("train",), ("eval",), ("sample",), ("tokenize",), ("corpora",), ("info",)])
def test_help_is_there_in_both_spellings(cli, command: tuple[str, ...]):
    outcome = cli(*command, "--help")
    assert outcome.code == 0
    assert outcome.stdout.startswith("Usage: lmkit")
    assert cli(*command, "-h").stdout == outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 110


def test_the_aliases_of_commands_are_told(cli):
    shown = cli("--help").stdout
    assert all(name in shown for name in ("ppl", "perplexity", "generate"))


def test_the_version_is_shown(cli):
    import lmkit

    assert cli("--version").stdout == f"lmkit {lmkit.__version__}\n"
