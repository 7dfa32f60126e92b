"""Every experiment of the catalogue works in its quick form, and goes on from where a training was interrupted."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest

from lmkit.api import load_language_model
from lmkit.experiments.catalogue import EXPERIMENTS
from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.contract.interruption import Interrupted, Interruption
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.engine.engine import run_experiment, scale_of
from lmkit.experiments.engine.page import QUICK
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.plots.render import MISSING
from lmkit.run.directory import RunDirectory
from lmkit.run.summary import RunSummary


@pytest.fixture
def nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take as long as an experiment."""
    monkeypatch.setattr("lmkit.experiments.engine.engine.render", lambda chart: b"<svg/>")


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_quick_form_of_every_experiment_works(name: str, tmp_path: Path, nothing_drawn: None):
    experiment = EXPERIMENTS[name]
    result = run_experiment(experiment, scale_of(experiment, quick=True), tmp_path / "out")
    assert [note for note in result.notes if note != MISSING and "grid" not in note] == []
    assert {verdict.claim for verdict in result.verdicts} == set(experiment.claims) <= CLAIMS.keys()
    assert result.tables
    assert all(len(row) == len(table.columns) for table in result.tables for row in table.rows)
    assert QUICK in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    values = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert values["quick"] is True
    assert len(values["runs"]) == sum(2 if arm["seeded"] else 1 for arm in values["arms"])
    again = min((tmp_path / "out" / "results").glob("*--seed-1.json"))  # a run is a function of its arm and seed
    before = without_clocks(again)
    again.unlink()
    run_experiment(experiment, scale_of(experiment, quick=True), tmp_path / "out")
    assert without_clocks(again) == before


def without_clocks(result: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))["values"]
    return {name: value for name, value in values.items() if not name.endswith("seconds")}


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_full_form_of_every_experiment_is_planned(name: str):
    experiment = EXPERIMENTS[name]
    arms = experiment.arms(scale_of(experiment))
    assert len({arm.name for arm in arms}) == len(arms)
    assert json.dumps([arm.as_dict() for arm in arms])
    for sentence in (experiment.question, experiment.rule):
        assert sentence.endswith((".", "?"))
    assert experiment.question.count("?") == 1


def trial(folder: Path, interruption: Interruption) -> Trial:
    experiment = EXPERIMENTS["attention"]
    scale = scale_of(experiment, quick=True)
    arm = next(one for one in experiment.arms(scale) if one.name == "lstm")
    return Trial(arm, arm.choices[0], 1, scale, folder, folder.parent, interruption=interruption)


def trained(folder: Path, interruption: Interruption, stop_after: int = 0) -> dict[str, Any]:
    """What a small training gives; a signal comes after a step."""

    def listen(session: Any, record: Any) -> None:
        if record.step == stop_after:
            interruption.ask(signal.SIGTERM)

    options = {"hidden_size": 4, "window": 8, "batch_size": 2, "max_steps": 6, "eval_every": 2, "dropout": 0.1}
    return train_language_model(trial(folder, interruption), options, listener=listen if stop_after else None).numbers


def measured(folder: Path, interruption: Interruption, stop_after: int = 0) -> dict[str, Any]:
    """The same without its clocks."""
    numbers = trained(folder, interruption, stop_after)
    return {name: value for name, value in numbers.items() if not name.endswith("seconds")}


def test_a_training_that_is_interrupted_goes_on_to_the_same_bits(tmp_path: Path):
    whole = measured(tmp_path / "whole", Interruption())
    assert whole["updates"] == 6
    with pytest.raises(Interrupted):
        measured(tmp_path / "cut", Interruption(), stop_after=3)
    assert measured(tmp_path / "cut", Interruption()) == whole


def test_the_processors_seconds_are_those_of_all_processes_or_unknown(tmp_path: Path):
    for folder in (tmp_path / "asked", tmp_path / "killed"):
        with pytest.raises(Interrupted):
            trained(folder, Interruption(), stop_after=3)
    clock = tmp_path / "asked" / "clock.json"
    first = json.loads(clock.read_text(encoding="utf-8"))
    assert first["step"] == 3
    clock.write_text(json.dumps({**first, "seconds": 1000.0}), encoding="utf-8")
    assert 1000 < trained(tmp_path / "asked", Interruption())["cpu_seconds"] < 1100
    (tmp_path / "killed" / "clock.json").unlink()
    assert trained(tmp_path / "killed", Interruption())["cpu_seconds"] is None


def test_a_training_whose_folder_is_damaged_is_begun_anew(tmp_path: Path):
    whole = measured(tmp_path / "whole", Interruption())
    with pytest.raises(Interrupted):
        measured(tmp_path / "cut", Interruption(), stop_after=3)
    (tmp_path / "cut" / "run" / "run.json").write_text("{", encoding="utf-8")
    assert measured(tmp_path / "cut", Interruption()) == whole


def test_a_run_of_an_experiment_has_ended_and_is_one_of_lmkits(tmp_path: Path):
    experiment = EXPERIMENTS["tokens"]
    scale = scale_of(experiment, quick=True)
    arm = experiment.arms(scale)[0]
    folder = tmp_path / "run"
    values = experiment.measure(Trial(arm, arm.choices[0], 1, scale, folder, tmp_path))
    summary = RunSummary.read(RunDirectory(folder / "run"))
    assert summary.status == "finished"
    model = load_language_model(folder / "run")
    _, test = model.split_tokens("test")
    assert values["test"] == pytest.approx(model.measure(test, split="test").evaluation.nats_per_token, rel=1e-6)
    assert not math.isnan(values["valid"])


def test_a_loss_that_is_not_finite_is_a_result_without_numbers(tmp_path: Path):
    options = {"hidden_size": 4, "window": 8, "batch_size": 2, "max_steps": 9, "optimizer": "sgd", "lr": 1e39}
    run = train_language_model(trial(tmp_path / "run", Interruption()), {**options, "max_grad_norm": 0.0})
    assert run.model is None
    assert run.numbers["diverged"] is True
    assert run.numbers["valid"] is None
