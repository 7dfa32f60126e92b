"""A run that was stopped, wherever, and resumed is the run that was not, to the last byte of its files.

The equalities of the train state alone are in tests/training/test_resume.py; here they go through the run folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import RESUMABLE, Config
from lmkit.errors import ConfigError, LmkitError, RunError
from lmkit.evaluation.measurement import Measurement
from lmkit.evaluation.measurement import measure as measured
from lmkit.fields import flag_of
from lmkit.model.cells import CELLS
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.session.records.fingerprint import fingerprint
from lmkit.session.session import Session
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord
from tests import runs
from tests.runs import assert_same, everything, validations_on_a_curve, write_text

SMALL: dict[str, Any] = {**runs.SMALL, "dropout": 0.2, "max_steps": 26, "eval_every": 9}
PLATEAU = {"optimizer": "sgd", "schedule": "plateau", "lr": 1.0, "max_grad_norm": 0.0}
PLACEMENT = ("device", "precision", "threads")
Record = StepRecord | EvaluationRecord
When = Callable[[Session, Record], bool]
Make = Callable[..., Session]
Needs = Callable[..., None]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def make(text: Path, tmp_path: Path) -> Make:
    """A new session in tmp_path/<name>; a warning fails the test."""

    def call(name: str, **options: Any) -> Session:
        values = {**SMALL, "corpus": str(text), **options}
        return Session(Config().override(values), tmp_path / name, warn=pytest.fail)

    return call


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def _validations_on_a_curve() -> Iterator[None]:
    with validations_on_a_curve():
        yield


def go_on(run: Path, **changes: Any) -> Session:
    torch.rand(3)  # what this process has drawn before does not matter
    return Session.resume(run, changes, warn=pytest.fail)


def closed(records: Generator[Record, None, None]) -> Iterator[Record]:
    """The same records; the loop over them is left for good when it is left."""
    with closing(records):
        yield from records


def finish(session: Session) -> Measurement | None:
    list(session.records())
    result = session.close()
    assert session.unsaved is None
    return result


def stop_when(session: Session, when: When) -> Path:
    """Train until a record that is so, and stop there."""
    with closing(session.records()) as records:
        found = any(when(session, record) for record in records)
    assert found, "the training never came to the place to stop at"
    session.stop()
    assert session.unsaved is None
    return session.run.path


def crash(session: Session, when: When) -> Path:
    """Train until a record that is so, and leave nothing but what is on the disk by then."""
    with closing(session.records()) as records:
        assert any(when(session, record) for record in records)
    session.release()  # as the end of a process does
    return session.run.path


def at_step(step: int) -> When:
    return lambda session, record: isinstance(record, StepRecord) and record.step == step


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(session: Session) -> bytes:
    return bytes(session.run.model_bytes(session.model))


# every kind of run, once


OPTIMIZERS: list[dict[str, Any]] = [PLATEAU, {"optimizer": "adamw", "schedule": "cosine"}]
REGULARISED: dict[str, Any] = {
    "weight_drop": 0.4,
    "embedding_type_dropout": 0.2,
    "locked_dropout": True,
    "ar_alpha": 2.0,
    "tar_beta": 1.0,
    "drop_state": 0.2,
}
KINDS = [  # each cell once, and every two of sampler, optimiser and precision
    (cell, sampler, OPTIMIZERS[(i + j) % 2], ("float32", "bfloat16")[(i // 2 + j) % 2])
    for i, cell in enumerate(CELLS)
    for j, sampler in enumerate(("sequential", "random", "document"))
    if i % 3 == j or cell in ("gru", "lstm")
]
KINDS += [
    ("gru", "sequential", {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1}, "float32"),
    ("lstm", "random", {"optimizer": "rmsprop", "momentum": 0.5, "lr": 0.01}, "float32"),
    ("lstm", "document", {"optimizer": "adagrad", "lr": 0.1}, "float32"),
    ("gru", "random", {"optimizer": "muon", "muon_lr": 0.02, "accumulate": 3}, "float32"),
]
KINDS += [
    ("lstm", "sequential", {**PLATEAU, **REGULARISED, "window_jitter": 3}, "bfloat16"),
    ("gru", "document", {**OPTIMIZERS[1], **REGULARISED, "zoneout": 0.1}, "float32"),
]


@pytest.mark.parametrize(("cell", "sampler", "optimizer", "precision"), KINDS)
def test_a_stopped_run_becomes_the_uninterrupted_one(
    make: Make, needs_bfloat16: Needs, cell: str, sampler: str, optimizer: dict[str, Any], precision: str
):
    documents = "line" if sampler == "document" else "file"
    needs_bfloat16(cell, precision)
    options = {"cell": cell, "sampler": sampler, "precision": precision, "documents": documents, **optimizer}
    whole = make("whole", **options)
    seen = []
    for record in whole.records():
        if record.step in (13, 14):
            seen.append(weights(whole))
    result = whole.close()
    assert seen[0] != seen[1], "a step changes the weights"
    assert len(seen) == 2
    run = stop_when(make("stopped", **options), at_step(13))
    session = go_on(run)
    assert weights(session) == seen[0]
    assert finish(session) == result
    assert_same(run, whole.run.path)


NT_ASGD = {"optimizer": "sgd", "lr": 0.5, "average": "nt-asgd", "average_n": 1, "eval_every": 4}  # begins at step 16
AVERAGES: list[tuple[dict[str, Any], When]] = [
    ({"average": "ema", "average_decay": 0.9, "optimizer": "adamw", "tie_embeddings": True}, at_step(13)),
    ({"average": "swa", "average_start": 0.3, "cell": "gru"}, at_step(7)),  # before it begins
    ({"average": "swa", "average_start": 0.3, "head": "adaptive", "tie_embeddings": True}, at_step(20)),
    (NT_ASGD, at_step(13)),
    (NT_ASGD, lambda session, record: isinstance(record, EvaluationRecord) and record.step == 16),
    (NT_ASGD, at_step(19)),
]


@pytest.mark.parametrize(("options", "when"), AVERAGES)
def test_a_mean_of_the_weights_is_the_same_whether_a_run_was_stopped_or_not(
    make: Make, options: dict[str, Any], when: When
):
    whole = make("whole", **options)
    result = finish(whole)
    average = whole.train.average
    assert average is not None
    assert (average.started_at, int(average.count)) == {"ema": (1, 26), "swa": (8, 19), "nt-asgd": (16, 11)}[
        average.kind
    ]
    run = stop_when(make("stopped", **options), when)
    assert finish(go_on(run)) == result
    assert_same(run, whole.run.path)


@pytest.mark.parametrize("options", [NT_ASGD, {"average": "ema", "schedule": "constant"}], ids=["nt-asgd", "ema"])
def test_a_run_with_a_mean_that_is_extended_is_the_longer_run(make: Make, options: dict[str, Any]):
    whole = make("whole", **{**options, "max_steps": 33})
    result = finish(whole)
    short = make("run", **{**options, "max_steps": 20})
    finish(short)
    assert finish(go_on(short.run.path, max_steps=33)) == result
    assert_same(short.run.path, whole.run.path)


def test_what_is_kept_and_opened_is_the_mean(make: Make):
    session = make("run", average="swa", average_start=0.3, eval_every=13, max_steps=31)
    means = {}
    for record in session.records():
        if isinstance(record, EvaluationRecord):
            means[record.step] = session.run.model_bytes(session.train.measured)
            assert means[record.step] != weights(session)
    session.stop()
    folder = session.run.path
    assert (folder / "model.safetensors").read_bytes() == means[26], "the last one is worse"
    assert (folder / "checkpoints" / "step-00000031" / "model.safetensors").read_bytes() == means[31]
    last = lmkit.load(folder, checkpoint="last").model
    assert session.run.model_bytes(last) == means[31]


# wherever it is stopped


VARIED = {**PLATEAU, "eval_every": None, "epochs": 3, "max_steps": None}


@pytest.fixture(scope="module")
def varied(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run: 3 epochs of 17 windows or so, a validation after each."""
    values = {**SMALL, "corpus": str(text), **VARIED}
    session = Session(Config().override(values), tmp_path_factory.mktemp("varied") / "run", warn=pytest.fail)
    finish(session)
    assert session.train.validations.bad_validations > 0  # the plateau schedule has something to remember
    return session.run.path


POSITIONS: dict[str, When] = {
    "after the first step": at_step(1),
    "in the middle of an epoch": lambda session, record: (record.epoch, session.train.index) == (1, 8),
    "before the last window of an epoch": lambda session, record: (
        session.train.index == session.sampler.num_windows(record.epoch) - 1
    ),
    "before a validation": lambda session, record: session.train.index == 0,
    "after a validation": lambda session, record: isinstance(record, EvaluationRecord),
    "after a validation that was not the best": lambda session, record: (
        isinstance(record, EvaluationRecord) and not record.is_best
    ),
    "after the first window of an epoch": lambda session, record: (record.epoch, session.train.index) == (1, 1),
    "after the last step": lambda session, record: session.finished,
    "after the last validation": lambda session, record: session.finished and isinstance(record, EvaluationRecord),
}


@pytest.mark.parametrize("when", POSITIONS.values(), ids=list(POSITIONS))
def test_it_does_not_matter_where_a_run_is_stopped(make: Make, varied: Path, when: When):
    run = stop_when(make("run", **VARIED), when)
    finish(go_on(run))
    assert_same(run, varied)


def test_a_run_that_is_stopped_before_its_first_step_is_resumed_from_there(make: Make, varied: Path):
    session = make("run", **VARIED)
    session.stop()
    finish(go_on(session.run.path))
    assert_same(session.run.path, varied)


def test_a_run_without_a_checkpoint_begins_anew(make: Make, varied: Path):
    run = crash(make("run", **VARIED), at_step(5))
    assert not list(run.glob("checkpoints/step-*"))
    session = go_on(run)
    assert session.started_at == 0
    finish(session)
    assert_same(run, varied)


def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(make: Make, varied: Path):
    run = crash(make("run", **VARIED, checkpoint_every=4), at_step(15))
    session = go_on(run)
    assert session.started_at == 12
    finish(session)
    assert_same(run, varied)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_validation_that_is_broken_off_is_done_again(make: Make, varied: Path, number: int, monkeypatch: Any):
    session = make("run", **VARIED)
    break_measurement(monkeypatch, number)
    with pytest.raises(KeyboardInterrupt):
        list(session.records())
    monkeypatch.undo()
    session.stop()
    finish(go_on(session.run.path))
    assert_same(session.run.path, varied)


def break_measurement(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl-C in the middle of the measurement with this number."""
    counter = itertools.count(1)

    def measure(*arguments: Any, **options: Any) -> Any:
        result = measured(*arguments, **options)
        if next(counter) == number:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr("lmkit.session.language.measurements.measure", measure)


def test_a_closing_measurement_that_is_broken_off_is_done_again(make: Make, varied: Path, monkeypatch: Any):
    session = make("run", **VARIED)
    list(session.records())
    break_measurement(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        session.close()
    monkeypatch.undo()
    session.stop()
    finish(go_on(session.run.path))
    assert_same(session.run.path, varied)


def test_a_run_may_be_stopped_after_every_record(make: Make):
    options = {**PLATEAU, "max_steps": 24, "eval_every": 5}
    whole = make("whole", **options)
    result = finish(whole)
    session = make("run", **options)
    for stop in range(24 + 4):
        assert len(list(itertools.islice(closed(session.records()), 1))) == 1, stop
        session.stop()
        session = go_on(session.run.path)
    assert session.finished
    list(session.records())
    assert session.close() == result
    assert_same(session.run.path, whole.run.path)


@pytest.mark.parametrize("stop", [20, 21, 35, 48])
def test_early_stopping_goes_on_counting(make: Make, stop: int):
    options = {"optimizer": "adamw", "schedule": "constant", "lr": 0.3, "eval_every": 3, "max_steps": 60, "patience": 3}
    whole = make("whole", **options)
    finish(whole)
    assert 48 < whole.train.step < 60, "the run must end early"
    run = stop_when(make("run", **options), at_step(stop))
    session = go_on(run)
    finish(session)
    assert session.train.validations == whole.train.validations
    assert_same(run, whole.run.path)


def test_without_validation_it_is_the_same(make: Make):
    options = {"valid_fraction": 0.0, "test_fraction": 0.0}
    whole = make("whole", **options)
    assert finish(whole) is None
    run = stop_when(make("run", **options), at_step(11))
    assert lmkit.load(run).sample(length=3), "a stopped run can be tried"
    assert finish(go_on(run)) is None
    assert_same(run, whole.run.path)


def test_seconds_go_on_where_they_were(make: Make, monkeypatch: pytest.MonkeyPatch):
    """With a clock that moves a hundredth of a second a step; set-up, validation and saving do not count."""
    clock = itertools.count()
    monkeypatch.setattr("lmkit.training.loop.time", SimpleNamespace(perf_counter=lambda: next(clock) / 128))
    options = {"max_steps": None, "max_seconds": 20 / 128, "optimizer": "adamw", "schedule": "cosine"}
    whole = make("whole", **options)
    finish(whole)
    assert whole.train.step == 20
    run = stop_when(make("run", **options), at_step(12))
    session = go_on(run)
    assert session.train.elapsed == 12 / 128
    assert session.progress == 12 / 20
    finish(session)
    assert_same(run, whole.run.path)


# after the end


EARLY = {**PLATEAU, "patience": 1, "eval_every": 3}


@pytest.mark.parametrize("options", [{}, EARLY], ids=["steps", "patience"])
def test_resuming_a_run_that_has_ended_gives_its_result_and_changes_no_byte(make: Make, options: dict[str, Any]):
    """The clocks of the closing validation are measured again: timings.jsonl gets a line."""
    whole = make("run", **options)
    result = finish(whole)
    before = everything(whole.run.path)
    assert finish(go_on(whole.run.path)) == result
    after = everything(whole.run.path)
    assert after.pop("timings.jsonl").startswith(before.pop("timings.jsonl"))
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_the_command_line_prints_the_result_of_a_run_that_has_ended_again(make: Make):
    session = make("run")
    finish(session)
    printed = [CliRunner().invoke(main, ["train", "--resume", str(session.run.path), "--json"]) for _ in range(2)]
    assert [one.exit_code for one in printed] == [0, 0]
    assert printed[0].stdout == printed[1].stdout
    assert json.loads(printed[0].stdout)["steps"] == SMALL["max_steps"]


@pytest.mark.parametrize("first", [1, 9, 10, 20, 23])
@pytest.mark.parametrize("options", [PLATEAU, {"optimizer": "adamw", "schedule": "constant"}], ids=["sgd", "adamw"])
def test_a_run_that_is_extended_is_the_longer_run(make: Make, first: int, options: dict[str, Any]):
    """Whatever the closing validation of the shorter one has found, and wherever a line of the metrics ends."""
    whole = make("whole", **{**options, "max_steps": 33})
    result = finish(whole)
    short = make("run", **{**options, "max_steps": first})
    finish(short)
    session = go_on(short.run.path, max_steps=33)
    assert session.started_at == first
    assert finish(session) == result
    assert_same(short.run.path, whole.run.path)
    info = session.run.info()
    assert info["resumes"] == [{"step": first, "changed": {"max_steps": [first, 33]}, "inexact": []}]
    assert session.run.stored().config.training.max_steps == 33


@pytest.mark.parametrize("breaking", ["after the closing validation", "in the closing measurement"])
def test_a_run_that_was_broken_off_at_its_end_can_be_extended(make: Make, breaking: str, monkeypatch: Any):
    whole = make("whole", **{**PLATEAU, "max_steps": 33})
    finish(whole)
    session = make("run", **{**PLATEAU, "max_steps": 20})
    list(session.records())
    if breaking == "in the closing measurement":
        break_measurement(monkeypatch, 1)
        with pytest.raises(KeyboardInterrupt):
            session.close()
        monkeypatch.undo()
    session.stop()
    assert session.unsaved is None
    finish(go_on(session.run.path, max_steps=33))
    assert_same(session.run.path, whole.run.path)


def test_a_run_may_be_extended_by_epochs_and_twice(make: Make):
    options = {**PLATEAU, "max_steps": None, "eval_every": 7}
    whole = make("whole", **options, epochs=3)
    finish(whole)
    run = make("run", **options, epochs=1)
    finish(run)
    for epochs in (2, 3):
        finish(go_on(run.run.path, epochs=epochs))
    assert_same(run.run.path, whole.run.path)
    assert len(run.run.info()["resumes"]) == 2


# what may change and what may not


def another(config: Config, name: str) -> Any:
    """A value of an option that is valid and not the run's."""
    (value,) = (section[name] for section in config.to_dict().values() if name in section)
    (item,) = (
        item
        for section in dataclasses.fields(config)
        for item in dataclasses.fields(getattr(config, section.name))
        if item.name == name
    )
    if choices := item.metadata.get("choices"):
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.8 + 0.01
    return {"corpus": "pydoc", "tokenizer": "word", "cutoffs": (2, 5), "vocab_size": 50}.get(
        name, 0.5 if "drop" in name else 3
    )


FIELDS = {
    item.name: flag_of(item)
    for section in dataclasses.fields(Config)
    for item in dataclasses.fields(getattr(Config(), section.name))
}


@pytest.fixture
def stopped(make: Make) -> Path:
    return stop_when(make("stopped"), at_step(13))


def test_every_option_that_makes_another_run_is_refused_by_its_flag(stopped: Path):
    before = everything(stopped)
    config = Config().override({**SMALL, "corpus": str(stopped)})
    with pytest.raises(RunError, match="--corpus pydoc is not the text"):  # the same text elsewhere is taken
        go_on(stopped, corpus="pydoc")
    names = [name for name in FIELDS if name not in (*RESUMABLE, "corpus")]
    assert len(names) > 30
    for name in names:
        with pytest.raises(ConfigError, match=rf"{FIELDS[name]}\b") as caught:
            go_on(stopped, **{name: another(config, name)})
        assert ("--allow-inexact" in str(caught.value)) == (name in PLACEMENT), name
    assert everything(stopped).keys() - before.keys() <= {"lock"}
    assert {name: everything(stopped)[name] for name in before} == before


def test_options_that_repeat_the_run_s_own_are_no_change(stopped: Path, make: Make):
    whole = make("whole")
    finish(whole)
    finish(go_on(stopped, hidden_size=8, precision="float32", max_steps=SMALL["max_steps"]))
    assert_same(stopped, whole.run.path)
    assert "resumes" not in whole.run.info()


def test_an_option_that_does_not_exist_is_refused(stopped: Path):
    with pytest.raises(ConfigError, match="did you mean max_steps"):
        go_on(stopped, max_step=40)


def test_checkpoint_options_may_change_and_change_nothing(stopped: Path, make: Make):
    whole = make("whole")
    finish(whole)
    session = go_on(stopped, checkpoint_every=3, checkpoint_seconds=0.0, keep_checkpoints=5)
    finish(session)
    assert_same(stopped, whole.run.path)
    assert {15, 18, 21, 24, 26} <= set(session.checkpoints.steps())
    assert session.run.info()["resumes"][0]["changed"]["checkpoint_every"] == [None, 3]


def test_where_a_rollback_goes_back_to_may_not_change(make: Make):
    run = stop_when(make("run", on_nonfinite="rollback", checkpoint_every=5), at_step(13))
    with pytest.raises(ConfigError, match="--checkpoint-every cannot change under --on-nonfinite rollback"):
        go_on(run, checkpoint_every=4)
    finish(go_on(run, checkpoint_every=5, keep_checkpoints=3))


@pytest.mark.parametrize(("name", "value"), [("threads", 2), ("precision", "bfloat16")])
def test_another_place_needs_leave_and_is_recorded(stopped: Path, needs_bfloat16: Needs, name: str, value: object):
    needs_bfloat16()
    with pytest.raises(ConfigError, match="--allow-inexact"):
        go_on(stopped, **{name: value})
    session = Session.resume(stopped, {name: value}, allow_inexact=True, warn=pytest.fail)
    (change,) = session.run.info()["resumes"]
    assert change["step"] == 13
    assert change["changed"] == {name: [SMALL[name], value]}
    assert change["inexact"] == [f"{name} {SMALL[name]} then, {value} now"]
    assert [record.step for record in session.records() if isinstance(record, StepRecord)] == list(range(14, 27))
    session.close()


@pytest.mark.parametrize(("name", "value"), [("threads", 2), ("precision", "bfloat16")])
def test_after_a_change_of_place_the_run_goes_on_exactly_in_the_new_one(
    stopped: Path, needs_bfloat16: Needs, name: str, value: object
):
    needs_bfloat16()
    stop_when(Session.resume(stopped, {name: value}, allow_inexact=True, warn=pytest.fail), at_step(20))
    session = go_on(stopped)
    assert session.saver.identity["fingerprint"][name] == value
    finish(session)


def test_a_resume_on_another_device_is_refused(stopped: Path):
    with pytest.raises(ConfigError, match=r"--device .*--allow-inexact"):
        go_on(stopped, device="cuda")


def test_the_number_of_threads_is_the_run_s_own_whatever_the_machine_would_choose(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    whole = make("whole", threads=None)
    assert torch.get_num_threads() == 2
    finish(whole)
    run = stop_when(make("run", threads=None), at_step(13))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    session = go_on(run)
    assert torch.get_num_threads() == 2
    finish(session)
    assert_same(run, whole.run.path)


@pytest.mark.parametrize("name", ["torch", "numpy", "cpu", "machine"])
def test_another_machine_or_library_is_refused_unless_that_is_allowed(
    stopped: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lmkit.session.resume.fingerprint", lambda place: {**fingerprint(place), name: "another"})
    with pytest.raises(RunError, match=rf"{name} .* then, another now.*--allow-inexact") as caught:
        go_on(stopped)
    assert "\n" not in str(caught.value)
    session = Session.resume(stopped, allow_inexact=True, warn=pytest.fail)
    assert session.run.info()["resumes"][0]["inexact"][0].startswith(f"{name} ")
    finish(session)


def test_another_version_of_lmkit_resumes_a_run_and_is_recorded(stopped: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmkit.session.resume.fingerprint", lambda place: {**fingerprint(place), "lmkit": "another"})
    session = go_on(stopped)
    assert session.run.info()["resumes"][0]["inexact"] == [
        f"lmkit {fingerprint(session.placement)['lmkit']} then, another now"
    ]
    finish(session)


def test_another_library_is_refused_before_the_first_checkpoint_too(make: Make, monkeypatch: pytest.MonkeyPatch):
    run = crash(make("run"), at_step(2))
    monkeypatch.setattr("torch.__version__", "1.0")
    with pytest.raises(RunError, match=r"torch .* then, 1\.0 now"):
        go_on(run)


def test_a_text_that_has_changed_is_refused(make: Make, text: Path, tmp_path: Path):
    own = tmp_path / "own.txt"
    content = text.read_bytes() + b"No other file has this line, so no other is found by the hash of the text.\n"
    own.write_bytes(content)
    run = stop_when(make("run", corpus=str(own)), at_step(13))
    before = everything(run)
    own.write_bytes(content[:100] + b"cow" + content[103:])
    with pytest.raises(RunError, match=r"The train split of .* has changed"):
        go_on(run)
    own.unlink()
    with pytest.raises(LmkitError, match=r"own\.txt"):
        go_on(run)
    own.write_bytes(content)
    assert everything(run) == before
    finish(go_on(run))


def test_a_tokenizer_that_has_changed_is_refused(stopped: Path):
    path = stopped / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    first, second = sorted(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(RunError, match=r"tokenizer\.json has changed"):
        go_on(stopped)


def test_a_configuration_that_was_edited_is_refused(stopped: Path):
    path = stopped / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"lr": 0.003', '"lr": 0.03'), encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.json was edited: lr was 0\.003 and is 0\.03, as run\.json records"):
        go_on(stopped)


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="There is no run folder"):
        Session.resume(tmp_path / "nothing")
    with pytest.raises(RunError, match="is not an lmkit run"):
        Session.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


# files that were changed, lost or damaged


def test_metrics_that_were_cut_or_edited_are_told_of_and_the_run_goes_on(make: Make):
    whole = make("whole")
    finish(whole)
    expected = metrics(whole.run.path)
    for change in (lambda content: content[:-20], lambda content: content.replace(b"9", b"8", 1), lambda content: b""):
        run = stop_when(make(f"run-{random.getrandbits(40)}"), at_step(23))
        path = run / "metrics.jsonl"
        path.write_bytes(change(path.read_bytes()))
        warnings: list[str] = []
        session = Session.resume(run, warn=warnings.append)
        finish(session)
        assert len(warnings) == 1
        assert "metrics.jsonl is not as this run left it" in warnings[0]
        records = metrics(run)
        assert records[-3:] == expected[-3:], "the lines that follow are whole and right"
        assert (run / "model.safetensors").read_bytes() == (whole.run.path / "model.safetensors").read_bytes()


def test_lines_after_the_checkpoint_are_written_anew(make: Make, varied: Path):
    run = crash(make("run", **VARIED, checkpoint_every=18), at_step(30))
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "training", "st')
    finish(go_on(run))
    assert_same(run, varied)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: None])
def test_a_damaged_best_model_is_put_back(make: Make, damage: Callable[[bytes], bytes | None]):
    whole = make("whole", **PLATEAU)
    finish(whole)
    run = stop_when(make("run", **PLATEAU), at_step(25))
    path = run / "model.safetensors"
    best = path.read_bytes()
    content = damage(best)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    said: list[str] = []
    session = Session.resume(run, warn=said.append)
    assert ["model.safetensors is not the model that this run left" in line for line in said] == [True] * len(said)
    assert len(said) == (content is not None)
    assert path.read_bytes() == best
    finish(session)
    assert_same(run, whole.run.path)


def test_a_best_model_that_came_after_the_checkpoint_is_forgotten(make: Make, varied: Path):
    """A crash between the best model and the checkpoint that goes with it."""
    session = make("run", **VARIED, checkpoint_every=5)
    with closing(session.records()) as records:
        for record in records:
            if record.step == 21:
                break
        best = session.run.path / "model.safetensors"
        known = best.read_bytes()
        session.run.save_model(session.model)
        assert best.read_bytes() != known
    session.release()
    session = Session.resume(session.run.path, warn=lambda line: None)
    assert best.read_bytes() == known
    finish(session)
    assert_same(session.run.path, varied)


def test_a_damaged_checkpoint_is_passed_over_and_named(make: Make, varied: Path):
    run = stop_when(make("run", **VARIED, checkpoint_every=6), at_step(20))
    place = run / "checkpoints" / "step-00000020" / "training.safetensors"
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    warnings: list[str] = []
    session = Session.resume(run, warn=warnings.append)
    assert session.started_at == 18
    assert len(warnings) == 1
    assert str(place) in warnings[0]
    finish(session)
    assert_same(run, varied)
    assert CheckpointFolder(run / "checkpoints").open(session.train.step)


def test_a_run_whose_checkpoints_are_all_damaged_begins_anew(make: Make, varied: Path):
    run = stop_when(make("run", **VARIED, checkpoint_every=6), at_step(20))
    places = list(run.glob("checkpoints/step-*/training.json"))
    for place in places:
        place.write_bytes(b"{}")
    warnings: list[str] = []
    session = Session.resume(run, warn=warnings.append)
    assert session.started_at == 0
    assert len(warnings) == len(places) > 1
    finish(session)
    assert_same(run, varied)


# standard input and Python


def test_a_run_on_standard_input_goes_on_when_the_same_text_comes_again(text: Path, tmp_path: Path):
    options = [
        part
        for name, value in SMALL.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
        if name != "max_steps"
    ]
    content = text.read_bytes()

    def call(*arguments: object, input: bytes) -> Any:
        return CliRunner().invoke(main, ["train", *map(str, arguments)], input=input)

    new = ["--corpus", "-", *options, "--schedule", "constant"]
    assert call(*new, "--max-steps", 26, "--out", tmp_path / "whole", input=content).exit_code == 0
    assert call(*new, "--max-steps", 13, "--out", tmp_path / "run", input=content).exit_code == 0
    for other in (content[:-50], content + b"more\n", b""):
        outcome = call("--resume", tmp_path / "run", "--max-steps", 26, input=other)
        assert outcome.exit_code == 2
        assert outcome.stderr.startswith("Error: ")
    outcome = call("--resume", tmp_path / "run", "--max-steps", 26, input=content)
    assert outcome.exit_code == 0, outcome.stderr
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_lmkit_resume_gives_the_model_of_the_whole_training(make: Make):
    whole = make("whole")
    finish(whole)
    run = stop_when(make("run"), at_step(13))
    lm = lmkit.resume(run)
    assert lm.run is not None
    assert_same(run, whole.run.path)
    assert lm.sample(length=20) == lmkit.load(whole.run.path).sample(length=20)


def test_a_training_in_python_that_was_broken_off_can_be_resumed_at_once(
    make: Make, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A notebook keeps the exception, and with it all that the training had open."""
    whole = make("whole")
    finish(whole)
    break_measurement(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt) as kept:
        lmkit.train(text, out=tmp_path / "run", **SMALL)
    monkeypatch.undo()
    lmkit.resume(tmp_path / "run")
    assert kept.tb is not None
    assert_same(tmp_path / "run", whole.run.path)


def test_a_run_can_be_moved_and_resumed(make: Make, varied: Path, tmp_path: Path):
    run = stop_when(make("run", **VARIED), at_step(20))
    moved = run.rename(tmp_path / "moved")
    finish(go_on(moved))
    assert_same(moved, varied)


def test_a_run_is_not_trained_twice_at_a_time(make: Make):
    session = make("run")
    with pytest.raises(RunError, match="another training is writing"):
        go_on(session.run.path)
    finish(session)
    finish(go_on(session.run.path))
