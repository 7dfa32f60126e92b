"""lmkit sample: the same seed gives the same text, what is asked for is kept to, and the text is always whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def sample(cli):
    """The texts of lmkit sample --json."""

    def call(*arguments: object) -> list[str]:
        outcome = cli("sample", *arguments, "--json", "--threads", 1)
        assert outcome.code == 0, outcome.stderr
        return [json.loads(line)["text"] for line in outcome.stdout.splitlines()]

    return call


@pytest.fixture
def train(cli, work, small):
    def call(*arguments: object) -> Path:
        outcome = cli("train", *small, *arguments, "--out", "run")
        assert outcome.code == 0, outcome.stderr
        return Path("run")

    return call


def test_a_seed_gives_the_same_text_whatever_the_number_of_texts(sample, trained):
    for seed in range(20):
        options = ("--seed", seed, "--length", 12)
        sixteen = sample(trained, *options, "--num", 16)
        assert sample(trained, *options, "--num", 1) == sixteen[:1]
        assert sample(trained, *options, "--num", 3) == sixteen[:3]
        assert len(set(sixteen)) > 10


def test_in_eight_bits_a_text_does_not_depend_on_its_neighbours_either(sample, trained):
    options = ("--decoder", "int8", "--length", 30)
    texts = sample(trained, *options, "--num", 5)
    assert sample(trained, *options, "--num", 2) == texts[:2]
    assert len(set(texts)) == 5


def test_seeds_give_different_texts(sample, trained):
    assert len({sample(trained, "--seed", seed, "--length", 20)[0] for seed in range(20)}) == 20


def test_a_longer_text_begins_like_a_shorter_one(sample, trained):
    (short,) = sample(trained, "--length", 10)
    (long,) = sample(trained, "--length", 40)
    assert (len(short), len(long)) == (10, 40)
    assert long.startswith(short)


def test_a_text_of_one_document_does_not_end_early(sample, train):
    """In a text of one document ``<eos>`` is never a target: its small probability must not cut a sample short."""
    run = train("--corpus", "text.txt", "--max-steps", 1)
    for seed in range(5):
        (text,) = sample(run, "--length", 200, "--seed", seed)
        assert len(text) >= 200


def test_json_is_an_object_a_text(cli, trained):
    outcome = cli("sample", trained, "--prompt", "The", "--num", 2, "--seed", 5, "--length", 4, "--json")
    records: list[dict[str, Any]] = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [(record["prompt"], record["seed"], record["stream"]) for record in records] == [
        ("The", 5, 0),
        ("The", 5, 1),
    ]
    assert all(len(record["text"]) == 4 for record in records)
    assert outcome.stderr == ""


def test_the_prompt_stands_before_the_text(cli, sample, trained):
    (text,) = sample(trained, "--prompt", "The cat", "--length", 10)
    assert cli("sample", trained, "--prompt", "The cat", "--length", 10).stdout == f"The cat{text}\n"


def test_the_prompt_is_read(sample, trained):
    options = ("--length", 1, "--temperature", 0)
    texts = [sample(trained, "--prompt", prompt, *options) for prompt in ("Bir", "The", "The cat ran to")]
    assert texts == [["d"], [" "], [" "]]


def test_several_texts_are_told_apart(cli, sample, trained):
    first, second = sample(trained, "--num", 2, "--length", 5)
    shown = cli("sample", trained, "--num", 2, "--length", 5).stdout
    assert shown.index(first) < shown.index("2 of 2") < shown.rindex(second)


@pytest.mark.parametrize("rule", [("--temperature", 0), ("--top-k", 1), ("--top-p", 1e-9), ("--min-p", 1)], ids=str)
def test_a_rule_that_leaves_one_token_gives_one_text(sample, trained, rule: tuple[object, ...]):
    texts = {text for seed in range(3) for text in sample(trained, *rule, "--seed", seed, "--num", 2, "--length", 25)}
    assert texts == set(sample(trained, "--temperature", 0, "--length", 25))


@pytest.mark.parametrize("rule", [("--top-k", 5), ("--top-p", 0.5), ("--min-p", 0.1), ("--temperature", 0.3)], ids=str)
def test_a_rule_changes_the_text(sample, trained, rule: tuple[object, ...]):
    assert sample(trained, *rule, "--length", 50) != sample(trained, "--length", 50)


def test_the_text_ends_before_a_stop_string(sample, trained):
    (whole,) = sample(trained, "--length", 60)
    stop = whole[30:33]
    (cut,) = sample(trained, "--length", 60, "--stop", stop)
    assert cut == whole[: whole.index(stop)]
    (earlier,) = sample(trained, "--length", 60, "--stop", stop, "--stop", whole[10:13])
    assert earlier == whole[: min(whole.index(stop), whole.index(whole[10:13]))]
    assert sample(trained, "--length", 60, "--stop", "no such text") == [whole]


def test_unseen_characters_of_the_prompt_are_named_and_read_as_unknown(cli, trained):
    outcome = cli("sample", trained, "--prompt", "The Привет", "--length", 5)
    assert outcome.code == 0
    assert outcome.stdout.startswith("The Привет")
    assert outcome.stderr.count("\n") == 1
    assert all(character in outcome.stderr for character in "Привет")
    assert "T" not in outcome.stderr.replace("Note: the", "")
    assert cli("sample", trained, "--prompt", "The", "--length", 5).stderr == ""


def test_an_unseen_word_of_the_prompt_is_named(cli, train):
    run = train("--corpus", "text.txt", "--tokenizer", "word", "--max-steps", 1)
    outcome = cli("sample", run, "--prompt", "The unicorn", "--length", 3)
    assert outcome.code == 0
    assert "'unicorn'" in outcome.stderr
    assert "'The'" not in outcome.stderr


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_any_prompt_is_taken(cli, work, trained_once, train, tokenizer: str):
    options = ("--vocab-size", 270) if tokenizer == "bpe" else ()
    run = trained_once / "run"
    if tokenizer != "char":
        run = train("--corpus", "text.txt", "--tokenizer", tokenizer, *options, "--max-steps", 1)
    for prompt in ("\n", "   ", "\u0000", "e\u0301", "👩‍👩‍👧", "a" * 3000, "<eos><unk>"):
        outcome = cli("sample", run, "--prompt", prompt, "--length", 3)
        assert outcome.code == 0, outcome.stderr
        assert outcome.stdout.startswith(prompt)


def test_bytes_of_a_bpe_model_always_make_valid_text(cli, work, train):
    (work / "scripts.txt").write_text("Привет, мир! 你好，世界。👋🌍 naïve café\n" * 100, encoding="utf-8")
    run = train("--corpus", "scripts.txt", "--tokenizer", "bpe", "--vocab-size", 260, "--max-steps", 3)
    for seed in range(5):
        outcome = cli("sample", run, "--prompt", "你", "--seed", seed, "--length", 60)
        assert outcome.code == 0
        assert outcome.stdout.startswith("你")
        outcome.stdout.encode("utf-8")  # no half characters, no surrogates


def test_an_unseen_script_is_no_stumble_for_bytes(cli, train):
    run = train("--corpus", "text.txt", "--tokenizer", "bpe", "--vocab-size", 260, "--max-steps", 1)
    outcome = cli("sample", run, "--prompt", "ქართული", "--length", 5)
    assert outcome.code == 0
    assert outcome.stdout.startswith("ქართული")
    assert outcome.stderr == ""


def test_words_are_joined_by_spaces(sample, train):
    run = train("--corpus", "text.txt", "--tokenizer", "word", "--max-steps", 1)
    (text,) = sample(run, "--length", 30)
    assert len(text.split()) + text.count("\n") == 30
    assert "  " not in text
    assert "<eos>" not in text


def test_a_word_prompt_and_its_text_are_two_words(cli, train):
    run = train("--corpus", "text.txt", "--tokenizer", "word", "--max-steps", 1)
    for seed in range(5):
        shown = cli("sample", run, "--prompt", "The", "--length", 3, "--seed", seed).stdout
        assert shown[3] in " \n", shown


@pytest.mark.parametrize("length", ["--length", "--max-new-tokens", "--words", "--max_new_tokens"])
@pytest.mark.parametrize("prompt", ["--prompt", "--primetext", "--start-text", "--prime", "--start_text"])
def test_options_have_the_names_of_older_toolkits(cli, trained, prompt: str, length: str):
    expected = cli("sample", trained, "--prompt", "The", "--length", 8).stdout
    assert cli("sample", trained, prompt, "The", length, 8).stdout == expected


def test_sample_has_another_name(cli, trained):
    assert cli("generate", trained, "--length", 5).stdout == cli("sample", trained, "--length", 5).stdout


def test_threads_change_no_text(cli, trained):
    assert cli("sample", trained, "--threads", 2).stdout == cli("sample", trained, "--threads", 1).stdout


def test_unknown_words_are_written_only_where_they_are_allowed(sample, train):
    run = train("--corpus", "text.txt", "--tokenizer", "word", "--min-count", 20, "--max-steps", 1)
    options = ("--length", 60, "--temperature", 1.5)
    assert "<unk>" in sample(run, *options, "--allow-unk")[0].split()
    for rule in ((), ("--top-k", 3), ("--top-p", 0.5)):
        assert "<unk>" not in sample(run, *options, *rule)[0]
    assert "<unk>" not in sample(run, "--temperature", 0, "--length", 60)[0]


def test_plain_texts_have_no_headings(cli, sample, trained):
    texts = sample(trained, "--num", 3, "--length", 5)
    shown = cli("sample", trained, "--num", 3, "--length", 5, "--plain").stdout
    assert shown == "".join(text + "\n" for text in texts)


def test_plain_texts_of_line_documents_are_one_a_line(cli, sample, train):
    run = train("--corpus", "text.txt", "--documents", "line", "--sampler", "document", "--max-steps", 1)
    texts = sample(run, "--num", 8, "--length", 60, "--prompt", "The")
    assert any("\n" in text for text in texts)
    lines = cli("sample", run, "--num", 8, "--length", 60, "--prompt", "The", "--plain").stdout.splitlines()
    assert lines == ["The" + text.partition("\n")[0] for text in texts]
