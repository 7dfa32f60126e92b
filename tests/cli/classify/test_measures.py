"""lmkit classify eval and compare: figures for people and for programs, the same as in Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lmkit.classify.measures.pairs import Pairs
from lmkit.classify.measures.report import evaluate_classifier
from lmkit.classify.testing import known_texts, read_test
from lmkit.classify.trained import load_classifier


def test_eval_gives_what_python_measures(cli, classified: Path):
    outcome = cli("classify", "eval", classified / "a-1", "--data", classified / "test.csv", "--json", "--threads", 1)
    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    classifier = load_classifier(classified / "a-1", "cpu")
    data = read_test(classifier, classified / "test.csv")
    expected = evaluate_classifier(data, classifier.classify(data.texts), training=known_texts(classifier).texts)
    assert found == json.loads(json.dumps(expected.as_dict()))
    assert found["accuracy"] == found["correct"] / 43
    assert (found["seen_in_training"], found["notes"]) == (expected.seen, [])
    assert found["seen_in_training"] >= 2  # of the three of train.csv that were not kept for validation


def test_eval_shows_every_table(cli, classified: Path):
    outcome = cli("classify", "eval", classified / "a-1", "--data", classified / "test.csv", "--worst", 2, "--bins", 4)
    for part in ("accuracy ", "naive Bayes ", "class  ", "class, below: said", "confidence ", "Wilson (1927)"):
        assert part in outcome.stdout, part
    assert outcome.stdout.count("\nline ") <= 2


def test_a_test_file_may_call_its_columns_otherwise(cli, classified: Path, work: Path):
    rows = (classified / "test.csv").read_text(encoding="utf-8").splitlines()[1:]
    table = [row.split(",") for row in rows]
    lines = [json.dumps({"sentence": text, "intent": label}) for _, text, label in table]
    expected = cli("classify", "eval", classified / "a-1", "--data", classified / "test.csv", "--json").stdout
    options = ("--text-column", "sentence", "--label-column", "intent", "--input-format", "jsonl", "--json")
    found = cli("classify", "eval", classified / "a-1", "--data", "-", *options, input="\n".join(lines)).stdout
    figures = [json.loads(one) for one in (found, expected)]
    assert figures[0]["data"] == "standard input"
    assert figures[0]["accuracy"] == figures[1]["accuracy"]
    assert figures[0]["naive_bayes"]["accuracy"] == figures[1]["naive_bayes"]["accuracy"]


def test_without_the_training_file_there_is_a_note_instead_of_naive_bayes(cli, classified: Path, work: Path):
    shutil.copytree(classified / "a-1", work / "a-1")
    for change in ("gone", "changed"):
        if change == "changed":
            (work / "train.csv").write_text(
                "text,label\nplay,music\nsing,music\nrain,weather\nsnow,weather\n", encoding="utf-8"
            )
        config = json.loads((work / "a-1" / "config.json").read_text(encoding="utf-8"))
        config["data"]["corpus"] = "../train.csv"
        (work / "a-1" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        found = json.loads(cli("classify", "eval", "a-1", "--data", classified / "test.csv", "--json").stdout)
        assert found["naive_bayes"] is None
        (note,) = found["notes"]
        assert note.startswith("No naive Bayes") and (change == "gone" or "has changed since" in note)


def test_compare_pairs_two_runs_and_naive_bayes(cli, classified: Path):
    arguments = ("compare", classified / "a-1", classified / "b-1", "--data", classified / "test.csv")
    found = json.loads(cli("classify", *arguments, "--json").stdout)
    assert [group["name"] for group in found["groups"]] == [
        str(classified / "a-1"),
        str(classified / "b-1"),
        "naive Bayes",
    ]
    rights = []
    for name in ("a-1", "b-1"):
        classifier = load_classifier(classified / name, "cpu")
        data = read_test(classifier, classified / "test.csv")
        rights.append(classifier.classify(data.texts).argmax(1) == data.labels)
    pairs = Pairs.of(*rights)
    row = found["differences"][0]
    assert (row["pairs"], row["p_texts"], row["over_seeds"]) == (pairs._asdict(), pairs.p_value, None)
    assert "right by B alone" in cli("classify", *arguments).stdout


def against(folder: Path, run: str, *baseline: str) -> tuple[str | Path, ...]:
    """Arguments that compare a run with a group of others."""
    return folder / run, "--data", folder / "test.csv", "--against", *(folder / name for name in baseline)


def test_compare_names_the_chance_of_seeds_apart(cli, classified: Path):
    groups = against(classified, "b-1", "a-1", "a-2")
    found = json.loads(cli("classify", "compare", *groups, "--json").stdout)
    baseline, other, _ = found["groups"]
    assert (len(baseline["accuracies"]), len(other["accuracies"])) == (2, 1)  # what stands after --against is A
    assert [row["over_seeds"] is None for row in found["differences"]] == [True, False]  # b-1 could be lucky
    assert np.isclose(baseline["accuracy"]["value"], np.mean(baseline["accuracies"]))
    swapped = (*groups[-2:], *groups[1:3], "--against", groups[0])
    back = json.loads(cli("classify", "compare", *swapped, "--json").stdout)
    there, here = (one["differences"][0]["over_texts"] for one in (found, back))
    assert np.allclose([here["value"], here["low"], here["high"]], [-there["value"], -there["high"], -there["low"]])


def test_compare_pairs_runs_by_their_seeds_and_takes_the_checkpoint_that_eval_takes(cli, classified: Path, work: Path):
    b_2 = work / "b-2"
    shutil.copytree(classified / "b-1", b_2)  # another training would have another seed
    config = json.loads((b_2 / "config.json").read_text(encoding="utf-8"))
    data = ("--data", classified / "test.csv", "--json", "--checkpoint", "last")
    found = {}
    for seed in (2, 3):
        config["runtime"]["seed"], config["data"]["corpus"] = seed, str(classified / "train.csv")
        (b_2 / "config.json").write_text(json.dumps(config), encoding="utf-8")
        groups = (b_2, classified / "b-1", *data, "--against", classified / "a-1", classified / "a-2")
        outcome = cli("classify", "compare", *groups)
        found[seed] = json.loads(outcome.stdout)
    rows = {seed: one["differences"][0] for seed, one in found.items()}
    assert (rows[2]["seeds_paired"], rows[2]["unpaired"]) == (True, "")
    assert (rows[3]["seeds_paired"], rows[3]["unpaired"]) == (False, "because the groups have different seeds")
    accuracies = [group["accuracies"] for group in found[2]["groups"][:2]]
    differences = [accuracies[1][0] - accuracies[0][1], accuracies[1][1] - accuracies[0][0]]
    assert rows[2]["over_seeds"]["value"] == pytest.approx(np.mean(differences))
    reach = 12.7062 * np.std(differences, ddof=1) / np.sqrt(2)  # t with one degree of freedom, 97.5 %
    assert rows[2]["over_seeds"]["high"] == pytest.approx(np.mean(differences) + reach, abs=1e-5)
    assert found[2]["differences"][1]["unpaired"] == "because naive Bayes has no seed"
    eval_last = json.loads(cli("classify", "eval", classified / "a-1", *data).stdout)
    assert accuracies[0][0] == eval_last["accuracy"]
    shown = cli("classify", "compare", *(word for word in groups if word != "--json")).stdout
    assert "B - A: over seeds Welch's test because the groups have different seeds." in shown


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [(("a-1",), "needs two runs or more"), (("a-1", "a-1"), "is given twice"), ((), "needs two runs or more")],
)
def test_what_is_no_comparison_is_refused(refused, classified: Path, runs, sentence):
    arguments = [classified / run for run in runs]
    assert sentence in refused("classify", "compare", *arguments, "--data", classified / "test.csv")


def test_two_runs_of_one_seed_are_no_group(refused, classified: Path):
    groups = against(classified, "a-2", "a-1", "b-1")
    assert "b-1 have the same seed: give each seed of a group once." in refused("classify", "compare", *groups)


def test_runs_of_a_group_that_differ_by_more_than_their_seed_are_named(cli, classified: Path):
    groups = against(classified, "a-1", "b-1", "a-2")
    notes = json.loads(cli("classify", "compare", *groups, "--json").stdout)["notes"]
    assert f"The runs beside {classified / 'b-1'} differ from it in more than their seed: cell." in notes


def test_runs_of_other_classes_are_not_compared(refused, cli, classified: Path, work: Path):
    (work / "other.csv").write_text("text,label\nplay,x\nrain,y\nsun,y\nsong,x\n", encoding="utf-8")
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
        "other",
    )
    assert cli("classify", "train", "--data", "other.csv", *options).code == 0
    sentence = refused("classify", "compare", classified / "a-1", "other", "--data", classified / "test.csv")
    assert "other has other classes" in sentence
