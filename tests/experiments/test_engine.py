"""The engine: every run once, choices on validation with seeds of their own, and nothing lost by an interruption."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmkit.errors import ConfigError, FailedError, RunError
from lmkit.experiments.contract.arm import Arm, file_name, grid
from lmkit.experiments.contract.interruption import Interrupted, Interruption
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.engine import engine
from lmkit.experiments.engine.checks import unequal
from lmkit.experiments.engine.engine import run_experiment, scale_of
from lmkit.experiments.engine.store import identity
from lmkit.experiments.engine.task import Task, choose, ends_of_grids
from lmkit.plots.charts import Chart
from tests.trials import DeadlyDice, Dice

SCALE = Scale(seeds=4)
RUNS = 3 + 4 + 4 + 1  # of tuning, and of the three arms


def written(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture(autouse=True, scope="module")
def _nothing_drawn() -> Iterator[None]:
    """Pictures have tests of their own, and take longer than all dice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "render", lambda chart: b"<svg/>")
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run_experiment(Dice(), SCALE, folder)
    return folder


def test_choices_are_made_with_seeds_that_do_not_count(whole: Path):
    result = written(whole)
    tuned = {run["seed"] for run in result["tuning"]}
    counted = {run["seed"] for run in result["runs"]}
    assert (len(result["tuning"]), len(result["runs"])) == (3, 9)
    assert counted == {1, 2, 3, 4}
    assert not tuned & counted
    chosen = {arm["name"]: arm["chosen"] for arm in result["arms"]}
    assert chosen == {"fair": {}, "weighted": {"weight": 2.0}, "known": {}}
    assert [note for note in result["notes"] if "grid" in note] == [
        "weighted: the best weight, 2, is the largest of its grid."
    ]


def test_an_experiment_that_is_interrupted_after_any_run_ends_as_one_that_is_not(whole: Path, tmp_path: Path):
    for made in range(1, RUNS):
        folder, interruption = tmp_path / str(made), Interruption()
        seen: list[float] = []

        def stop(stage: str, share: float, made: int = made, seen: list[float] = seen, it: Any = interruption) -> None:
            seen.append(share)
            if len(seen) == 1 + made:
                it.ask(signal.SIGINT)

        with pytest.raises(Interrupted):
            run_experiment(Dice(), SCALE, folder, progress=stop, interruption=interruption)
        assert len(list((folder / "results").iterdir())) == made
        assert not (folder / "result.json").exists()
        run_experiment(Dice(), SCALE, folder)
        for name in ("result.json", "report.md", "means.svg"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_that_is_there_is_not_made_again_unless_it_is_damaged(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_experiment(Dice(), SCALE, tmp_path / "out")
    calls: list[str] = []
    measure = Dice.measure

    def counted(self: Dice, trial: Trial) -> Any:
        calls.append(f"{trial.arm.name} {trial.seed}")
        return measure(self, trial)

    monkeypatch.setattr(Dice, "measure", counted)
    run_experiment(Dice(), SCALE, tmp_path / "out")
    assert calls == []
    (tmp_path / "out" / "results" / "fair--seed-3.json").write_text('{"values":', encoding="utf-8")
    run_experiment(Dice(), SCALE, tmp_path / "out")
    assert calls == ["fair 3"]
    assert (tmp_path / "out" / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    run_experiment(Dice(), Scale(seeds=5), tmp_path / "out")
    assert calls == ["fair 3", "fair 5", "weighted 5"]


def test_a_folder_of_something_else_is_refused(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RunError, match="holds the full form of this experiment"):
        run_experiment(Dice(), Scale(seeds=2, quick=True), whole)
    with pytest.raises(RunError, match="on another text"):
        run_experiment(Dice(), Scale(seeds=4, corpus="markov:100"), whole)
    with monkeypatch.context() as patch:
        patch.setattr(Dice, "arms", lambda self, scale: [Arm("fair")])
        with pytest.raises(RunError, match="with other arms"):
            run_experiment(Dice(), SCALE, whole)
    with monkeypatch.context() as patch:
        patch.setattr(Dice, "name", "cards")
        with pytest.raises(RunError, match="holds the experiment dice"):
            run_experiment(Dice(), SCALE, whole)
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is no experiment of lmkit's"):
        run_experiment(Dice(), SCALE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_text_of_the_same_name_that_holds_something_else_is_refused(tmp_path: Path):
    text = tmp_path / "book.txt"
    text.write_text("The first edition.", encoding="utf-8")
    scale = Scale(seeds=2, corpus=str(text))
    folder = tmp_path / "out"
    run_experiment(Dice(), scale, folder)
    run_experiment(Dice(), scale, folder)
    text.write_text("The second edition.", encoding="utf-8")
    with pytest.raises(RunError, match=r"book\.txt held before it was changed"):
        run_experiment(Dice(), scale, folder)
    known = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
    del known["texts"]  # as early versions wrote it
    (folder / "experiment.json").write_text(json.dumps(known), encoding="utf-8")
    run_experiment(Dice(), scale, folder)


def test_texts_that_arms_are_trained_on_are_known_by_what_they_hold(tmp_path: Path):
    text = tmp_path / "book.txt"
    arms = (Arm("a", {"corpus": str(text)}), Arm("b", choices=({"corpus": "pydoc"}, {"corpus": str(text)})))
    known = []
    for content in ("The first edition.", "The second edition."):
        text.write_text(content, encoding="utf-8")
        known.append(identity(Dice(), arms, SCALE)["texts"])
    assert [list(one) for one in known] == [[str(text)], [str(text)]]
    assert known[0] != known[1]


def test_a_mistake_in_a_later_run_keeps_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measure = Dice.measure

    def mistaken(self: Dice, trial: Trial) -> Any:
        if trial.arm.name == "known":
            raise ConfigError("A mistake.")
        return measure(self, trial)

    monkeypatch.setattr(Dice, "measure", mistaken)
    with pytest.raises(ConfigError):
        run_experiment(Dice(), SCALE, tmp_path / "out")
    assert len(list((tmp_path / "out" / "results").iterdir())) == 3 + 2


def test_a_text_or_a_number_of_seeds_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="has texts of its own"):
        scale_of(Dice(), corpus="pydoc")
    with pytest.raises(ConfigError, match="at least 2"):
        scale_of(Dice(), seeds=1)
    assert (scale_of(Dice()).seeds, scale_of(Dice(), quick=True).seeds) == (4, 2)


def test_without_matplotlib_there_are_tables_and_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "can_render", lambda: False)
    result = run_experiment(Dice(), SCALE, tmp_path / "out")
    assert any("pip install matplotlib" in note for note in result.notes)
    assert not list((tmp_path / "out").glob("*.svg"))
    assert "![" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_broken_matplotlib_loses_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(chart: Chart) -> bytes:
        assert written(tmp_path / "out")["runs"], "the numbers are kept before anything is drawn"
        raise FailedError("Nothing can be drawn.")

    monkeypatch.setattr(engine, "render", fail)
    result = run_experiment(Dice(), SCALE, tmp_path / "out")
    assert result.notes[-1] == written(tmp_path / "out")["notes"][-1] == "Nothing can be drawn."
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Nothing can be drawn." in report
    assert "![" not in report


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_and_a_killed_one_loses_its_run_alone(whole: Path, tmp_path: Path):
    with pytest.raises(FailedError, match="was killed"):
        run_experiment(DeadlyDice(), SCALE, tmp_path / "out", jobs=2)
    assert not (tmp_path / "out" / "results" / "weighted--weight=2.0--seed-2.json").exists()
    run_experiment(DeadlyDice(), SCALE, tmp_path / "out", jobs=2)
    assert (tmp_path / "out" / "result.json").read_bytes() == (whole / "result.json").read_bytes()


def outcomes(*runs: tuple[str, int, float | None], arms: tuple[Arm, ...] = (Arm("a"), Arm("b"))) -> Outcomes:
    return Outcomes(SCALE, arms, tuple(Run(arm, {}, seed, False, {"x": value}) for arm, seed, value in runs))


def test_arms_that_were_not_given_the_same_are_named():
    found = outcomes(("a", 1, 100.0), ("b", 1, 101.0), ("a", 2, 100.0), ("b", 2, 110.0))
    assert unequal(found, {"x": 0.02}) == ["The arms had unequal x: a 100, b 110 (seed 2)."]
    assert unequal(found, {"x": 0.1, "y": 0.0}) == []
    assert unequal(found, {"x": 0.02}, {"x": ("a",)}) == []
    in_seconds = outcomes(("a", 1, 100.0), ("b", 1, 500.0), arms=(Arm("a"), Arm("b", budget="seconds")))
    assert unequal(in_seconds, {"x": 0.02}) == []


def test_the_choice_is_the_lowest_mean_and_never_one_that_was_not_finite():
    arm = Arm("a", choices=grid(lr=(1, 2, 3)))
    scores: list[tuple[int, float | None]] = [(1, 5.0), (1, 1.0), (2, 2.0), (2, 2.5), (3, 0.0), (3, None)]
    runs = [Run("a", {"lr": lr}, seed, True, {"valid": value}) for seed, (lr, value) in enumerate(scores)]
    assert choose(arm, runs, "valid") == {"lr": 2}
    assert ends_of_grids([arm], {"a": {"lr": 2}}) == []
    assert ends_of_grids([arm], {"a": {"lr": 1}}) == ["a: the best lr, 1, is the smallest of its grid."]


def test_names_of_files_have_no_blanks_or_slashes():
    assert file_name("LSTM, tied / 2", "lr=0.01", "", "seed-3") == "lstm-tied-2--lr=0.01--seed-3"
    assert [dict(one) for one in grid(lr=(1, 2), size=(3,))] == [{"lr": 1, "size": 3}, {"lr": 2, "size": 3}]


def test_a_long_name_of_a_run_is_cut_and_stays_its_own():
    arms = [Arm(f"corpus {'x' * 300} {number}") for number in range(2)]
    names = {Task(arm, {"lr": 0.1}, seed, tuning=False).name for arm in arms for seed in (1, 2)}
    assert len(names) == 4
    assert all(len(name) <= 220 for name in names)
    assert Task(Arm("short"), {"lr": 0.1}, 1, tuning=False).name == "short--lr=0.1--seed-1"


def test_the_first_signal_waits_for_a_check_within_patient_work():
    interruption = Interruption()
    with interruption.patient():
        interruption.ask(signal.SIGINT)
    with pytest.raises(Interrupted):
        interruption.check()
    with pytest.raises(Interrupted):
        Interruption().ask(signal.SIGTERM)
