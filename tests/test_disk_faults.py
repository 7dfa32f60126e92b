"""A disk that refuses does not end a training, and what it took is whole; two trainings do not share a folder."""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import Config
from lmkit.errors import FailedError, RunError
from lmkit.files import Check
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import FolderLock
from lmkit.run.log import LogFile
from lmkit.session.language.measurements import TextMeasurements
from lmkit.session.session import Session
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord
from tests import forks, runs
from tests.runs import assert_same, everything, validations_on_a_curve, write_text

SMALL: dict[str, Any] = {**runs.SMALL, "max_steps": 48, "eval_every": 7, "checkpoint_every": 5}
ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS]
Make = Callable[..., Session]


class Disk:
    """What the system calls of writing do for paths below a folder: as ever, or, where ``refuses(call, path)`` says
    so, nothing (of a write: half of it) but an OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error = errno.ENOSPC
        self.refuses: Callable[[str, Path], bool] = lambda call, path: False
        self.hidden: Path | None = None  # a folder that cannot be listed
        self.calls = 0

    def ask(self, call: str, path: Any) -> None:
        path = Path(path)
        if path.is_relative_to(self.folder) and self.refuses(call, path):
            self.calls += 1
            raise OSError(self.error, os.strerror(self.error), str(path))


class HalfFile:
    """A file on such a disk."""

    def __init__(self, disk: Disk, file: Any, path: Path) -> None:
        self.disk, self.file, self.path = disk, file, path

    def write(self, content: Any) -> int:
        try:
            self.disk.ask("write", self.path)
        except OSError:
            self.file.write(bytes(content)[: len(content) // 2])
            self.file.flush()
            raise
        return int(self.file.write(content))

    def __enter__(self) -> HalfFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self.disk.ask("close", self.path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk under tmp_path."""
    disk = Disk(tmp_path)
    opened: dict[int, Path] = {}
    real_open, real_os_open, real_fsync = builtins.open, os.open, os.fsync
    real_rename, real_replace, real_mkdir = os.rename, os.replace, os.mkdir
    real_close, real_listdir = os.close, os.listdir

    def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        path = opened.get(file, Path()) if isinstance(file, int) else Path(os.fsdecode(file))
        writes = any(letter in mode for letter in "wxa+")
        if writes and not isinstance(file, int):
            disk.ask("open", path)
        found = real_open(file, mode, *arguments, **options)
        return HalfFile(disk, found, path) if writes and path.is_relative_to(disk.folder) else found

    def open_handle(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            disk.ask("open", path)
        handle = real_os_open(path, flags, *arguments, **options)
        opened[handle] = Path(path)
        return handle

    def close(handle: int) -> None:
        real_close(handle)
        if handle in opened:
            disk.ask("close", opened.pop(handle))

    def listdir(path: Any = ".") -> list[Any]:
        if Path(path) == disk.hidden:
            disk.calls += 1
            raise OSError(disk.error, os.strerror(disk.error), str(path))
        return real_listdir(path)

    def fsync(handle: int) -> None:
        disk.ask("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        real_fsync(handle)

    def rename(old: Any, new: Any, **options: Any) -> None:
        disk.ask("rename", new)
        real_rename(old, new, **options)

    def replace(old: Any, new: Any, **options: Any) -> None:
        disk.ask("rename", new)
        real_replace(old, new, **options)

    def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
        disk.ask("mkdir", path)
        real_mkdir(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", open_file)
    for name, function in (
        ("open", open_handle), ("fdopen", open_file), ("fsync", fsync), ("rename", rename), ("replace", replace),
        ("mkdir", mkdir), ("close", close), ("listdir", listdir),
    ):  # fmt: skip
        monkeypatch.setattr(os, name, function)
    return disk


if not Path("/proc/self/fd").is_dir():
    pytest.skip("the names of open files are read in /proc", allow_module_level=True)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def make(text: Path, tmp_path: Path) -> Make:
    def call(name: str, warnings: list[str] | None = None, **options: Any) -> Session:
        warn = pytest.fail if warnings is None else warnings.append
        return Session(Config().override({**SMALL, "corpus": str(text), **options}), tmp_path / name, warn=warn)

    return call


@pytest.fixture(scope="module")
def undisturbed(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    session = Session(Config().override({**SMALL, "corpus": str(text)}), path, warn=pytest.fail)
    list(session.records())
    session.close()
    return path


@pytest.fixture
def on_a_curve() -> Iterator[None]:
    with validations_on_a_curve():
        yield


def assert_nothing_left_over(run: Path) -> None:
    assert [path for path in run.rglob("*") if path.name.startswith(".")] == []


PLACES: dict[str, Callable[[str, Path], bool]] = {
    "a checkpoint's weights": lambda call, path: (
        path.parent.name.startswith(".tmp") and path.name == "model.safetensors"
    ),
    "a checkpoint's tensors": lambda call, path: (call, path.name) == ("write", "training.safetensors"),
    "a checkpoint's values": lambda call, path: (call, path.name) == ("open", "training.json"),
    "the manifest": lambda call, path: (call, path.name) == ("write", "manifest.json"),
    "the flush of a file": lambda call, path: (call, path.name) == ("fsync", "training.json"),
    "the flush of a checkpoint": lambda call, path: call == "fsync" and path.name.startswith(".tmp-"),
    "the folder of a checkpoint": lambda call, path: call == "mkdir" and path.name.startswith(".tmp-"),
    "the rename": lambda call, path: call == "rename" and path.name.startswith("step-"),
    "the flush after the rename": lambda call, path: call == "fsync" and path.name == "checkpoints",
    "the close of a checkpoint's file": lambda call, path: (call, path.name) == ("close", "training.safetensors"),
    "the close of the manifest": lambda call, path: (call, path.name) == ("close", "manifest.json"),
    "the close of the metrics": lambda call, path: (call, path.name) == ("close", "metrics.jsonl"),
    "the close of the timings": lambda call, path: (call, path.name) == ("close", "timings.jsonl"),
    "the close of the best model": lambda call, path: call == "close" and path.name.startswith(".model.safetensors."),
    "the close of a folder": lambda call, path: (call, path.name) == ("close", "checkpoints"),
    "the metrics": lambda call, path: path.name == "metrics.jsonl",
    "half a line of the metrics": lambda call, path: (call, path.name) == ("write", "metrics.jsonl"),
    "the flush of the metrics": lambda call, path: (call, path.name) == ("fsync", "metrics.jsonl"),
    "the timings": lambda call, path: path.name == "timings.jsonl",
    "the best model": lambda call, path: path.name.startswith(".model.safetensors."),
    "the best model's rename": lambda call, path: (call, path.name) == ("rename", "model.safetensors"),
    "everything": lambda call, path: True,
}


FEW = {"a checkpoint's tensors", "the rename", "half a line of the metrics", "the best model", "everything"}


@pytest.mark.parametrize(
    "refuses",
    [
        pytest.param(refuses, id=name, marks=[] if name in FEW else [pytest.mark.slow])
        for name, refuses in PLACES.items()
    ],
)
def test_a_disk_that_refuses_for_a_while_leaves_no_trace(
    make: Make, disk: Disk, undisturbed: Path, refuses: Callable[[str, Path], bool]
):
    warnings: list[str] = []
    session = make("run", warnings)
    disk.error = ERRORS[list(PLACES.values()).index(refuses) % len(ERRORS)]
    for record in session.records():
        if isinstance(record, StepRecord) and record.step in (12, 33):
            session.saver.finish()
            disk.refuses = refuses if record.step == 12 else lambda call, path: False
        session.checkpoints.newest(pytest.fail)  # none of them is damaged
        for line in (session.run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True):
            json.loads(line)
            assert line.endswith(b"\n")
    assert disk.calls > 0
    session.close()
    assert session.unsaved is None
    assert_same(session.run.path, undisturbed)
    assert_nothing_left_over(session.run.path)
    assert all(os.strerror(disk.error) in line or "metrics.jsonl cannot be written" in line for line in warnings)


@pytest.mark.parametrize("room", [1, 2])
def test_a_disk_with_room_for_few_checkpoints_keeps_the_newest_and_the_best(
    make: Make, disk: Disk, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, room: int
):
    """The one before gives way to the next; the best model is on the disk beside it."""
    checkpoints = CheckpointFolder(undisturbed / "checkpoints")
    size = checkpoints._size(checkpoints.steps()[-1])
    session = make("run", [])

    def full(call: str, path: Path) -> bool:
        return path.parent.name.startswith(".tmp-step-") and len(session.checkpoints.steps()) >= room

    disk.refuses = full
    monkeypatch.setattr(
        CheckpointFolder, "_free", lambda self: size // 2 + size * (room - len(session.checkpoints.steps()))
    )
    for _ in session.records():
        assert len(session.checkpoints.steps()) <= room
    session.close()
    assert disk.calls > 0
    assert session.unsaved is None
    assert_same(session.run.path, undisturbed)
    best = session.checkpoints.open(48).manifest["best_step"]
    assert session.checkpoints.steps() == ([48] if room == 1 else sorted({best, 48}))


def test_a_full_disk_on_which_no_room_can_be_made_keeps_every_checkpoint(
    make: Make, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    session = make("run", [])
    for record in session.records():
        if record.step == 13:
            break
    kept = everything(session.checkpoints.path)
    disk.refuses = lambda call, path: True
    for free in (0, 10**9):
        monkeypatch.setattr(CheckpointFolder, "_free", lambda self, free=free: free)
        monkeypatch.setattr(CheckpointFolder, "_size", lambda self, step: 1)
        assert not session.save()
        assert everything(session.checkpoints.path) == kept


def test_checkpoints_that_cannot_be_listed_for_a_while_are_removed_later(
    make: Make, disk: Disk, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
):
    warnings: list[str] = []
    session = make("run", warnings)
    disk.error = errno.EIO
    for record in session.records():
        if isinstance(record, StepRecord) and record.step in (12, 33):
            session.saver.finish()
            disk.hidden = session.checkpoints.path if record.step == 12 else None
    session.close()
    assert disk.calls > 0
    assert warnings != []
    assert all("could not be removed yet" in line and os.strerror(errno.EIO) in line for line in warnings)
    assert_same(session.run.path, undisturbed)
    assert session.checkpoints.steps() == CheckpointFolder(undisturbed / "checkpoints").steps()


@pytest.mark.parametrize("error", ERRORS[:1], ids=errno.errorcode.get)
def test_a_disk_that_refuses_for_ever_does_not_end_the_training(make: Make, disk: Disk, undisturbed: Path, error: int):
    warnings: list[str] = []
    session = make("run", warnings, eval_every=100, checkpoint_every=10)
    result = None
    for record in session.records():
        if record.step == 15:
            session.saver.finish()
            kept = {path.name: path.read_bytes() for path in (session.run.path / "checkpoints").rglob("*.*")}
            disk.error, disk.refuses = error, lambda call, path: True
    assert session.train.step == 48
    result = session.close()
    assert result is not None
    assert result.evaluation.perplexity < 20
    assert session.unsaved is not None
    assert os.strerror(error) in session.unsaved or "cannot be written" in session.unsaved
    checkpoint = session.checkpoints.newest(pytest.fail)
    assert checkpoint is not None
    assert checkpoint.step == 10
    assert kept == {path.name: path.read_bytes() for path in (session.run.path / "checkpoints").rglob("*.*")}
    assert_nothing_left_over(session.run.path)
    tried = [line.split()[1] for line in warnings if line.startswith("Step")]
    assert tried[:4] == ["20", "30", "40", "48"], "once an interval, and at the end"
    assert len(warnings) <= 8
    disk.refuses = lambda call, path: False
    resumed = Session.resume(session.run.path, warn=pytest.fail)
    assert resumed.started_at == 10
    list(resumed.records())
    assert resumed.close() == result


def test_on_the_command_line_the_result_is_printed_and_the_exit_code_is_1(text: Path, tmp_path: Path, disk: Disk):
    options = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    disk.refuses = lambda call, path: "checkpoints" in path.parts
    arguments = ["train", "--corpus", str(text), *options, "--out", str(tmp_path / "run"), "--json"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout)["result"]["perplexity"] > 1
    assert "Error: " in outcome.stderr.splitlines()[-1]
    assert "could not be saved" in outcome.stderr.splitlines()[-1]
    with pytest.raises(FailedError, match="could not be saved"):
        lmkit.train(text, out=tmp_path / "python", warn=lambda line: None, **SMALL)


@pytest.mark.parametrize("first", [pytest.param(20, marks=pytest.mark.slow), 21])
def test_an_end_that_was_saved_late_can_be_extended_exactly(make: Make, disk: Disk, first: int, on_a_curve: None):
    """The checkpoint of the last step is written after the closing validation here, and does not know of it."""
    plateau = {"optimizer": "sgd", "schedule": "plateau", "lr": 1.0, "max_grad_norm": 0.0}
    whole = make("whole", **plateau, max_steps=60)
    list(whole.records())
    whole.close()
    session = make("run", [], **plateau, max_steps=first)
    for record in session.records():
        if record.step == first - 1:
            session.saver.finish()
            disk.refuses = lambda call, path: True
        if isinstance(record, EvaluationRecord) and session.finished:
            disk.refuses = lambda call, path: False
    session.close()
    assert session.unsaved is None
    resumed = Session.resume(session.run.path, {"max_steps": 60}, warn=pytest.fail)
    assert resumed.started_at == first
    list(resumed.records())
    resumed.close()
    assert_same(session.run.path, whole.run.path)


def test_a_run_that_could_not_be_saved_when_it_was_stopped_says_so(make: Make, disk: Disk):
    warnings: list[str] = []
    session = make("run", warnings)
    with closing(session.records()) as records:
        for record in records:
            if record.step == 13:
                break
    disk.refuses = lambda call, path: True
    session.stop()
    assert session.unsaved is not None
    disk.refuses = lambda call, path: False
    assert Session.resume(session.run.path, warn=pytest.fail).started_at == 10


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(make: Make, disk: Disk, error: int, tmp_path: Path):
    disk.error, disk.refuses = error, lambda call, path: True
    with pytest.raises((RunError, FailedError), match="run folder"):
        make("run")
    assert list(tmp_path.iterdir()) == []
    disk.refuses = lambda call, path: False
    session = make("run")
    session.stop()
    disk.refuses = lambda call, path: True
    with pytest.raises(RunError, match="cannot be written"):
        Session.resume(session.run.path)


# the log


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_log_keeps_what_the_disk_refused_and_never_half_a_line(tmp_path: Path, disk: Disk, call: str):
    log = LogFile(tmp_path / "log.jsonl")
    log.path.touch()
    assert log.add({"a": 1})
    disk.refuses = lambda name, path: name == call
    for number in range(3):
        assert log.add({"b": number}) == (call == "fsync")
        assert log.path.read_bytes().splitlines()[0] == b'{"a": 1}'
        assert log.path.read_bytes().endswith(b"}\n")
    with pytest.raises(OSError):
        log.sync()
    end = log.end()
    disk.refuses = lambda name, path: False
    log.sync()
    assert log.end() == end == {"length": log.path.stat().st_size, "sha256": log.sha256}
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == [{"a": 1}, *({"b": n} for n in range(3))]


# a real limit, in a process of its own


def train_within_a_limit(text: Path, out: Path, end: int) -> None:
    """From step 12 to this one no file can be longer than 700 bytes."""
    import resource

    session = Session(
        Config().override({**SMALL, "corpus": str(text)}), out, warn=lambda line: print(line, file=sys.stderr)
    )
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for record in session.records():
        if record.step in (12, end):
            session.saver.finish()
            resource.setrlimit(resource.RLIMIT_FSIZE, (700 if record.step == 12 else hard, hard))
    session.close()
    print(session.unsaved)


@pytest.mark.parametrize("end", [33, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_limit_on_the_size_of_files_is_a_disk_that_refuses(text: Path, tmp_path: Path, undisturbed: Path, end: int):
    pytest.importorskip("resource")
    written = tmp_path / "written"
    reading, writing = os.pipe()  # the limit falls on files, of which what is said here would be one
    with open(written, "wb") as out:
        training = partial(train_within_a_limit, text, tmp_path / "run", end)
        child = forks.start(training, tmp_path, stdout=out.fileno(), stderr=writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    assert forks.ended(child) == 0, said
    assert "File too large" in said
    assert_nothing_left_over(tmp_path / "run")
    if end == 33:
        assert written.read_text(encoding="utf-8") == "None\n"
        assert_same(tmp_path / "run", undisturbed)
    else:
        assert "could not be saved" in written.read_text(encoding="utf-8")
        newest = CheckpointFolder(tmp_path / "run" / "checkpoints").newest(pytest.fail)
        assert newest is not None
        assert newest.step == 10
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
            json.loads(line)


# the lock


HOLD = """
import sys
from pathlib import Path
from lmkit.run.lock import FolderLock

lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of tmp_path."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_keeps_other_processes_out_until_its_owner_is_killed(tmp_path: Path, holder: subprocess.Popen[str]):
    with pytest.raises(RunError, match="another training is writing"):
        FolderLock(tmp_path)
    holder.kill()
    holder.wait()
    lock = FolderLock(tmp_path)
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    second = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=False, input="")
    assert second.returncode == 1
    assert "another training is writing" in second.stderr
    lock.release()
    lock.release()


def test_a_lock_is_open_again_when_nobody_refers_to_it(tmp_path: Path):
    lock = FolderLock(tmp_path)
    with pytest.raises(RunError):
        FolderLock(tmp_path)
    del lock
    FolderLock(tmp_path).release()


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_lock_is_not_followed_to_another_place(tmp_path: Path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="cannot be written"):
        FolderLock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


# another run in the folder


WRITES: dict[str, Callable[[Session], Any]] = {
    "a checkpoint": lambda session: session.save(),
    "the removal of checkpoints": lambda session: session.checkpoints.rotate(0, 1),
    "what a crash has left": lambda session: session.checkpoints.clean(),
    "temporary files": lambda session: session.run.clean(),
    "the best model": lambda session: session.best.keep(is_best=True),
    "a line of the logs": lambda session: session.log.add({"a": 1}, {"b": 2}),
    "a line of the timings": lambda session: session.log.timings.add({"b": 2}),
    "a report": lambda session: session.run.write_report("step-1.json", {"a": 1}),
    "a change of the configuration": lambda session: session.run.record_change(
        session.run.stored(), session.config, {"changed": {}}, {}
    ),
    "the training": lambda session: list(session.records()),
    "the end": lambda session: session.close(),
    "a stop": lambda session: session.stop(),
}


@pytest.fixture
def replaced(make: Make, undisturbed: Path) -> Session:
    """A session in the middle of its run, whose folder is another's by now, with leftovers of that one's work."""
    session = make("run", [])
    for record in session.records():
        if record.step == 13:
            break
    put_another_in_its_place(session.run.path, undisturbed)
    return session


def put_another_in_its_place(run: Path, other: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(other, run)
    for name in (".tmp-step-00000050-1", ".trash-step-00000050-1"):
        (run / "checkpoints" / name).mkdir()
        (run / "checkpoints" / name / "file").touch()
    (run / ".model.safetensors.0123456789abcdef").touch()


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_a_run_that_another_process_made_in_the_same_place_is_left_alone(
    replaced: Session, write: Callable[[Session], Any]
):
    before = everything(replaced.run.path)
    with pytest.raises(FailedError, match="was removed or replaced while it was being trained"):
        write(replaced)
    assert everything(replaced.run.path) == before


RACES: dict[str, Callable[[RunDirectory, Check], Any]] = {
    "the best model": lambda run, check: run.write_model(b"model"),
    "a report": lambda run, check: run.write_report("step-1.json", {"a": 1}),
    "a checkpoint": lambda run, check: run.checkpoints.save(48, {"a": b"1"}, {}),
    "a log": lambda run, check: LogFile(run.path / "metrics.jsonl", check).add({"a": 1}),
}


@pytest.mark.parametrize("write", RACES.values(), ids=list(RACES))
def test_a_run_that_is_replaced_just_after_the_lock_was_checked_is_left_alone(
    tmp_path: Path, undisturbed: Path, write: Callable[[RunDirectory, Check], Any]
):
    path = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    lock, unchecked = FolderLock(path), [True]

    def check() -> None:
        lock.check()
        if unchecked:
            put_another_in_its_place(path, undisturbed)
            unchecked.clear()

    with pytest.raises(FailedError, match="removed or replaced"):
        write(RunDirectory(path, check), check)
    put = everything(path)
    put_another_in_its_place(path, undisturbed)
    assert put == everything(path)


def test_a_run_that_was_removed_is_not_made_again(make: Make):
    session = make("run", [])
    shutil.rmtree(session.run.path)
    with pytest.raises(FailedError, match="removed or replaced"):
        list(session.records())
    assert not session.run.path.exists()


def test_on_the_command_line_a_replaced_run_is_one_line_and_exit_code_1(
    text: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "run"
    validate = TextMeasurements.validate

    def replace_and_validate(session: TextMeasurements) -> Any:
        put_another_in_its_place(path, undisturbed)
        return validate(session)

    monkeypatch.setattr(TextMeasurements, "validate", replace_and_validate)
    options = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    options += ["--checkpoint-every", "100"]  # nothing is being written when the folder is replaced
    outcome = CliRunner().invoke(main, ["train", "--corpus", str(text), *options, "--out", str(path)])
    assert outcome.exit_code == 1
    assert outcome.stdout == ""
    assert "removed or replaced" in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr
    put = everything(path)
    put_another_in_its_place(path, undisturbed)
    assert put == everything(path)
