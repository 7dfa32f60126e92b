"""A mistake of the user's: exit code 2, one sentence that says what to do, and nothing is left behind."""

from __future__ import annotations

import gzip
import os
import re
import stat
import sys

import pytest
import torch


@pytest.fixture
def train(refused, small):
    """Start a training that must be refused; gives the sentence."""

    def call(*arguments: object, input: str | bytes | None = None) -> str:
        defaults: tuple[object, ...] = ("--max-steps", 1, *small)
        if "--corpus" not in arguments:
            defaults += ("--corpus", "text.txt")
        if "--out" not in arguments:
            defaults += ("--out", "run")
        message: str = refused("train", *defaults, *arguments, input=input)
        return message

    return call


# Texts


def test_a_missing_file_is_named_with_the_nearest_name(train, work):
    assert "no-such.txt" in train("--corpus", "no-such.txt")
    assert "did you mean text.txt?" in train("--corpus", "test.txt")
    assert "did you mean text.txt?" in train("--corpus", "text.tx")
    assert "no-such-folder" in train("--corpus", "no-such-folder/text.txt")
    assert "no-such.txt" in train("--corpus", "~/no-such.txt")


def test_a_name_that_no_system_can_hold_is_no_file(train, work):
    for name in ("x" * 300, "It was a bright cold day in April. " * 20, "~no-such-user/text.txt"):
        assert train("--corpus", name)


def test_an_empty_file_is_named(train, work):
    (work / "empty.txt").touch()
    assert "empty" in train("--corpus", "empty.txt")
    assert "empty" in train("--corpus", "-", input="")


def test_a_file_of_another_encoding_is_named_with_the_byte(train, work):
    (work / "latin.txt").write_bytes("The naïve cat.\n".encode("latin-1") * 20)
    message = train("--corpus", "latin.txt")
    assert "latin.txt" in message
    assert re.search(r"byte offset 6\b", message)
    (work / "wide.txt").write_bytes("The cat.\n".encode("utf-16") * 20)
    assert "UTF-16" in train("--corpus", "wide.txt")


def test_the_byte_is_that_of_the_whole_text(train, work, text: str):
    (work / "late.txt").write_bytes(text.encode() * 600 + b"caf\xe9")
    assert f"byte offset {len(text) * 600 + 3}" in train("--corpus", "late.txt")
    (work / "cut.txt").write_bytes(text.encode() + "é".encode()[:1])
    assert f"byte offset {len(text)}" in train("--corpus", "cut.txt")


def test_a_damaged_gz_is_named(train, work, text: str):
    packed = gzip.compress(text.encode())
    for content in (packed[: len(packed) // 2], packed[:5], text.encode(), b""):
        (work / "book.txt.gz").write_bytes(content)
        message = train("--corpus", "book.txt.gz")
        assert "book" in message


def test_a_folder_without_text_is_named(train, work):
    (work / "folder").mkdir()
    assert "folder" in train("--corpus", "folder")
    (work / "folder" / "image.png").write_bytes(b"\x89PNG\r\n\0\0" * 10)
    assert "folder" in train("--corpus", "folder")
    (work / "folder" / "test.txt").write_text("A text.\n", encoding="utf-8")
    assert "train.txt" in train("--corpus", "folder")


def test_an_unknown_corpus_comes_with_the_nearest_name(train, work):
    assert "pydoc" in train("--corpus", "pydocs")
    assert "wikitext-2" in train("--corpus", "wikitext2")
    assert "pydoc" in train("--corpus", "something-else")


def test_a_text_too_short_for_rows_and_window_comes_with_numbers_that_fit(train, cli, work, small, text: str):
    (work / "short.txt").write_text(text[:200], encoding="utf-8")
    for sampler, options in [
        ("sequential", ("--batch-size", 50, "--window", 64)),
        ("sequential", ("--batch-size", 2, "--window", 5000)),
        ("sequential", ("--batch-size", 5000, "--window", 1)),
        ("random", ("--batch-size", 50, "--window", 64)),
        ("document", ("--batch-size", 5000, "--window", 64)),
    ]:
        fixed = ("--corpus", "short.txt", "--sampler", sampler)
        message = train(*fixed, *options)
        assert "160" in message  # the tokens that there are: 80 % of 200 characters
        fitting = re.findall(r"(--batch-size|--window) ([\d,]+)", message)
        assert fitting, message
        numbers = [part.replace(",", "") for pair in fitting for part in pair]
        out = f"run-{sampler}-{options[1]}-{options[3]}"
        outcome = cli("train", *small, *fixed, *options, *numbers, "--max-steps", 1, "--out", out)
        assert outcome.code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--truncation", "artbp", "--sampler", "random"),
            "--truncation artbp .*--sampler random and --state reset: it",
        ),
        (("--truncation", "k1k2", "--k1", 9, "--k2", 8), "--k2 8 must be at least --k1 9"),
        (("--truncation", "k1k2", "--k1", 9, "--window", 8), "--k2 8, which is --window, must be at least --k1 9"),
        (("--k1", 9), "--k1 needs --truncation k1k2: fixed does not have it"),
        (
            ("--truncation", "none", "--window-jitter", 2),
            "--window-jitter needs --truncation fixed or random, not none",
        ),
        (("--truncation", "random", "--window", 2), "--truncation random, .* needs --window 3"),
        (("--truncation", "artbp", "--artbp-cut", 1), "--artbp-cut must be below 1"),
        (("--burn-in", 3), "--burn-in needs --sampler random"),
        (("--sampler", "random", "--burn-in", 90_000), "--burn-in 90000 is longer than the training text, which has"),
    ],
    ids=str,
)
def test_a_truncation_that_cannot_be_served_is_refused(train, work, options, sentence: str):
    assert re.search(sentence, train(*options))


def test_a_text_too_short_for_its_splits_is_refused(train, work):
    (work / "tiny.txt").write_text("abc", encoding="utf-8")
    message = train("--corpus", "tiny.txt")
    assert "split" in message


def test_a_text_of_white_space_has_no_words(train, work):
    (work / "blank.txt").write_text(" " * 500, encoding="utf-8")
    assert "white space" in train("--corpus", "blank.txt", "--tokenizer", "word")


# Run folders


def test_an_existing_folder_or_file_is_never_written_to(train, work):
    (work / "there").mkdir()
    for out in ("there", "text.txt", "."):
        assert "exists" in train("--out", out)


def test_a_place_below_a_file_is_no_place_for_a_run(train, work):
    message = train("--out", "text.txt/run")
    assert "text.txt" in message
    assert "run exists already" not in message


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that refuses even root")
def test_a_place_where_nothing_can_be_made_is_refused(train, work):
    assert "/proc/run" in train("--out", "/proc/run")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(train, work):
    closed = work / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "closed" in train("--out", "closed/run")
    finally:
        closed.chmod(stat.S_IRWXU)


def test_a_place_is_refused_before_the_text_is_read(train, work):
    assert "/run" in train("--out", "text.txt/run", "--corpus", "no-such.txt")


def test_a_name_that_no_system_can_hold_is_no_place_for_a_run(train, work):
    assert train("--out", "x" * 300)


@pytest.mark.parametrize("command", ["eval", "sample", "info"])
def test_what_is_no_run_is_named(refused, work, command: str):
    assert "no-such" in refused(command, "no-such")
    assert "text.txt" in refused(command, "text.txt")
    (work / "folder").mkdir()
    (work / "folder" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert "folder" in refused(command, "folder")
    for name in ("x" * 300, ""):
        assert refused(command, name)


def test_runs_that_are_there_are_named(refused, damaged):
    assert "Did you mean run?" in refused("eval", "rum")
    assert "run" in refused("eval", "other").partition("Runs here:")[2]


# Options of train


@pytest.mark.parametrize(
    "option",
    [
        "--vocab-size",
        "--min-count",
        "--layers",
        "--hidden-size",
        "--embedding-size",
        "--window",
        "--batch-size",
        "--lr",
        "--lr-decay",
        "--epochs",
        "--max-steps",
        "--max-seconds",
        "--eval-every",
        "--patience",
        "--threads",
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "", "many"])
def test_a_number_that_is_no_positive_number_is_refused(train, work, option: str, value: str):
    assert option in train(option, value)


@pytest.mark.parametrize("option", ["--dropout", "--clip", "--weight-decay", "--valid-fraction", "--warmup", "--seed"])
@pytest.mark.parametrize("value", ["-1", "nan", "-inf"])
def test_a_number_below_zero_is_refused(train, work, option: str, value: str):
    assert option in train(option, value)


@pytest.mark.parametrize("option", ["--dropout", "--embedding-dropout", "--valid-fraction", "--test-fraction"])
@pytest.mark.parametrize("value", ["1", "1.5"])
def test_a_share_of_all_is_refused(train, work, option: str, value: str):
    assert option in train(option, value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sampler", "random", "--state", "carry"), ["random", "carry", "reset"]),
        (("--sampler", "document", "--state", "carry"), ["document", "carry"]),
        (("--sampler", "sequential", "--state", "document"), ["sequential", "document"]),
        (("--cell", "gru", "--forget-bias", "1"), ["--forget-bias", "lstm"]),
        (("--forget-bias", "1e300"), ["--forget-bias"]),  # no float32
        (("--min-count", "1000000"), ["--min-count"]),  # nothing is left but <unk>
        (("--cutoffs", "5,10"), ["--cutoffs", "adaptive"]),
        (("--head", "adaptive", "--cutoffs", "10,5"), ["--cutoffs", "ascend"]),
        (("--head", "adaptive", "--cutoffs", "5,100000"), ["--cutoffs"]),
        (("--head", "adaptive", "--cutoffs", "5,x"), ["--cutoffs"]),
        (("--accumulate", "9", "--batch-size", "8"), ["--accumulate 9", "--batch-size 8"]),
        (("--betas", "0.9,x"), ["--betas", "0.9,0.99"]),
        (("--optimizer", "sgd", "--eps", "1e-6"), ["--eps", "adagrad", "sgd does not have it"]),
        (("--valid-fraction", "0.5", "--test-fraction", "0.5"), ["--valid-fraction", "--test-fraction"]),
        (("--tokenizer", "bpe", "--vocab-size", "100"), ["257", "100"]),
        (("--tokenizer", "bpe", "--vocab-size", "1000000000"), ["4,194,304", "1,000,000,000"]),
        (("--tokenizer", "chars"), ["chars", "char"]),
        (("--tokenizer", "text.txt"), ["text.txt", "tokenizer.json"]),
        (("--tokenizer", "missing.json"), ["missing.json"]),
        (("--tokenizer", "x" * 300), ["tokenizer"]),
        (("--precision", "float16", "--device", "cpu"), ["float16", "cuda"]),
        (("--seed", str(2**31)), ["--seed", "2^31"]),
        (("--cell", "gruu"), ["--cell", "gru"]),
        (("--preset", "no-such"), ["no-such", "pytorch-examples"]),
        (("--corpus", ""), ["--corpus"]),
        (("--tokenizer", ""), ["--tokenizer"]),
        (("--valid-fraction", "0", "--patience", "3"), ["--patience", "validation"]),
    ],
    ids=lambda part: " ".join(part)[:60],
)
def test_options_that_cannot_be_are_refused(train, work, options: tuple[str, ...], words: list[str]):
    message = train(*options)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("size", [10**11, 10**30])
@pytest.mark.parametrize("option", ["--hidden-size", "--embedding-size"])
def test_a_model_that_fits_no_machine_is_refused_in_words(cli, work, small, option: str, size: int):
    outcome = cli("train", "--corpus", "text.txt", *small, option, size, "--max-steps", 1, "--out", "run")
    assert outcome.code in (1, 2)
    assert outcome.stderr.count("Error: ") == 1
    assert not (work / "run").exists()


@pytest.mark.parametrize(("device", "there"), [("cuda", torch.cuda.is_available), ("mps", lambda: False)])
def test_a_device_that_is_not_there_is_refused(train, refused, work, trained, device: str, there):
    if there() or (device == "mps" and torch.backends.mps.is_available()):
        pytest.skip(f"{device} is there")
    assert device in train("--device", device)
    assert device in refused("eval", trained, "--device", device)
    assert device in refused("sample", trained, "--device", device)


# Options of the other commands


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--temperature", ["-1", "nan", "inf", "hot"]),
        ("--top-p", ["0", "-0.5", "1.5", "nan"]),
        ("--min-p", ["0", "-0.5", "1.5", "nan"]),
        ("--top-k", ["0", "-1", "1.5"]),
        ("--length", ["0", "-5", "long"]),
        ("--num", ["0", "-1"]),
        ("--seed", ["-1", "1.5", str(2**64), str(2**70)]),
        ("--stop", [""]),
        ("--threads", ["0", "-1", "100000"]),
    ],
)
def test_options_of_sample_are_checked(refused, work, trained, option: str, values: list[str]):
    for value in values:
        assert option in refused("sample", trained, option, value)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--window", ["0", "-1", "wide"]),
        ("--rows", ["0", "-1"]),
        ("--warmup", ["-1"]),
        ("--split", ["dev"]),
        ("--state", ["line-up"]),
        ("--precision", ["float64"]),
        ("--threads", ["0", "-1"]),
        ("--file", [""]),
    ],
)
def test_options_of_eval_are_checked(refused, work, trained, option: str, values: list[str]):
    for value in values:
        assert option in refused("eval", trained, option, value)


def test_eval_takes_a_split_or_a_file(refused, work, trained):
    message = refused("eval", trained, "--split", "test", "--file", "text.txt")
    assert "--split" in message
    assert "--file" in message


@pytest.mark.parametrize("name", ["no-such.txt", "x" * 300], ids=["missing", "long"])
def test_a_file_that_is_not_there_cannot_be_measured(refused, work, trained, name: str):
    assert refused("eval", trained, "--file", name, "--threads", 1)


def test_a_file_that_is_no_text_cannot_be_measured(refused, work, trained):
    (work / "latin.txt").write_bytes(b"caf\xe9")
    assert "byte offset 3" in refused("eval", trained, "--file", "latin.txt", "--threads", 1)
    (work / "empty.txt").touch()
    assert "empty" in refused("eval", trained, "--file", "empty.txt", "--threads", 1)


def test_a_prompt_that_is_no_unicode_is_refused(refused, work, trained):
    assert "surrogate" in refused("sample", trained, "--prompt", "a\udc80")


def test_mistakes_of_tokenize_are_named(refused, work):
    assert "no-such.txt" in refused("tokenize", "no-such.txt")
    assert "--limit" in refused("tokenize", "text.txt", "--limit", 0)
    assert "words" in refused("tokenize", "text.txt", "--tokenizer", "words")
    assert "257" in refused("tokenize", "text.txt", "--tokenizer", "bpe", "--vocab-size", 10)
    assert refused("tokenize", "x" * 300)
    (work / "empty.txt").touch()
    for options in ((), ("--stats",)):
        assert "empty" in refused("tokenize", "empty.txt", *options)


def test_options_of_tokenize_that_would_be_ignored_are_refused(refused, work, trained):
    assert "--vocab-size" in refused("tokenize", "text.txt", "--tokenizer", trained, "--vocab-size", 10)


def test_unknown_commands_options_and_corpora_come_with_the_nearest_name(refused, work):
    assert "--hidden-size" in refused("train", "--hiden-size", 5)
    assert "pydoc" in refused("corpora", "pydocs")
    assert "markov" in refused("corpora", "no-such")
    assert "train" in refused("trian").replace("'trian'", "")


def test_a_command_without_its_argument_says_which(refused, work):
    assert "run" in refused("eval")
    assert "run" in refused("sample")
    assert "FILE" in refused("tokenize")
    assert "run" in refused("info")


def test_nothing_is_left_when_the_run_folder_cannot_be_filled(cli, work, small, monkeypatch: pytest.MonkeyPatch):
    from lmkit import files

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "replace_file", full)
    outcome = cli("train", "--corpus", "text.txt", *small, "--max-steps", 1, "--out", "deep/run")
    assert outcome.code == 1  # a full disk is no mistake of the user's
    assert "No space left" in outcome.stderr
    assert [path for path in work.rglob("*") if path.name not in ("text.txt", "deep")] == []


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("eval", f"--{name}") for name in ("window", "rows", "warmup", "dynamic-span", "cache")),
        *(("compare", f"--{name}") for name in ("block", "rows", "seed", "resamples")),
        *(("sample", f"--{name}") for name in ("num", "seed")),
        ("score", "--top-k"),
        ("tokenize", "--limit"),
    ],
)
@pytest.mark.parametrize("number", [10**19, 10**40])
def test_a_number_that_no_text_needs_is_refused(refused, damaged, command: str, option: str, number: int):
    assert option in refused(command, damaged, option, number)


@pytest.mark.parametrize("arguments", [("eval", "a\0b"), ("sample", "\0", "x")])
def test_a_nul_byte_in_an_argument_is_a_mistake(refused, arguments):
    assert "NUL" in refused(*arguments)
