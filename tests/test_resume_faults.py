"""What a resume meets that no run of its own has left: links, other texts, forged checkpoints, odd names, odd ends."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import Config
from lmkit.errors import ConfigError, FailedError, LmkitError, NonFiniteError, RunError
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.checkpoints.manifest import MANIFEST, _sealed, render_manifest
from lmkit.run.checkpoints.packing import pack, unpack
from lmkit.run.directory import RunDirectory
from lmkit.session.session import Session
from lmkit.training.guard import Skipped
from lmkit.training.step import StepRecord
from tests import runs
from tests.runs import assert_same, everything, make_text, write_text

SMALL: dict[str, Any] = {**runs.SMALL, "max_steps": 26, "eval_every": 9}
Make = Callable[..., Session]
Values = dict[str, Any]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def make(text: Path, tmp_path: Path) -> Make:
    """A new session in tmp_path/<name>; a warning fails the test."""

    def call(name: str, warn: Callable[[str], None] = pytest.fail, **options: Any) -> Session:
        values = {**SMALL, "corpus": str(text), **options}
        return Session(Config().override(values), tmp_path / name, warn=warn)

    return call


def stop_at(session: Session, step: int) -> Path:
    with closing(session.records()) as records:
        assert any(isinstance(record, StepRecord) and record.step == step for record in records)
    session.stop()
    return session.run.path


def finish(session: Session) -> Path:
    list(session.records())
    session.close()
    assert session.unsaved is None
    return session.run.path


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing has happened to. To look at only."""
    path = tmp_path_factory.mktemp("whole") / "run"
    return finish(Session(Config().override({**SMALL, "corpus": str(text)}), path, warn=pytest.fail))


@pytest.fixture(scope="module")
def stopped_once(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    return stop_at(Session(Config().override({**SMALL, "corpus": str(text)}), path, warn=pytest.fail), 13)


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """The same run, stopped at step 13: a copy, to be spoilt. Its checkpoints are of steps 9 and 13."""
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))


@pytest.fixture
def ended(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole run."""
    return Path(shutil.copytree(whole, tmp_path / "ended"))


def go_on(run: Path, **changes: Any) -> Session:
    return Session.resume(run, changes, warn=pytest.fail)


# links to other places


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another folder, with files whose names are those of lmkit's leftovers."""
    folder = tmp_path / "elsewhere"
    (folder / ".tmp-mine").mkdir(parents=True)
    (folder / ".tmp-mine" / "x").write_bytes(b"mine")
    (folder / ".trash-x").mkdir()
    (folder / ".trash-x" / "y").write_bytes(b"mine")
    (folder / ".note.txt.0123456789abcdef").write_bytes(b"mine")
    return folder


needs_links = pytest.mark.skipif(os.name != "posix", reason="needs links")


@needs_links
def test_checkpoints_that_are_a_link_are_refused_and_nothing_is_touched_there(stopped: Path, elsewhere: Path):
    shutil.rmtree(stopped / "checkpoints")
    (stopped / "checkpoints").symlink_to(elsewhere)
    before = everything(elsewhere)
    with pytest.raises(RunError, match=r"checkpoints is a link"):
        go_on(stopped)
    assert everything(elsewhere) == before


@needs_links
def test_reports_that_are_a_link_lose_and_gain_nothing(stopped: Path, elsewhere: Path):
    (stopped / "reports").symlink_to(elsewhere)
    before = everything(elsewhere)
    told: list[str] = []
    session = Session.resume(stopped, warn=told.append)
    session.reports.write(Skipped(14, 0, 13, "spike", 9.0, 9.0))
    finish(session)
    assert everything(elsewhere) == before
    assert len(told) == 1
    assert "No report: it is a link" in told[0]


# splits that come and go


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with a file for each split."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for seed, name in enumerate(("train", "valid", "test")):
        (folder / f"{name}.txt").write_text(make_text(seed), encoding="utf-8", newline="")
    return folder


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_that_has_vanished_is_named_and_the_run_is_not_resumed(make: Make, corpus: Path, split: str):
    run = stop_at(make("run", corpus=str(corpus)), 5)
    content = (corpus / f"{split}.txt").read_bytes()
    (corpus / f"{split}.txt").unlink()
    with pytest.raises(LmkitError, match=rf"The {split} split of .* has changed"):
        go_on(run)
    (corpus / f"{split}.txt").write_bytes(content)
    finish(go_on(run))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_that_is_new_is_named_and_the_run_is_not_resumed(make: Make, corpus: Path, split: str):
    path = (corpus / f"{split}.txt").rename(corpus.with_name("kept"))
    run = stop_at(make("run", corpus=str(corpus), valid_fraction=0.0, test_fraction=0.0), 5)
    path.rename(corpus / f"{split}.txt")
    with pytest.raises(LmkitError, match=rf"The {split} split of .* has changed"):
        go_on(run)


# no checkpoint is left


def no_folder(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints)


def damage_all(checkpoints: Path) -> None:
    for path in checkpoints.glob("step-*/training.json"):
        path.write_bytes(b"{}")


@pytest.mark.parametrize("lose", [no_folder, damage_all])
def test_a_run_that_has_ended_and_lost_its_checkpoints_is_not_begun_anew(ended: Path, lose: Callable[[Path], None]):
    lose(ended / "checkpoints")
    before = everything(ended)
    with pytest.raises(RunError, match="none of its checkpoints is whole"):
        Session.resume(ended, {"max_steps": 60}, warn=lambda line: None)
    assert everything(ended) == before


@pytest.mark.parametrize("lose", [no_folder, damage_all])
def test_a_run_that_has_not_ended_and_lost_its_checkpoints_is_begun_anew(
    stopped: Path, whole: Path, lose: Callable[[Path], None]
):
    lose(stopped / "checkpoints")
    session = Session.resume(stopped, warn=lambda line: None)
    assert session.started_at == 0
    finish(session)
    assert_same(stopped, whole)


# checkpoints that somebody has made, with a seal that is right


def last(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def forge_manifest(run: Path, change: Callable[[Values], object]) -> None:
    path = last(run) / MANIFEST
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["seal"]
    change(values)
    path.write_bytes(_sealed(values))


def forge_values(run: Path, change: Callable[[Values], object]) -> None:
    """Change what a checkpoint holds, and seal it again."""
    place = last(run)
    values = unpack((place / "training.json").read_bytes(), (place / "training.safetensors").read_bytes())
    change(values)
    plain, tensors = pack(values)
    (place / "training.json").write_bytes(plain)
    (place / "training.safetensors").write_bytes(tensors)
    seal(run)


def seal(run: Path) -> None:
    place = last(run)
    manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    files = {name: (place / name).read_bytes() for name in manifest["files"]}
    notes = {name: value for name, value in manifest.items() if name not in ("format", "step", "files", "seal")}
    (place / MANIFEST).write_bytes(render_manifest(manifest["step"], files, notes))


def use(run: Path) -> None:
    """Resume, examine and measure: each works, or says in one sentence why it does not."""
    with contextlib.suppress(LmkitError):
        session = Session.resume(run, warn=lambda line: None)
        try:
            list(session.records())
            session.close()
        finally:
            session.release()
    for arguments in (["doctor", run], ["eval", run, "--checkpoint", "last"]):
        outcome = CliRunner().invoke(main, [*map(str, arguments), "--threads", "1"])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), repr(outcome.exception)
        assert outcome.exit_code in (0, 1, 2)


def sizes(value: Any) -> Callable[[Values], object]:
    return lambda manifest: [entry.update(size=value) for entry in manifest["files"].values()]


MANIFESTS: dict[str, Callable[[Values], object]] = {
    "the step is text": lambda manifest: manifest.update(step="13"),
    "sizes are huge": sizes(2**70),
    "the weights are not named": lambda manifest: manifest["files"].pop("model.safetensors"),
    "the place is of numbers": lambda manifest: manifest.update(place={"device": 3, "threads": "x"}),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=list(MANIFESTS))
def test_a_forged_manifest_is_refused_or_works(stopped: Path, change: Callable[[Values], object]):
    forge_manifest(stopped, change)
    use(stopped)


def in_train(name: str, value: Any) -> Callable[[Values], object]:
    return lambda values: values["train"].update({name: value})


def in_log(name: str, value: Any) -> Callable[[Values], object]:
    return lambda values: values["log"].update({name: value})


def without_moments(values: Values) -> None:
    for memory in values["train"]["optimizer"]["state"].values():
        memory.pop("exp_avg", None)


VALUES: dict[str, Callable[[Values], object]] = {
    "the optimiser has no moments": without_moments,
    "the carried state is text": in_train("carried", "x"),
    "the log is huge": in_log("length", 2**46),
    "the window is far away": in_train("place", (0, 2**62, 13, 832)),
    "the last step is a number": in_log("last", 3),
}


@pytest.mark.parametrize("change", VALUES.values(), ids=list(VALUES))
def test_forged_values_of_a_checkpoint_are_refused_or_work(stopped: Path, change: Callable[[Values], object]):
    forge_values(stopped, change)
    use(stopped)


def test_a_place_before_the_beginning_is_refused(stopped: Path):
    forge_values(stopped, in_train("place", (0, -1, 13, 832)))
    with pytest.raises(RunError, match=r"does not fit this run: its position in the data is \(0, -1, 13, 832\)"):
        go_on(stopped)


@pytest.mark.parametrize(
    "clock",
    ["[]", '{"elapsed": "x", "interval_started": 0}'],
)
def test_a_forged_clock_is_refused_or_works(stopped: Path, clock: str):
    (last(stopped) / "clock.json").write_text(clock, encoding="utf-8")
    seal(stopped)
    use(stopped)


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "x"}, {"splits": 3}, {"threads": "x"}],
    ids=str,
)
def test_a_forged_record_of_the_run_is_refused_or_works(stopped: Path, change: Values):
    info = json.loads((stopped / "run.json").read_text(encoding="utf-8"))
    (stopped / "run.json").write_text(json.dumps({**info, **change}), encoding="utf-8")
    use(stopped)


def test_the_last_checkpoint_of_a_run_that_has_none_is_refused(stopped: Path):
    shutil.rmtree(stopped / "checkpoints")
    outcome = CliRunner().invoke(main, ["eval", str(stopped), "--checkpoint", "last", "--threads", "1"])
    assert outcome.exit_code == 2
    assert "holds no whole checkpoint" in outcome.stderr


def test_resumes_that_are_no_list_give_way_to_one(stopped: Path):
    info = json.loads((stopped / "run.json").read_text(encoding="utf-8"))
    (stopped / "run.json").write_text(json.dumps({**info, "resumes": 3}), encoding="utf-8")
    finish(go_on(stopped, max_steps=28))
    assert [entry["step"] for entry in json.loads((stopped / "run.json").read_text())["resumes"]] == [13]


# ends that are behind


@pytest.mark.parametrize("steps", [1, 12, 13])
def test_a_new_end_that_is_behind_is_refused_by_its_name(stopped: Path, steps: int):
    before = everything(stopped)
    with pytest.raises(ConfigError, match=rf"at step 13, past its end by --max-steps {steps}:"):
        go_on(stopped, max_steps=steps)
    after = everything(stopped)
    assert after.pop("lock", b"") == before.pop("lock", b"") == b""
    assert after == before
    finish(go_on(stopped, max_steps=14))


def test_new_epochs_that_are_behind_are_refused_by_their_name(make: Make):
    run = stop_at(make("run", epochs=3, max_steps=None, eval_every=None), 20)
    with pytest.raises(ConfigError, match=r"at step 20, past its end by --epochs 1:"):
        go_on(run, epochs=1)
    with pytest.raises(ConfigError, match=r"--epochs 1 and --max-steps 20:"):
        go_on(run, epochs=1, max_steps=20)
    finish(go_on(run, epochs=2))


def test_seconds_that_are_over_are_named_where_epochs_are_given(make: Make):
    # so few steps may leave a model that is worse than guessing, which is warned of
    run = finish(make("run", warn=lambda line: None, max_steps=None, max_seconds=0.01))
    with pytest.raises(ConfigError, match=r"past its end by --max-seconds 0\.01: raise it to continue"):
        go_on(run, epochs=50)
    assert finish(Session.resume(run, {"max_seconds": 0.01}, warn=lambda line: None)) == run


def test_a_refused_resume_leaves_the_best_model_of_the_closing_validation(make: Make):
    session = make("run", max_steps=20, eval_every=7)
    run = finish(session)
    assert session.train.validations.best_step == 20, "the closing validation found the best model"
    before = everything(run)
    with pytest.raises(ConfigError, match="past its end"):
        Session.resume(run, {"max_steps": 15})
    after = everything(run)
    assert after == before


def test_a_resume_of_an_ended_run_that_is_broken_off_at_once_leaves_its_model(make: Make):
    run = finish(make("run", max_steps=20, eval_every=7))
    best = (run / "model.safetensors").read_bytes()
    go_on(run).release()
    assert (run / "model.safetensors").read_bytes() == best
    (run / "model.safetensors").write_bytes(best[:-1])
    said: list[str] = []
    finish(Session.resume(run, warn=said.append))
    assert [line.partition(" is ")[0] for line in said] == [str(run / "model.safetensors")]
    assert (run / "model.safetensors").read_bytes() == best, "a damaged one is found again"


def test_another_size_of_the_vocabulary_is_told_before_anything_is_trained(stopped: Path):
    config = json.loads((stopped / "config.json").read_text(encoding="utf-8"))
    (stopped / "config.json").write_text(json.dumps({**config, "vocab_size": {"a": 1}}), encoding="utf-8")
    before = everything(stopped)
    with pytest.raises(RunError, match=r"tokenizer\.json has"):
        go_on(stopped)
    assert everything(stopped) == before


def test_the_run_s_own_ends_are_no_mistake(ended: Path, whole: Path):
    finish(go_on(ended, max_steps=SMALL["max_steps"]))
    assert_same(ended, whole)


def test_the_end_that_was_reached_is_shown(ended: Path):
    outcome = CliRunner().invoke(main, ["train", "--resume", str(ended)])
    assert outcome.exit_code == 0
    assert "resumed at step 26, its end by --max-steps 26: raise --max-steps to continue" in outcome.stderr.splitlines()


def test_a_run_that_has_ended_says_so_before_its_text_is_read(ended: Path, monkeypatch: pytest.MonkeyPatch):
    def unread(*arguments: object, **options: object) -> None:
        raise AssertionError("the text is read")

    said: list[str] = []
    monkeypatch.setattr("lmkit.session.language.kind.prepare", unread)
    with pytest.raises(AssertionError, match="the text is read"):
        Session.resume(ended, note=said.append)
    (sentence,) = said
    assert "has ended, at step 26" in sentence
    assert f"`lmkit train --resume {ended} --max-steps 52`" in sentence


def test_a_run_that_is_taken_further_is_not_said_to_have_ended(ended: Path, stopped: Path):
    for session in (
        Session.resume(ended, {"max_steps": 30}, note=pytest.fail),
        Session.resume(stopped, note=pytest.fail),
    ):
        session.release()


# the best model


# validations at steps 5, 10, 15 and 20, of which that of step 10 is the best
RISING: dict[str, Any] = {
    "optimizer": "sgd",
    "schedule": "constant",
    "lr": 10.0,
    "max_grad_norm": 0.0,
    "eval_every": 5,
    "max_steps": 20,
}


class Refusal:
    """A disk that does not take a best model while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, write = True, RunDirectory.write_model

        def write_model(run: RunDirectory, content: bytes) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(run, content)

        monkeypatch.setattr(RunDirectory, "write_model", write_model)


@pytest.mark.parametrize("taken", ["at the next save", "in the end", "never"])
def test_a_best_model_that_cannot_be_put_back_waits_and_the_training_goes_on(
    make: Make, taken: str, monkeypatch: pytest.MonkeyPatch
):
    other = finish(make("whole", **RISING))
    run = stop_at(make("run", **RISING), 13)
    (run / "model.safetensors").unlink()
    disk, told = Refusal(monkeypatch), list[str]()
    session = Session.resume(run, warn=told.append)
    assert len(told) == 1
    assert told[0].startswith("The best model could not be put back yet: No space left")
    disk.full = taken != "at the next save"
    list(session.records())
    assert session.train.validations.best_step == 10, "none was better since"
    disk.full = taken == "never"
    result = session.close()
    assert result is not None
    if taken == "never":
        assert session.unsaved is not None
        assert "No space left" in session.unsaved
        disk.full = False
        finish(Session.resume(run, warn=told.append))
    else:
        assert session.unsaved is None
    assert_same(run, other)


def test_a_best_model_that_is_lost_with_its_checkpoint_gives_way_to_the_last(make: Make):
    run = stop_at(make("run", **RISING), 13)
    (run / "model.safetensors").unlink()
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    told: list[str] = []
    session = Session.resume(run, warn=told.append)
    assert [line.split(":")[0] for line in told] == ["The best model, of step 10, is gone"]
    list(session.records())
    assert session.train.validations.best_step == 10, "none was better since"
    last_weights = session.run.model_bytes(session.model)
    assert session.close() is not None
    assert session.unsaved is None
    assert told[1:] == ["The best model is gone, and none was better since: the last one is kept instead."]
    assert (run / "model.safetensors").read_bytes() == last_weights
    assert lmkit.load(run).sample(length=3)


# names that lmkit does not give


@pytest.mark.parametrize("name", ["step-000000001", "step-000000013", "step-٠٠٠٠٠٠٢٠", "step-²²²²²²²²"])
def test_an_odd_folder_among_the_checkpoints_stops_neither_rotation_nor_resume(stopped: Path, whole: Path, name: str):
    odd = stopped / "checkpoints" / name
    odd.mkdir()
    (odd / "note.txt").write_bytes(b"mine")
    session = go_on(stopped, checkpoint_every=4, keep_checkpoints=1)
    assert session.started_at == 13
    finish(session)
    assert session.checkpoints.steps() == [18, 26], "the newest, and the best one that it knows of"
    assert (odd / "note.txt").read_bytes() == b"mine"
    odd.rename(stopped / "aside")
    assert_same(stopped, whole)


# the lock


def test_after_an_error_of_the_loss_the_same_process_can_resume(make: Make, monkeypatch: pytest.MonkeyPatch):
    session = make("run", lambda line: None, checkpoint_every=5)
    with pytest.raises(NonFiniteError) as kept:
        for record in session.records():
            if record.step == 7:
                with torch.no_grad():
                    next(session.model.parameters()).fill_(math.nan)
    assert kept.value.skipped is not None
    resumed = go_on(session.run.path)
    assert resumed.started_at == 5
    resumed.release()


def test_a_disk_that_knows_no_locks_is_not_taken_for_another_training(stopped: Path, monkeypatch: pytest.MonkeyPatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match=r"cannot be locked: No locks available\. Use another disk"):
        go_on(stopped)


# what Python is told


def refuse_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(folder: CheckpointFolder, *arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CheckpointFolder, "save", save)


@pytest.mark.parametrize("own", [True, False], ids=["warn=", "warnings.warn"])
@pytest.mark.parametrize("resumed", [True, False], ids=["resume", "train"])
def test_python_is_told_of_a_disk_that_refuses(
    stopped: Path, text: Path, tmp_path: Path, own: bool, resumed: bool, monkeypatch: pytest.MonkeyPatch
):
    refuse_checkpoints(monkeypatch)
    told: list[str] = []
    options: dict[str, Any] = {"warn": told.append} if own else {}

    with warnings.catch_warnings(record=True) as caught, pytest.raises(FailedError, match="could not be saved"):
        warnings.simplefilter("always")
        if resumed:
            lmkit.resume(stopped, quiet=True, **options)
        else:
            lmkit.train(text, out=tmp_path / "run", quiet=True, **SMALL, **options)
    assert bool(caught) != own
    lines = told if own else [str(warning.message) for warning in caught]
    assert "Step 26 could not be saved: No space left on device." in lines


# what the display shows


def test_after_a_change_of_threads_the_headline_names_the_new_number(stopped: Path):
    try:
        outcome = CliRunner().invoke(main, ["train", "--resume", str(stopped), "--allow-inexact", "--threads", "2"])
    finally:
        torch.set_num_threads(1)
    assert outcome.exit_code == 0, outcome.stderr
    (line,) = (line for line in outcome.stderr.splitlines() if "parameters;" in line)
    assert line.endswith("; cpu, float32, 2 threads")


def test_the_curve_after_a_resume_begins_at_the_first_validation(stopped: Path, whole: Path):
    outcome = CliRunner().invoke(main, ["train", "--resume", str(stopped)])
    assert outcome.exit_code == 0, outcome.stderr
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    nats = [record["nats_per_token"] for record in records if record["kind"] == "evaluation"]
    assert len(nats) == 3
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("validation "))
    _, curve, *rest = line.split()
    assert len(curve) == 3
    assert rest == [f"{nats[0]:.3f}", "→", f"{min(nats):.3f}", "nats", "per", "token"]
