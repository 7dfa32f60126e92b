"""A run's checkpoints: written so that no crash leaves half of one, read so that no damaged one is taken for whole.

After Pillai et al. (2014), "All file systems are not created equal", OSDI: content is flushed before the rename that
makes it visible, and the folder after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.errors import RunError
from lmkit.files import Bytes, Check, always, exists, is_folder, sync_folder
from lmkit.run.checkpoints.manifest import MANIFEST, open_sealed, read_manifest, render_manifest

__all__ = ["WEIGHTS", "Checkpoint", "CheckpointFolder"]

WEIGHTS = "model.safetensors"
BLOCK = 4096  # bytes that a disk hands out at a time

NAME = re.compile(r"step-([0-9]{8,})")
UNFINISHED, REMOVED = ".tmp-", ".trash-"
PUT_AWAY = re.compile(r"\.trash-step-([0-9]{8,})-[0-9]+")


class Checkpoint(NamedTuple):
    """A whole checkpoint: its step, its manifest, and the content of its files by name."""

    step: int
    manifest: dict[str, Any]
    files: dict[str, bytes]


class CheckpointFolder:
    """The folder ``checkpoints`` of a run, with a folder ``step-N`` for each checkpoint. ``check`` is asked before
    anything is written, renamed or removed.
    """

    def __init__(self, path: Path, check: Check = always) -> None:
        self.path = path
        self._check = check

    def save(
        self,
        step: int,
        files: Mapping[str, Bytes],
        notes: Mapping[str, Any],
        sums: Mapping[str, str] | None = None,
    ) -> None:
        """Add a checkpoint, in place of an older one of the same step. sums: the sha256 of files where it is known.
        Raises OSError if the disk refuses; then nothing is left of it and all others are as they were.
        """
        self._check()
        self.path.mkdir(exist_ok=True)
        if self.path.is_symlink():
            raise OSError(errno.ELOOP, "a link to elsewhere", str(self.path))
        folder = self._folder(step)
        staging = self.path / f"{UNFINISHED}{folder.name}-{os.getpid()}"
        self._remove_refused()
        older = None
        try:
            staging.mkdir()
            for name, content in files.items():
                _write(staging / name, content)
            _write(staging / MANIFEST, render_manifest(step, files, notes, sums))
            sync_folder(staging)
            reached("written")
            self._check()
            older = self._put_away(folder) if folder.exists() else None
            reached("before the rename")
            staging.rename(folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            if older is not None and not folder.exists():
                older.rename(folder)
            raise
        if older is not None:
            shutil.rmtree(older, ignore_errors=True)
        sync_folder(self.path)
        reached("renamed")

    def _remove_refused(self) -> None:
        """What this process could neither finish nor remove, on a disk that refused both."""
        with contextlib.suppress(OSError):
            for entry in self.path.glob(f"{UNFINISHED}*-{os.getpid()}"):
                shutil.rmtree(entry, ignore_errors=True)

    def steps(self) -> list[int]:
        """The steps that have a folder, whole or not, in ascending order."""
        matches = (NAME.fullmatch(entry.name) for entry in self._entries())
        steps = {match[0]: int(match[1]) for match in matches if match}
        return sorted(step for name, step in steps.items() if name == self._folder(step).name)

    def _entries(self) -> list[Path]:
        try:
            return sorted(self.path.iterdir()) if is_folder(self.path) else []
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def newest(
        self, report: Callable[[str], None], wanted: Callable[[int], bool] = lambda step: True
    ) -> Checkpoint | None:
        """The newest whole checkpoint among the wanted steps, None if there is none. ``report`` receives a
        sentence for each one that was passed over, which names the file to blame.
        """
        for step in reversed(self.steps()):
            if not wanted(step):
                continue
            try:
                return self.open(step)
            except RunError as error:
                report(f"Checkpoint {step:,} is passed over: {error}")
        return None

    def open(self, step: int) -> Checkpoint:
        """A checkpoint, checked to the last byte. Raises RunError that names the file which is not as it should be."""
        return Checkpoint(step, *open_sealed(self._folder(step)))

    def weights(self, which: str | int) -> tuple[str, bytes]:
        """The weights of ``last`` or of a step: the file's name inside the run, and its content. Raises RunError where
        there is no such checkpoint, or it is damaged.
        """
        _, name, content = self.weights_at(which)
        return name, content

    def weights_at(self, which: str | int) -> tuple[int, str, bytes]:
        """The same, with the step in front."""
        there = ", ".join(f"{step}" for step in self.steps()) or "none"
        if which == "last":
            found = self.newest(lambda fault: None)
            if found is None:
                raise RunError(f"{self.path} holds no whole checkpoint.")
        elif str(which).isdecimal() and int(which) in self.steps():
            found = self.open(int(which))
        else:
            raise RunError(
                f"There is no checkpoint {which} in {self.path}: choose best, last, or one of these steps: {there}."
            )
        if WEIGHTS not in found.files:
            raise RunError(f"{self._folder(found.step)} holds no {WEIGHTS}.")
        return found.step, f"{self.path.name}/{self._folder(found.step).name}/{WEIGHTS}", found.files[WEIGHTS]

    def rotate(self, newest: int, keep: int, also: Collection[int] = ()) -> None:
        """Remove all but the newest ``keep``, the best ones that these name, and ``also``. Those whose manifest or
        sizes are wrong do not count, nor those after ``newest``, which a resume has passed over. Raises OSError.
        """
        whole = {step: manifest for step, manifest in self._manifests() if step <= newest}
        kept = set(sorted(whole)[-keep:]) | set(also)
        best = (whole[step].get("best_step") for step in kept & whole.keys())
        kept |= {step for step in best if isinstance(step, int)}
        for step in self.steps():
            if step not in kept:
                self._check()
                self._remove(self._folder(step))

    def make_room(self, files: Mapping[str, Bytes], newest: int, also: Collection[int] = ()) -> bool:
        """On a disk that is too small for another checkpoint with these files, remove what the newest one, its best one
        and ``also`` do not need, then, where that is not enough and its room would be, the newest one itself: the
        next replaces it. Returns whether there is room now. Nothing is removed where the disk has room, or would
        have too little all the same. Raises OSError.
        """
        needed = sum(-(-len(content) // BLOCK) * BLOCK for content in files.values()) + 2 * BLOCK  # manifest, folder
        if self._free() >= needed:
            return False
        whole = sorted(step for step, _ in self._manifests() if step <= newest)
        if self._free() + sum(map(self._size, self.steps())) < needed:
            return False
        self.rotate(newest, 1, also)
        gives_way = whole and whole[-1] not in also and self._free() + self._size(whole[-1]) >= needed
        if self._free() < needed and gives_way:
            self._check()
            self._remove(self._folder(whole[-1]))
        return self._free() >= needed

    def _free(self) -> int:
        if not hasattr(os, "statvfs"):
            return sys.maxsize
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def _size(self, step: int) -> int:
        """Bytes that a checkpoint takes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in [self._folder(step), *self._folder(step).iterdir()])

    def clean(self) -> None:
        """Remove what a crash has left: half-written checkpoints and half-removed ones. One that was put away for a
        newer one of its step comes back if that never came.
        """
        if self.path.is_symlink():
            raise RunError(f"{self.path} is a link to elsewhere, which is not followed here.")
        self._check()
        for entry in self._entries():
            if entry.name.startswith((UNFINISHED, REMOVED)) and not self._came_back(entry):
                shutil.rmtree(entry, ignore_errors=True)

    def _came_back(self, entry: Path) -> bool:
        """Whether a checkpoint that was put away is whole, has no successor, and is back under its name."""
        match = PUT_AWAY.fullmatch(entry.name)
        if match is None or self._folder(int(match[1])).exists():
            return False
        folder = self._folder(int(match[1]))
        try:
            entry.rename(folder)
            self.open(int(match[1]))
        except OSError:
            return False
        except RunError:
            folder.rename(entry)
            return False
        return True

    def _manifests(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for step in self.steps():
            with contextlib.suppress(RunError):
                manifest = read_manifest(self._folder(step))
                if all(_size(self._folder(step) / name) == entry["size"] for name, entry in manifest["files"].items()):
                    yield step, manifest

    def _remove(self, folder: Path) -> None:
        """Under another name first: a crash in the middle leaves nothing that looks like a checkpoint."""
        shutil.rmtree(self._put_away(folder), ignore_errors=True)

    def _put_away(self, folder: Path) -> Path:
        trash = folder.with_name(f"{REMOVED}{folder.name}-{os.getpid()}")
        shutil.rmtree(trash, ignore_errors=True)
        folder.rename(trash)
        reached("removing")
        return trash

    def _folder(self, step: int) -> Path:
        return self.path / f"step-{step:08d}"


def reached(point: str) -> None:
    """Called at the points where a crash would hurt most; tests put one there."""


def _size(path: Path) -> int | None:
    """Bytes of a file, None where there is none, or no file can have this name."""
    with contextlib.suppress(OSError):
        return path.stat().st_size if exists(path) else None
    return None


def _write(path: Path, content: Bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
