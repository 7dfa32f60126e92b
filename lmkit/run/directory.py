"""The run directory: everything that a training run leaves behind, in files that hold no pickles.

RUN/  config.json        the options as they were chosen (config_file.py)
      tokenizer.json     opens in Hugging Face tokenizers
      model.safetensors  the best model on validation
      run.json           corpus and its hashes, versions, threads, precision, device
      metrics.jsonl      functions of the run: training and evaluation records
      timings.jsonl      clocks and speeds of the same records
      checkpoints/       what a resume needs, a folder step-N for each
      reports/           steps that were skipped: not finite, or spikes
      lock               held while a process trains the run
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from lmkit.config import Config, flatten
from lmkit.errors import ConfigError, FailedError, RunError
from lmkit.files import (
    Bytes,
    Check,
    always,
    check_new_folder,
    default_mode,
    exists,
    is_file,
    is_folder,
    open_regular,
    read_regular,
    remove_temporary_files,
    replace_file,
    sync_folder,
    write_atomically,
)
from lmkit.model.blueprint import Blueprint
from lmkit.model.encoder import Encoder
from lmkit.model.shapes import stored_tensors
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.config_file import FILES, changed_values, values_of_config
from lmkit.run.json_files import read_object
from lmkit.run.lock import LOCK, FolderLock
from lmkit.run.log import LARGEST_LOG, finite
from lmkit.run.metrics import METRICS, Metrics
from lmkit.run.record import RUN, RunRecord
from lmkit.run.stored import CONFIG, TOKENIZER, StoredRun, read_tokenizer
from lmkit.run.version import lmkit_version
from lmkit.run.weights import copy_weights, load_weights, pack_weights, unpack_weights
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = [
    "CONFIG",
    "METRICS",
    "MODEL",
    "RUN",
    "TIMINGS",
    "RunDirectory",
    "free_run_path",
    "newest_runs",
]

LARGEST_HEADER = 1 << 24  # bytes of a file of weights before its numbers
BYTES_PER_NUMBER = 8  # at most
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
MODEL, TIMINGS = "model.safetensors", "timings.jsonl"
REPORTS = "reports"
UNFINISHED = ".unfinished-"
N = TypeVar("N", bound=Encoder)
RUNS = Path("runs")  # where runs are made unless --out says otherwise


class RunDirectory:
    """A run folder that exists: its files are read and written through this. ``check`` is asked before each write."""

    def __init__(self, path: Path, check: Check = always) -> None:
        self.path = path
        self.check = check

    @classmethod
    def create(
        cls,
        path: Path,
        config: Config,
        tokenizer: Tokenizer,
        info: Mapping[str, Any],
        fill: Callable[[Path], None] = lambda folder: None,
    ) -> RunDirectory:
        """Make the folder with its first files, whole or not at all. fill: adds more of them before the folder has its
        name. Raises RunError if it exists already.
        """
        check_new_folder(path)
        staging = lock = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}"))
            lock = FolderLock(staging)
            _remove_unfinished(path)  # ours is locked by now, so of two that do this at once no more than one loses
            values = values_of_config(config, path, lmkit_version(), tokenizer.vocab_size)
            write_atomically(staging / CONFIG, _json(values))
            write_atomically(staging / TOKENIZER, tokenizer.to_json())
            write_atomically(staging / RUN, _json(dict(info)))
            (staging / METRICS).touch()
            (staging / TIMINGS).touch()
            fill(staging)
            staging.chmod(default_mode(0o777))
            lock.release()
            (staging / LOCK).unlink()
            staging.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise RunError(f"{path} exists already: choose another --out, or remove it first.") from error
            kind = FailedError if error.errno in DISK_FULL else RunError
            raise kind(f"Cannot create the run folder {path}: {error.strerror or error}.") from error
        finally:
            if lock is not None:
                lock.release()
            if staging is not None and staging.exists():
                shutil.rmtree(staging, ignore_errors=True)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Open an existing run; a name without a folder is looked for in ``runs`` too. Raises RunError if the folder is
        not there or is not a run of lmkit's.
        """
        folder = _known_path(Path(path))
        if not exists(folder):
            raise RunError(f"There is no run folder {folder}.{_nearby(folder)}")
        if not is_folder(folder):
            raise RunError(f"{folder} is a file, not a run: give the run's folder.{_nearby(folder)}")
        for name in (CONFIG, TOKENIZER):
            if not is_file(folder / name):
                fault = "is no regular file" if exists(folder / name) else "is missing"
                raise RunError(f"{folder} is not an lmkit run: {name} {fault}.")
        return cls(folder)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.path / "checkpoints", self.check)

    def clean(self) -> None:
        """Remove what a crash has left of files that were being written. Only for who holds the run's lock."""
        self.check()
        remove_temporary_files(self.path)
        if not (self.path / REPORTS).is_symlink():
            remove_temporary_files(self.path / REPORTS)

    def stored(self, kind: str | None = Config.kind) -> StoredRun:
        """What the run's files say that it is, each read once. Raises RunError as ``StoredRun.read``, and for a run of
        another kind; None takes any.
        """
        stored = StoredRun.read(self.path)
        if kind is not None:
            stored.check_kind(kind)
        return stored

    def config_values(self) -> dict[str, Any]:
        """The content of config.json, which names the text relative to the run folder."""
        return read_object(self.path / CONFIG)

    def unchecked_tokenizer(self) -> Tokenizer:
        """The tokenizer, whatever run.json says of it."""
        return read_tokenizer(self.path)[1]

    def info(self) -> dict[str, Any]:
        """Corpus, hashes, versions, threads, precision. Raises RunError where run.json cannot be read."""
        return RunRecord.read(self.path).info()

    def metrics(self) -> Metrics:
        """The content of metrics.jsonl. Raises RunError where it cannot be read."""
        try:
            return Metrics(read_regular(self.path / METRICS, LARGEST_LOG))
        except OSError as error:
            raise RunError(f"Cannot read {self.path / METRICS}: {error.strerror or error}.") from error

    def save_model(self, model: Encoder) -> None:
        """Write the weights, shared ones once."""
        write_atomically(self.path / MODEL, self.model_bytes(model), self.check)

    def model_bytes(self, model: Encoder) -> memoryview:
        """The weights as the file of the run holds them: the same bytes for the same weights."""
        return pack_weights(stored_tensors(model), lmkit_version())

    def model_copy(self, model: Encoder) -> memoryview:
        """The same before it is sealed (``seal_weights``), which takes longer than the copy."""
        return copy_weights(stored_tensors(model), lmkit_version())

    def write_model(self, content: Bytes) -> None:
        """Replace the weights. Raises OSError if the disk refuses."""
        replace_file(self.path / MODEL, content, self.check)

    def load_model(
        self, blueprint: Blueprint[N], device: torch.device, checkpoint: tuple[str, bytes] | None = None
    ) -> N:
        """The best model of the run, or that of a checkpoint: its file's name and content. Raises RunError if the file
        is missing, damaged, or does not fit the configuration.
        """
        path = self.path / (MODEL if checkpoint is None else checkpoint[0])
        shapes = blueprint.shapes()
        if checkpoint is not None:
            tensors = unpack_weights(checkpoint[1], path, shapes, CONFIG)
        elif exists(path):
            tensors = load_weights(path, shapes, CONFIG)
        else:
            raise RunError(f"{self.path} holds no trained model yet: {MODEL} is missing.")
        order = tensors.get("head.order")
        if order is not None and not torch.equal(order.sort().values, torch.arange(blueprint.vocab_size)):
            raise RunError(f"{path} is damaged: head.order does not name each token once.")
        with torch.random.fork_rng(devices=[]):
            model = blueprint.make(order)
        # names were compared above: only second names of tied weights are absent
        model.load_state_dict(tensors, strict=False)
        return model.to(device).eval()

    def model_file(self, which: str, blueprint: Blueprint[Encoder]) -> tuple[int | None, tuple[str, bytes]]:
        """The step of a model (``best``, ``last`` or a step), and its file as ``load_model`` takes it. The step is None
        where metrics.jsonl does not name it. Raises RunError where there is no such model.
        """
        if which != "best":
            step, name, content = self.checkpoints.weights_at(which)
            return step, (name, content)
        try:
            content = read_regular(self.path / MODEL, self.largest_model(blueprint))
        except FileNotFoundError:
            raise RunError(f"{self.path} holds no trained model yet: {MODEL} is missing.") from None
        except OSError as error:
            raise RunError(f"{self.path / MODEL} is damaged: {error.strerror or error}.") from error
        return self.metrics().best_step, (MODEL, content)

    def record_end(self, step: int, model_sha256: str | None, metrics: Mapping[str, Any]) -> None:
        """Record in run.json that the run has ended: at which step, with which model, and the length and sha256 of its
        metrics. Raises OSError if the disk refuses, RunError if run.json is damaged.
        """
        ended = {"step": step, "model_sha256": model_sha256, "metrics": dict(metrics)}
        replace_file(self.path / RUN, _json({**self.info(), "ended": ended}).encode(), self.check)

    def model_sha256(self, blueprint: Blueprint[Encoder]) -> str | None:
        """sha256 of the model's file, None where it is missing, cannot be read, or is too long to hold this model."""
        with contextlib.suppress(OSError, ConfigError), open_regular(self.path / MODEL) as file:
            if os.fstat(file.fileno()).st_size <= self.largest_model(blueprint):
                return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        return None

    def largest_model(self, blueprint: Blueprint[Encoder]) -> int:
        """Bytes that a file of this model's weights has at most. Raises ConfigError for a model that cannot be."""
        numbers = sum(math.prod(shape) for shape in blueprint.shapes().values())
        return LARGEST_HEADER + BYTES_PER_NUMBER * numbers

    def record_change(
        self, stored: StoredRun, config: Config, change: Mapping[str, Any], resolved: Mapping[str, Any]
    ) -> None:
        """A resume that changed something: an entry in run.json of what and at which step (its ``changed``: options
        with their values before and after, files as config.json names them), the options in effect from there on, and
        the changed ones in config.json.
        """
        info, before = stored.record.info(), stored.values
        options = flatten(config.to_dict(), type(config))
        values = changed_values(before, self.path, {name: options[name] for name in change["changed"]})
        old, new = ({**content["data"], **content.get("labels", {})} for content in (before, values))
        named = {name: [old.get(name), new[name]] for name in FILES if name in change["changed"]}
        entry = {**change, "changed": {**change["changed"], **named}}
        resumes = info.get("resumes")
        resumes = resumes if isinstance(resumes, list) else []
        info = {**info, "resolved": resolved, "resumes": [*resumes, entry]}
        write_atomically(self.path / RUN, _json(info), self.check)
        write_atomically(self.path / CONFIG, _json(values), self.check)

    def weights(self, content: Bytes, name: str, blueprint: Blueprint[Encoder]) -> dict[str, Tensor]:
        """The tensors of a file of weights that was read; ``name`` is the file's in messages. Raises RunError if they
        are not those of the configuration.
        """
        return unpack_weights(content, self.path / name, blueprint.shapes(), CONFIG)

    def write_report(self, name: str, values: Mapping[str, Any]) -> Path:
        """A JSON file in the folder ``reports``; returns where it is. Raises OSError if the disk refuses."""
        path = self.path / REPORTS / name
        self.check()
        path.parent.mkdir(exist_ok=True)
        if path.parent.is_symlink():
            raise OSError(errno.ELOOP, "it is a link to elsewhere, which is not followed here")
        replace_file(path, _json(finite(values)).encode(), self.check)
        return path


def _remove_unfinished(path: Path) -> None:
    """Remove what earlier attempts at this folder have left that were killed: those whose lock is free."""
    with contextlib.suppress(OSError):
        for folder in path.parent.iterdir():
            if folder.name.startswith(f".{path.name}{UNFINISHED}") and not folder.is_symlink():
                with contextlib.suppress(RunError):
                    FolderLock(folder).release()
                    shutil.rmtree(folder, ignore_errors=True)


def free_run_path(corpus: str, parent: Path = RUNS) -> Path:
    """The first of runs/<corpus>-1, runs/<corpus>-2, ... that does not exist."""
    stem = re.sub(r"[^\w.-]+", "-", Path(corpus).name.removesuffix(".gz").removesuffix(".txt")).strip("-.") or "text"
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def newest_runs(parent: Path = RUNS) -> list[Path]:
    """The run folders in a folder, the newest first."""
    found = [entry.parent for entry in parent.glob(f"*/{CONFIG}")] if is_folder(parent) else []
    return sorted(found, key=lambda run: (-(run / CONFIG).stat().st_mtime_ns, run.name))


def _known_path(path: Path) -> Path:
    """The path itself, or that of a run in ``runs`` which has this name."""
    inside = RUNS / path
    return inside if len(path.parts) == 1 and not exists(path) and is_file(inside / CONFIG) else path


def _nearby(folder: Path) -> str:
    """The runs that a name which is none may stand for."""
    parents = (folder.parent,) if len(folder.parts) > 1 else (RUNS, Path())
    runs = {run.name: run for parent in parents for run in newest_runs(parent)}
    close = difflib.get_close_matches(folder.name, runs, n=1)
    if close:
        return f" Did you mean {runs[close[0]]}?"
    return f" Runs here: {', '.join(str(run) for run in list(runs.values())[:5])}." if runs else ""


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
