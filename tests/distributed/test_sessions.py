"""Runs of several processes: one folder, stopped and resumed in as many processes or in others."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config, FineTuning
from lmkit.distributed.world import ALONE, World
from lmkit.errors import LmkitError, RunError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.session.language.kind import LANGUAGE_MODELS
from lmkit.session.language.measurements import VALIDATION_ROWS
from lmkit.session.processes.follower import Follower
from lmkit.session.session import Session
from lmkit.session.tuning.origin import Origin
from lmkit.training import loop
from tests.distributed.processes import Join, in_processes
from tests.runs import SMALL, assert_same, write_text

STEPS, STOP = 24, 13
MASKS = {"dropout": 0.3, "weight_drop": 0.2, "num_layers": 2}
PLAIN = {"dropout": 0.0, "sampler": "random"}
RUN = {**SMALL, "batch_size": 5, "max_steps": STEPS, "eval_every": 7, "checkpoint_every": 4, "checkpoint_seconds": 0}
OF_TRAINING = {name: value for name, value in RUN.items() if name != "hidden_size"}
BACK = {"on_nonfinite": "rollback", **PLAIN}


def config(text: Path, **options: Any) -> Config:
    return Config().override({**RUN, "corpus": str(text), **options})


def train(session: Session, stop: int | None = None) -> Any:
    """To the end, or until a step. Returns the signal that another process has received."""
    with session, closing(session.records()) as records:
        for record in records:
            if session.signal_elsewhere or record.step == stop:
                session.stop()
                return session.signal_elsewhere
        session.close()
    return 0


def begin(world: World, chosen: Config, run: Path, stop: int | None = None, signal: int = 0) -> Any:
    """A run in this world, and what came of it here."""
    if world.main:
        return train(Session.begin(chosen, run, world=world), stop)
    asked = iter(range(1000))
    return Follower.begin(LANGUAGE_MODELS, chosen, world).run(lambda: signal if next(asked) > STOP else 0)


def fine_tune(world: World, text: Path, start: Path, run: Path) -> Any:
    origin = Origin.open(FineTuning(init_from=str(start)))
    chosen = origin.configure({**OF_TRAINING, "corpus": str(text), "dropout": 0.0, "weight_drop": 0.0})
    if world.main:
        return train(Session.begin(chosen, run, origin=origin, world=world))
    return Follower.begin(LANGUAGE_MODELS, chosen, world, origin).run()


def resume(world: World, run: Path) -> Any:
    return train(Session.resume(run, world=world)) if world.main else Follower.resume(LANGUAGE_MODELS, world).run()


def refusal(world: World, chosen: Config, run: Path) -> str:
    try:
        begin(world, chosen, run)
    except LmkitError as error:
        return str(error)
    finally:
        world.leave()
    return "no error"


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_close(run: Path, other: Path) -> None:
    """The same lines, with numbers that differ by rounding."""
    mine, theirs = metrics(run), metrics(other)
    assert [list(line) for line in mine] == [list(line) for line in theirs]
    for one, two in zip(mine, theirs, strict=True):
        rounded = {name: pytest.approx(value, rel=1e-4) for name, value in two.items() if isinstance(value, float)}
        assert one == {**two, **rounded}


class Broken(BaseException):
    """As a signal raises it."""


def break_off(world: World, chosen: Config, run: Path) -> Any:
    """A run that is stopped within its second validation."""
    if not world.main:
        return Follower.begin(LANGUAGE_MODELS, chosen, world).run()
    with Session.begin(chosen, run, world=world) as session, closing(session.records()) as records:

        def before() -> None:
            if session.train.step == 14:
                raise Broken

        session.measurements.before = before
        with pytest.raises(Broken):
            for _ in records:
                pass
        session.stop()
        return session.train.step


def rows_of_validations(patch: pytest.MonkeyPatch) -> list[int]:
    """How many rows this process scores at once, noted from now on."""
    score, found = NetworkPredictor.score, []

    def noted(self: NetworkPredictor, tokens: Any, *others: Any) -> Any:
        found.append(len(tokens))
        return score(self, tokens, *others)

    patch.setattr(NetworkPredictor, "score", noted)
    return found


def divide_by_zero(patch: pytest.MonkeyPatch) -> None:
    take_step: Any = vars(loop)["take_step"]

    def poisoned(train: Any, window: Any, update: Any, **given: Any) -> Any:
        changes = {"targets_per_window": 0.0} if train.step + 1 in (10, 17) else {}
        return take_step(train, window, update, **{**given, **changes})

    patch.setattr(loop, "take_step", poisoned)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """Runs of two processes, and ``told.json``: what each process heard."""
    folder = tmp_path_factory.mktemp("two")

    def work(join: Join) -> Any:
        whole, masks, plain = folder / "whole", config(text, **MASKS), config(text, **PLAIN)
        told: dict[str, Any] = {"whole": begin(join(), masks, whole)}
        begin(join(), masks, folder / "stopped", STOP)
        told["resumed"] = resume(join(), folder / "stopped")
        begin(join(), masks, folder / "masks", STOP)
        begin(join(), plain, folder / "plain", STOP)
        told["signal"] = begin(join(), plain, folder / "signal", signal=15)
        told["exists"] = refusal(join(), masks, whole)
        world = join()
        other = config(text, **PLAIN, **({} if world.main else {"lr": 0.1}))
        told["other options"] = refusal(world, other, folder / "other")
        told["no rows"] = refusal(join(), config(text, batch_size=1), folder / "rows")
        with pytest.MonkeyPatch.context() as patch:
            divide_by_zero(patch)
            told["rollback"] = begin(join(), config(text, **BACK), folder / "back")
        told["tuned"] = fine_tune(join(), text, whole, folder / "tuned")
        told["broken off"] = break_off(join(), masks, folder / "broken-off")
        told["and resumed"] = resume(join(), folder / "broken-off")
        with pytest.MonkeyPatch.context() as patch:
            rows = rows_of_validations(patch)
            begin(join(), config(text, max_steps=7), folder / "short")
            told["rows"] = rows
        return told

    told = in_processes(2, work, folder, worlds=14)
    (folder / "told.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "told.json").read_text())
    return found


def test_a_stopped_run_resumed_in_as_many_processes_becomes_the_uninterrupted_one(folder: Path, told: Any):
    assert_same(folder / "stopped", folder / "whole")
    assert [one["whole"] for one in told] == [one["resumed"] for one in told] == [0, 0]


def test_a_run_without_masks_goes_on_in_one_process_to_rounding(folder: Path, text: Path, tmp_path: Path):
    train(Session.begin(config(text, **PLAIN), tmp_path / "alone"))
    train(Session.resume(folder / "plain"))
    assert_close(folder / "plain", tmp_path / "alone")
    record = json.loads((folder / "plain" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["resumes"][-1]["inexact"] == ["processes 2 then, 1 now"]


def test_masks_of_other_processes_need_a_word(folder: Path):
    with pytest.raises(RunError, match=r"trained by 2 processes.*--allow-inexact"):
        Session.resume(folder / "masks")
    train(Session.resume(folder / "masks", allow_inexact=True))
    assert metrics(folder / "masks")[-1]["step"] == metrics(folder / "whole")[-1]["step"]


def test_a_rollback_is_one_of_all_processes(folder: Path, text: Path, tmp_path: Path):
    with pytest.MonkeyPatch.context() as patch:
        divide_by_zero(patch)
        train(Session.begin(config(text, **BACK), tmp_path / "alone"))
    assert_close(folder / "back", tmp_path / "alone")
    assert sum(line.get("skipped", 0) for line in metrics(folder / "back")) == 2


def test_a_fine_tuning_begins_with_the_weights_of_its_run_in_all_processes(folder: Path, text: Path, tmp_path: Path):
    fine_tune(ALONE, text, folder / "whole", tmp_path / "alone")
    assert_close(folder / "tuned", tmp_path / "alone")


def test_a_signal_that_one_process_receives_stops_all(folder: Path, told: Any):
    assert [one["signal"] for one in told] == [15, 0]
    assert [path.name for path in (folder / "signal" / "checkpoints").iterdir()]
    assert "final" not in {line["kind"] for line in metrics(folder / "signal")}


def test_all_processes_validate_together(told: Any):
    assert set(told[1]["rows"]) == {VALIDATION_ROWS // 2}
    assert told[0]["rows"][: len(told[1]["rows"])] == told[1]["rows"]  # what follows is the closing measurement


def test_a_validation_that_is_broken_off_leaves_no_trace(folder: Path, told: Any):
    assert [one["broken off"] for one in told] == [14, 0]
    assert_same(folder / "broken-off", folder / "whole")


@pytest.mark.parametrize(
    ("case", "sentence", "run"),
    [
        ("exists", "exists already", None),
        ("other options", "The configuration of process 1 differs from that of process 0", "other"),
        ("no rows", "2 processes need a row each, and --batch-size 1 gives only 1", "rows"),
    ],
)
def test_what_one_process_cannot_do_none_does(folder: Path, told: Any, case: str, sentence: str, run: str | None):
    assert all(sentence in one[case] for one in told)
    assert run is None or not (folder / run).exists()
