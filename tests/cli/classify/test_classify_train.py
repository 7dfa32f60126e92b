"""lmkit classify train on the command line, and the commands for language models given a classifier."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs import labelled_csv

Cli = Callable[..., Any]
Refused = Callable[..., str]
SMALL = ("--hidden-size", "8", "--batch-size", "4", "--threads", "1", "--precision", "float32", "--max-steps", "6")


@pytest.fixture
def data(work: Path) -> Path:
    (work / "train.csv").write_text(labelled_csv(), encoding="utf-8")
    return work


def test_a_training_ends_with_its_accuracy_beside_naive_bayes_and_its_run_can_be_looked_at(data: Path, cli: Cli):
    code, out, err = cli("classify", "train", "--data", "train.csv", "--out", "run", *SMALL)
    assert code == 0, err
    assert "3 classes; train 54 texts, valid 6 texts" in err
    assert out.splitlines()[0] == "run run"
    assert "valid accuracy " in out
    assert "naive Bayes, which counts words and pairs of words: " in out
    assert "Now try: lmkit classify eval run --data test.csv" in err
    assert json.loads((data / "run" / "config.json").read_text(encoding="utf-8"))["kind"] == "classifier"
    code, out, _ = cli("info", "run")
    assert (code, "--classes" in out) == (0, False)
    assert "naive Bayes" in out
    assert "lstm 1 x 8, concat pooling, 3 classes, " in out
    assert " nats per text\n" in out
    code, out, _ = cli("doctor", "run", "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)


def test_a_file_of_another_name_is_read_as_told_in_training_resume_and_eval(data: Path, cli: Cli):
    (data / "train.csv").rename(data / "texts.data")
    how = ("--data", "texts.data", "--input-format", "csv")
    assert cli("classify", "train", *how, "--out", "run", *SMALL).code == 0
    assert cli("classify", "train", "--resume", "run", "--max-steps", "7").code == 0
    code, out, _ = cli("classify", "eval", "run", *how, "--json")
    assert (code, json.loads(out)["notes"]) == (0, []), "naive Bayes has read the training file, too"


def test_the_result_as_json_has_the_accuracy(data: Path, cli: Cli):
    (data / "options.toml").write_text('[labels]\npooling = "max"\n[training]\nlr = 0.01\n', encoding="utf-8")
    how = ("--json", "--config", "options.toml", "--out", "run", "--eval-every", "2", "--best-by", "accuracy", *SMALL)
    code, out, err = cli("classify", "train", "train.csv", *how)
    result = json.loads(out)
    assert (code, result["steps"], result["documents"], result["result"]["split"]) == (0, 6, 24, "valid")
    assert 0 <= result["result"]["accuracy"] <= 1
    assert result["valid_nats_per_document"] == result["result"]["nats_per_document"], "both are of the best model"
    assert "* marks the best validation so far, by accuracy" in err
    assert 0 <= result["result"]["naive_bayes_accuracy"] <= 1
    with open(data / "run" / "metrics.jsonl", "a", encoding="utf-8") as file:  # a lower loss, with more errors
        file.write(json.dumps({"kind": "evaluation", "step": 7, "best": False, "nats_per_document": 1e-3}) + "\n")
    best = f"best {result['result']['nats_per_document']:.4f} nats per text"
    assert best in cli("info", "run").stdout, "the nats of the model that was kept"
    config = json.loads((data / "run" / "config.json").read_text(encoding="utf-8"))
    assert (config["labels"]["pooling"], config["training"]["lr"]) == ("max", 0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["--data train.csv"]),
        (("--data", "none.csv"), ["none.csv"]),
        (("--data", "train.csv", "--text-column", "words"), ["words", "text"]),
        (("--data", "train.csv", "--encoder", "nothing"), ["no run folder"]),
        (("--data", "train.csv", "--encoder-checkpoint", "last"), ["--encoder RUN"]),
        (("--data", "train.csv", "--tune", "probe"), ["--tune probe", "--encoder RUN"]),
        (("--data", "train.csv", "--tune", "gradual", "--encoder", "none"), ["--tune gradual", "--encoder RUN"]),
        (("--data", "-", "--input-format", "csv"), ["needs files", "standard input"]),
        (("--data", "train.csv", "--input-format", "jsonl"), ["train.csv, line 1", "not JSON"]),
        (("--data", "train.csv", "--valid-fraction", "0", "--patience", "2"), ["--patience needs validation"]),
        (("--data", "train.csv", "--valid-fraction", "0", "--best-by", "accuracy"), ["--best-by accuracy needs valid"]),
        (("--data", "train.csv", "--best-by", "f1"), ["--best-by", "nats", "accuracy"]),
        (("--data", "train.csv", "--allow-inexact"), ["--resume"]),
        (("--data", "train.csv", "--tokenizer", "nothing.json"), ["nothing.json"]),
        (("--data", "train.csv", "--max-grad", "1"), ["--max-grad"]),
        (("train.csv", "--data", "train.csv"), ["once", "--data train.csv"]),
        (("train.csv", "valid.csv"), ["one file", "--valid"]),
        (("train.csv", "--valid", "train.csv", "--valid-fraction", "0.2"), ["--valid", "--valid-fraction", "not both"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    data: Path, refused: Refused, arguments: tuple[str, ...], words: list[str]
):
    message = refused("classify", "train", *arguments)
    assert all(word in message for word in words), message


def test_what_needs_a_language_model_refuses_a_classifier_and_the_other_way_round(
    data: Path, cli: Cli, refused: Refused, trained: Path
):
    assert cli("classify", "train", "--data", "train.csv", "--out", "run", *SMALL)[0] == 0
    (data / "text.txt").write_text("The cat.\n", encoding="utf-8")
    for command in (
        ("eval", "run"),
        ("sample", "run"),
        ("score", "run", "text.txt"),
        ("compare", "run", "run"),
        ("compare", trained, "run", "--file", "text.txt"),
        ("inspect", "run", "gates"),
        ("train", "--resume", "run"),
        ("train", "text.txt", "--init-from", "run"),
        ("classify", "train", "--data", "train.csv", "--encoder", "run"),
    ):
        assert "run is a classifier, not a language model" in refused(*command), command
    assert "is a language model, not a classifier" in refused("classify", "train", "--resume", trained)


def test_a_classifier_begins_from_a_language_model_and_says_so(data: Path, cli: Cli, trained: Path):
    how = ("--encoder", trained, "--tune", "gradual", "--max-steps", "3", "--threads", "1", "--batch-size", "4")
    code, _, err = cli("classify", "train", "--data", "train.csv", *how, "--out", "run")
    assert code == 0, err
    assert f"Begins from {trained}" in err
    assert "tokens of the text" in err, "characters that the language model does not know are told of"
    assert "char tokens" in err
