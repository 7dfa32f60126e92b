"""lmkit classify predict: a row for each text or word, in every format, with what is carried along."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lmkit.classify.trained import load_classifier

TEXTS = ["play the song", "rain now"]


@pytest.fixture
def log_probs(classified: Path):
    return load_classifier(classified / "a-1", "cpu").classify(TEXTS)


def test_a_row_for_each_line_of_standard_input(cli, classified: Path, log_probs):
    outcome = cli("classify", "predict", classified / "a-1", input="\n".join(TEXTS) + "\n\n")
    assert outcome.code == 0, outcome.stderr
    head, *lines = [line.split("\t") for line in outcome.stdout.splitlines()]
    assert head == ["predicted", "probability", "p_music", "p_weather"]
    assert np.allclose([[float(cell) for cell in line[2:]] for line in lines], np.exp(log_probs), rtol=1e-6)
    assert [line[0] for line in lines] == [head[2 + index][2:] for index in log_probs.argmax(1)]


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_columns_of_the_file_are_carried_along(cli, classified: Path, work: Path, form: str):
    (work / "in.csv").write_text('nr,text,note\n7,play it,"a, b"\n8,rain,\n', encoding="utf-8")
    text = cli("classify", "predict", classified / "a-1", "in.csv", "--columns", "note,nr", "--format", form).stdout
    if form == "jsonl":
        rows = [list(json.loads(line).values())[:2] for line in text.splitlines()]
    else:
        rows = [row[:2] for row in csv.reader(io.StringIO(text), delimiter="," if form == "csv" else "\t")][1:]
    assert rows == [["a, b", "7"], ["", "8"]]


def test_rows_may_say_where_their_text_stands(cli, classified: Path):
    text = cli(
        "classify", "predict", classified / "a-1", "--columns", "line", "--json", input="play it\n\nrain\n"
    ).stdout
    assert [json.loads(line)["line"] for line in text.splitlines()] == [1, 3]  # blank lines are no texts


def test_a_file_gives_what_its_lines_give(cli, classified: Path, work: Path):
    (work / "in.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (work / "in.csv").write_text("sentence\n" + "\n".join(TEXTS), encoding="utf-8")
    lines = cli("classify", "predict", classified / "a-1", "in.txt").stdout
    assert cli("classify", "predict", classified / "a-1", "in.csv", "--text-column", "sentence").stdout == lines


def test_words_have_the_probabilities_of_the_sentence_so_far(cli, classified: Path):
    text = cli("classify", "predict", classified / "a-1", "--per", "word", "--json", input="\n".join(TEXTS)).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    assert [(row["number"], row["word"]) for row in rows] == [
        (number, word) for number, sentence in enumerate(TEXTS, 1) for word in sentence.split()
    ]
    prefixes = ["play", "play the", "play the song", "rain", "rain now"]
    expected = load_classifier(classified / "a-1", "cpu").classify(prefixes)
    assert np.allclose([[row["p_music"], row["p_weather"]] for row in rows], np.exp(expected), atol=1e-5)


def test_the_picture_has_the_words_and_a_line_for_each_class(cli, classified: Path):
    arguments = ("--per", "word", "--format", "picture")
    lines = cli("classify", "predict", classified / "a-1", *arguments, input="play it\nrain\n").stdout.splitlines()
    assert [line.split()[0] for line in lines if line] == ["play", "music", "weather", "rain", "music", "weather"]
    assert lines[0] == "         play it"


@pytest.mark.parametrize(
    ("arguments", "input", "sentence"),
    [
        (("--format", "picture"), "a", "--format picture needs --per word"),
        (("--json", "--format", "csv"), "a", "--json is --format jsonl: give it or --format csv, not both"),
        (("--columns", "nr"), "a", "standard input has no column 'nr': its columns are 'text'"),
        (("in.csv", "--columns", "predicted"), "", "'predicted' is one of the prediction, too"),
        (("in.csv", "--text-column", "words"), "", "no column 'words': its columns are 'predicted', 'text'"),
        ((), "", "standard input has no rows"),
        (("missing.csv",), "", "There is no file or folder missing.csv"),
        (("in.dat",), "", "in.dat does not say what it is"),
    ],
)
def test_mistakes_are_one_sentence(refused, classified: Path, work: Path, arguments, input, sentence):
    (work / "in.csv").write_text("predicted,text\nx,play\n", encoding="utf-8")
    (work / "in.dat").write_text("play\n", encoding="utf-8")
    assert sentence in refused("classify", "predict", classified / "a-1", *arguments, input=input)
