"""A checkpoint is whole or it is not there; a damaged one is found out and named, and the next older one is taken."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmkit.errors import RunError
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.checkpoints.manifest import MANIFEST, render_manifest

NAMES = ("model.safetensors", "training.safetensors", "training.json", "clock.json")
STEPS = (5, 10, 15)


def files_of(step: int) -> dict[str, bytes]:
    draw = random.Random(step)
    return {name: draw.randbytes(100 + 37 * number) for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = CheckpointFolder(tmp_path_factory.mktemp("saved") / "checkpoints")
    for step in STEPS:
        folder.save(step, files_of(step), {"best_step": 5})
    return folder.path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> CheckpointFolder:
    """Three checkpoints: copies, because saving waits for the disk."""
    return CheckpointFolder(Path(shutil.copytree(saved, tmp_path / "checkpoints")))


def place(folder: CheckpointFolder, step: int) -> Path:
    return folder.path / f"step-{step:08d}"


def content(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# what is written


def test_what_was_saved_is_read_back(folder: CheckpointFolder):
    assert folder.steps() == list(STEPS)
    for step in STEPS:
        checkpoint = folder.open(step)
        assert (checkpoint.step, checkpoint.files) == (step, files_of(step))
        assert checkpoint.manifest["best_step"] == 5
    newest = folder.newest(pytest.fail)
    assert newest is not None
    assert newest.step == 15


def test_the_manifest_tells_sizes_and_sums_of_all_files(folder: CheckpointFolder):
    manifest = folder.open(10).manifest
    assert manifest["step"] == 10
    assert manifest["files"] == {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files_of(10).items()
    }
    assert {path.name for path in place(folder, 10).iterdir()} == {*NAMES, "manifest.json"}


def test_a_folder_that_is_not_there_has_no_checkpoints(tmp_path: Path):
    folder = CheckpointFolder(tmp_path / "nothing")
    assert folder.steps() == []
    assert folder.newest(pytest.fail) is None
    folder.clean()
    folder.rotate(10, 2)
    assert not folder.path.exists()


def test_steps_are_numbers_and_not_words(tmp_path: Path):
    """After 99,999,999 the names get longer, and their order as words is another one."""
    folder = CheckpointFolder(tmp_path)
    for step in (99_999_999, 100_000_000, 3):
        folder.save(step, {"a": b"1"}, {})
    assert folder.steps() == [3, 99_999_999, 100_000_000]
    newest = folder.newest(pytest.fail)
    assert newest is not None
    assert newest.step == 100_000_000
    folder.rotate(100_000_000, 1)
    assert folder.steps() == [100_000_000]


def test_a_checkpoint_takes_the_place_of_one_of_the_same_step(folder: CheckpointFolder):
    folder.save(15, {"other": b"new"}, {})
    assert folder.open(15).files == {"other": b"new"}
    assert sorted(path.name for path in folder.path.iterdir()) == [place(folder, step).name for step in STEPS]


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be flushed here")
def test_content_is_flushed_before_the_name_and_the_folder_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What survives a power cut: each file, the manifest last of them, their folder; the rename; its parent."""
    calls: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def name_of(handle: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(tmp_path).as_posix()

    def recorded_fsync(handle: int) -> None:
        calls.append(("fsync", name_of(handle)))
        fsync(handle)

    def recorded_rename(old: Any, new: Any, **options: Any) -> None:
        calls.append((f"rename {Path(old).name}", Path(new).relative_to(tmp_path).as_posix()))
        rename(old, new, **options)

    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(5, files_of(4), {})
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no names of open files here")
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    folder.save(6, files_of(6), {})
    staging = f".tmp-step-00000006-{os.getpid()}"
    flushed = [("fsync", f"checkpoints/{staging}/{name}") for name in (*NAMES, "manifest.json")]
    assert calls == [
        *flushed,
        ("fsync", f"checkpoints/{staging}"),
        (f"rename {staging}", "checkpoints/step-00000006"),
        ("fsync", "checkpoints"),
    ]
    calls.clear()
    folder.save(5, files_of(5), {})
    kinds = [kind for kind, _ in calls]
    assert kinds.index("rename step-00000005") > 5, "the old one stays until the new one is on the disk"
    assert calls[-1] == ("fsync", "checkpoints")


class Crash(BaseException):
    """The end of the process at a point, as far as a test can have it."""


@pytest.mark.parametrize("point", ["written", "removing", "before the rename", "renamed"])
def test_wherever_saving_ends_there_is_a_whole_checkpoint(
    folder: CheckpointFolder, point: str, monkeypatch: pytest.MonkeyPatch
):
    """The folder at this moment is what a crash would leave; it is copied before anything is tidied up."""
    left = folder.path.with_name("left")

    def crash(reached: str) -> None:
        if reached == point:
            shutil.copytree(folder.path, left)
            raise Crash

    monkeypatch.setattr("lmkit.run.checkpoints.folder.reached", crash)
    with pytest.raises(Crash):
        folder.save(15, files_of(99), {})
    found = CheckpointFolder(left)
    newest = found.newest(pytest.fail)
    assert newest is not None
    expected = {"written": (15, 15), "removing": (10, 10), "before the rename": (10, 10), "renamed": (15, 99)}[point]
    assert (newest.step, newest.files) == (expected[0], files_of(expected[1]))
    found.clean()
    assert [path.name for path in left.iterdir() if not path.name.startswith("step-")] == []
    assert found.open(15).files == files_of(99 if point == "renamed" else 15), "the one that was put away comes back"


def test_saving_that_fails_leaves_nothing_and_the_others_alone(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
):
    before = content(folder.path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(20, files_of(20), {})
    assert content(folder.path) == before
    assert len(list(folder.path.iterdir())) == len(STEPS)


def test_what_the_disk_did_not_let_go_is_removed_by_the_next_save(folder: CheckpointFolder):
    own, others = (folder.path / f".tmp-step-00000018-{number}" for number in (os.getpid(), 1))
    for left in (own, others):
        left.mkdir()
        (left / NAMES[0]).touch()
    folder.save(20, files_of(20), {})
    assert not own.exists()
    assert others.exists(), "it may be of another run, in the place of this one"


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_link_in_the_place_of_the_folder_is_not_written_through(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        CheckpointFolder(tmp_path / "checkpoints").save(1, files_of(1), {})
    assert list((tmp_path / "elsewhere").iterdir()) == []


# what is kept


@pytest.mark.parametrize(
    ("keep", "also", "expected"),
    [(1, (), [5, 15]), (2, (), [5, 10, 15]), (9, (), [5, 10, 15]), (1, (10,), [5, 10, 15])],
)
def test_rotation_keeps_the_newest_and_the_best(
    folder: CheckpointFolder, keep: int, also: tuple[int, ...], expected: list[int]
):
    folder.rotate(15, keep, also)
    assert folder.steps() == expected
    assert [folder.open(step).files for step in expected] == [files_of(step) for step in expected]
    assert len(list(folder.path.iterdir())) == len(expected)


def test_rotation_keeps_the_best_of_each_that_is_kept(tmp_path: Path):
    """A resume that falls back to an older checkpoint needs the best model of then."""
    folder = CheckpointFolder(tmp_path)
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)):
        folder.save(step, files_of(step), {"best_step": best})
    folder.rotate(6, 3)
    assert folder.steps() == [3, 4, 5, 6]


def test_a_damaged_checkpoint_does_not_count_among_the_newest(folder: CheckpointFolder):
    damaged = place(folder, 15) / NAMES[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    folder.rotate(15, 1)
    assert folder.steps() == [5, 10]


def test_a_manifest_with_a_name_that_no_file_can_have_does_not_count(folder: CheckpointFolder):
    (place(folder, 15) / MANIFEST).write_bytes(render_manifest(15, {"a\0b": b"1"}, {"best_step": 5}))
    folder.rotate(15, 1)
    assert folder.steps() == [5, 10]


def test_checkpoints_after_the_newest_are_removed(folder: CheckpointFolder):
    """A resume has passed over them."""
    folder.rotate(10, 2)
    assert folder.steps() == [5, 10]


def test_what_a_crash_has_left_is_never_read_and_is_cleaned_away(folder: CheckpointFolder):
    for name in (".tmp-step-00000020-77", ".trash-step-00000020-77"):
        shutil.copytree(place(folder, 15), folder.path / name)
    (folder.path / "step-20").mkdir()
    (folder.path / "step-00000020.old").mkdir()
    assert folder.steps() == list(STEPS)
    newest = folder.newest(pytest.fail)
    assert newest is not None
    assert newest.step == 15
    folder.clean()
    assert sorted(path.name for path in folder.path.iterdir() if path.name.startswith(".")) == []
    assert folder.steps() == list(STEPS)


def test_what_was_put_away_and_is_not_whole_does_not_come_back(folder: CheckpointFolder):
    trash = folder.path / ".trash-step-00000020-1"
    shutil.copytree(place(folder, 15), trash)  # whole, and not of step 20
    folder.clean()
    assert folder.steps() == list(STEPS)
    assert not trash.exists()


def test_only_wanted_steps_are_looked_at(folder: CheckpointFolder):
    (place(folder, 15) / "manifest.json").unlink()
    newest = folder.newest(pytest.fail, lambda step: step % 10 == 5 and step < 15)
    assert newest is not None
    assert newest.step == 5
    assert folder.newest(pytest.fail, lambda step: step == 7) is None


# what damage is found


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def flips(number: int) -> Callable[[Path, Path], None]:
    """One bit: the first, one in the middle, the last."""
    return lambda path, other: flip(path, (path.stat().st_size * 8 - 1) * number // 2)


def resize(change: Callable[[int], int]) -> Callable[[Path, Path], None]:
    return lambda path, other: os.truncate(path, change(path.stat().st_size))


def lengthen(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def delete(path: Path, other: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def make_folder(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "cut by a byte": resize(lambda size: size - 1),
    "cut in half": resize(lambda size: size // 2),
    "emptied": resize(lambda size: 0),
    "lengthened": lengthen,
    "deleted": delete,
    "swapped": swap,
    "made a folder": make_folder,
    **{f"bit {number} of 3": flips(number) for number in range(3)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
@pytest.mark.parametrize("name", [*NAMES, "manifest.json"])
def test_damage_is_found_and_named_and_the_next_older_checkpoint_is_taken(
    folder: CheckpointFolder, name: str, damage: Callable[[Path, Path], None]
):
    path = place(folder, 15) / name
    damage(path, place(folder, 10) / name)
    with pytest.raises(RunError) as caught:
        folder.open(15)
    assert str(path) in str(caught.value)
    told: list[str] = []
    newest = folder.newest(told.append)
    assert newest is not None
    assert (newest.step, newest.files) == (10, files_of(10))
    assert len(told) == 1
    assert str(path) in told[0]
    assert told[0].startswith("Checkpoint 15 is passed over: ")


def test_a_checkpoint_under_another_step_s_name_is_found_out(folder: CheckpointFolder):
    place(folder, 15).rename(folder.path / "aside")
    place(folder, 10).rename(place(folder, 15))
    (folder.path / "aside").rename(place(folder, 10))
    told: list[str] = []
    newest = folder.newest(told.append)
    assert newest is not None
    assert newest.step == 5
    assert [line.split(":")[0] for line in told] == ["Checkpoint 15 is passed over", "Checkpoint 10 is passed over"]
    assert "is the one of step 10" in told[0]
    place(folder, 5).rename(place(folder, 7))
    assert folder.newest(told.append) is None


def test_when_all_are_damaged_there_is_none_and_each_is_named(folder: CheckpointFolder):
    for step in STEPS:
        flip(place(folder, step) / NAMES[0], 400)
    told: list[str] = []
    assert folder.newest(told.append) is None
    assert [str(place(folder, step) / NAMES[0]) in line for step, line in zip(reversed(STEPS), told, strict=True)]


def test_a_file_that_a_manifest_does_not_name_is_no_part_of_a_checkpoint(folder: CheckpointFolder):
    (place(folder, 15) / "more.bin").write_bytes(b"anything")
    assert folder.open(15).files == files_of(15)
