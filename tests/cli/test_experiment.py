"""lmkit experiment: the list, a result for people and for programs, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmkit.experiments import catalogue
from lmkit.experiments.contract.trial import Trial
from tests.trials import Dice


@pytest.fixture(autouse=True)
def dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more experiment, which takes no time."""
    monkeypatch.setitem(catalogue.EXPERIMENTS, "dice", Dice())


def test_the_list_names_each_experiment_with_claims_question_and_minutes(cli):
    shown = cli("experiment", "--list")
    assert shown.code == 0
    for one in catalogue.EXPERIMENTS.values():
        assert one.name in shown.stdout
    assert "Is the weighted die lower?" in shown.stdout
    lines = [json.loads(line) for line in cli("experiment", "--list", "--json").stdout.splitlines()]
    assert [line["name"] for line in lines] == list(catalogue.EXPERIMENTS)
    assert lines[-1]["claims"] == [18]


def test_one_experiment_is_listed_and_not_made(cli, work: Path):
    assert [json.loads(cli("experiment", "dice", "--list", "--json").stdout)["name"]] == ["dice"]
    assert not (work / "experiments").exists()


def test_a_result_has_verdict_tables_and_the_place_of_its_files(cli, work: Path):
    shown = cli("experiment", "dice", "--jobs", 1)
    assert shown.code == 0, shown.stderr
    assert "claim 18" in shown.stdout
    assert "weighted" in shown.stdout
    assert "report.md" in shown.stdout
    assert (work / "experiments" / "dice" / "report.md").is_file()
    again = cli("experiment", "dice", "--jobs", 1, "--json")
    assert json.loads(again.stdout) == json.loads((work / "experiments" / "dice" / "result.json").read_text())


def test_a_quick_result_is_no_finding_and_has_a_folder_of_its_own(cli, work: Path):
    shown = cli("experiment", "dice", "--quick")
    assert "no findings" in shown.stdout
    assert [path.name for path in (work / "experiments").iterdir()] == ["dice-quick"]


def test_an_interrupted_experiment_says_what_to_do(cli, work: Path, monkeypatch: pytest.MonkeyPatch):
    measure = Dice.measure

    def interrupted(self: Dice, trial: Trial) -> object:
        if trial.arm.name == "known":
            trial.interruption.ask(2)
        return measure(self, trial)

    with monkeypatch.context() as patch:
        patch.setattr(Dice, "measure", interrupted)
        shown = cli("experiment", "dice", "--jobs", 1)
    assert shown.code == 130
    assert shown.stderr.strip().splitlines()[-1].startswith("Interrupted. What is done is kept in")
    assert cli("experiment", "dice", "--jobs", 1).code == 0


def test_mistakes_are_one_sentence_and_leave_nothing(refused):
    assert refused("experiment") == "Name an experiment: `lmkit experiment --list` shows them."
    assert "did you mean dice?" in refused("experiment", "dices")
    assert "has texts of its own" in refused("experiment", "dice", "--data", "text.txt")
    assert "standard input is read once" in refused("experiment", "attention", "--data", "-")
    assert "none.txt" in refused("experiment", "attention", "--quick", "--data", "none.txt", "--out", "a/b")
    assert "at least 2" in refused("experiment", "dice", "--seeds", 1)
    assert "exists and is no experiment" in refused("experiment", "dice", "--out", "text.txt")
