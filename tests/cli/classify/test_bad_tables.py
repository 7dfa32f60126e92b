"""Every mistake in a file of labelled texts is one sentence with its line, exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = "text,label\nplay it,music\nrain now,weather\n"
BAD: dict[str, tuple[str | bytes, str]] = {
    "a column that is not there": (
        "sentence,label\na,b\n",
        "has no column 'text': its columns are 'sentence', 'label'",
    ),
    "an empty text": (GOOD + "  ,music\n", "line 4: the text is empty"),
    "an empty label": (GOOD + "play,\n", "line 4: the label is empty"),
    "10 MB in a cell": (
        GOOD + '"' + "a " * 5 * 2**20 + '",music\n',
        "line 4: a cell has more than 4,194,304 characters",
    ),
    "ragged rows": (GOOD + "play\n", "line 4: the row has 1 column, and the first line names 2"),
    "a quote that stays open": (GOOD + '"play,music\n', "line 4: a quote opens there and is never closed"),
    "bad UTF-8": (GOOD.encode() + b"caf\xe9,music\n", "line 4: byte 0xe9"),
    "no CSV": (b"PK\x03\x04...", "is a zip archive"),
    "no rows": ("text,label\n", "has no rows below its first line"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_bad_file_is_refused(refused, classified: Path, work: Path, command: str, what: str):
    content, sentence = BAD[what]
    (work / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ("train", "--out", "run") if command == "train" else ("eval", classified / "a-1")
    assert sentence in refused("classify", *arguments, "--data", "data.csv")


def test_a_training_has_texts_to_validate_on_or_says_what_to_do(refused, work: Path):
    (work / "data.csv").write_text("text,label\na,1\nb,2\n", encoding="utf-8")
    assert "none can be kept for validation" in refused("classify", "train", "--data", "data.csv", "--out", "run")


def test_a_training_reads_a_file_that_says_what_it_is(refused, work: Path):
    (work / "data").write_text(GOOD, encoding="utf-8")
    sentence = refused("classify", "train", "--data", "data", "--out", "run")
    assert "give a file whose name ends in .csv, .tsv or .jsonl, or its format as --input-format" in sentence


def test_one_class_only_is_no_training(refused, work: Path):
    (work / "data.csv").write_text("text,label\na,1\nb,1\n", encoding="utf-8")
    assert "only one label in its column 'label', '1'" in refused(
        "classify", "train", "--data", "data.csv", "--out", "run"
    )


def test_a_label_that_training_did_not_have_is_named(refused, classified: Path, work: Path):
    (work / "data.csv").write_text(GOOD + "go,travel\nfly,travel\n", encoding="utf-8")
    sentence = "line 4: 'travel' is no class of the training file (2 rows): its classes are 'music', 'weather'"
    assert sentence in refused("classify", "eval", classified / "a-1", "--data", "data.csv")
    train = ("train", "--data", classified / "train.csv", "--valid", "data.csv", "--out", "run")
    assert sentence in refused("classify", *train)


def test_labels_that_look_like_numbers_are_text(cli, work: Path):
    (work / "data.csv").write_text("text,label\na b,1\nc d,1.0\ne f,01\ng h,1\n", encoding="utf-8")
    options = (
        "--hidden-size",
        4,
        "--max-steps",
        1,
        "--min-count",
        1,
        "--valid-fraction",
        0,
        "--threads",
        1,
        "--out",
        "run",
    )
    assert cli("classify", "train", "--data", "data.csv", *options).code == 0
    head, *_ = cli("classify", "predict", "run", input="a b\n").stdout.splitlines()
    assert head.split("\t")[2:] == ["p_01", "p_1", "p_1.0"]


@pytest.mark.parametrize("command", ["eval", "predict", "compare"])
def test_a_run_of_another_kind_is_refused(refused, classified: Path, trained: Path, command: str):
    others = [classified / "a-1"] if command == "compare" else []
    data = [classified / "test.csv"] if command == "predict" else ["--data", classified / "test.csv"]
    sentence = refused("classify", command, trained, *others, *data)
    assert "is a language model, not a classifier" in sentence


@pytest.mark.parametrize("command", ["eval", "sample", "score"])
def test_a_classifier_is_no_language_model(refused, classified: Path, command: str):
    assert "is a classifier, not a language model" in refused(command, classified / "a-1")
