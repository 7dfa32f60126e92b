"""The run directory: everything that a training run leaves behind, in files that hold no pickles.

RUN/  config.json        the configuration, all values written out
      tokenizer.json     opens in Hugging Face tokenizers
      model.safetensors  the best model on validation
      run.json           corpus and its hashes, versions, threads, precision, device
      metrics.jsonl      functions of the run: training and evaluation records
      timings.jsonl      clocks and speeds of the same records
      checkpoints/       what a resume needs, a folder step-N for each
      reports/           steps that were left out because they were not finite
      lock               held while a process trains the run
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lmkit.config import CONFIG_FORMAT, Config
from lmkit.errors import ConfigError, FailedError, RunError
from lmkit.files import (
    check_new_folder,
    default_mode,
    exists,
    is_file,
    is_folder,
    remove_temporary_files,
    replace_file,
    sync_folder,
    write_atomically,
)
from lmkit.lock import LOCK, FolderLock
from lmkit.model.language_model import LanguageModel, stored_shapes
from lmkit.run_log import finite
from lmkit.text.tokenizer import Tokenizer, tokenizer_from_json

__all__ = ["METRICS", "MODEL", "TIMINGS", "RunDirectory", "free_run_path", "lmkit_version"]

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
CONFIG, TOKENIZER, MODEL, RUN, METRICS, TIMINGS = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "run.json",
    "metrics.jsonl",
    "timings.jsonl",
)
REPORTS = "reports"
UNFINISHED = ".unfinished-"


class RunDirectory:
    """A run folder that exists: its files are read and written through this."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, tokenizer: Tokenizer, info: Mapping[str, Any]) -> RunDirectory:
        """Make the folder with its first files, whole or not at all. Raises RunError if it exists already."""
        check_new_folder(path)
        staging = lock = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}"))
            lock = FolderLock(staging)
            _remove_unfinished(path)  # ours is locked by now, so of two that do this at once no more than one loses
            header = {"lmkit": lmkit_version(), "format": CONFIG_FORMAT, "vocab_size": tokenizer.vocab_size}
            write_atomically(staging / CONFIG, _json({**header, **config.to_dict()}))
            write_atomically(staging / TOKENIZER, tokenizer.to_json())
            write_atomically(staging / RUN, _json(dict(info)))
            (staging / METRICS).touch()
            (staging / TIMINGS).touch()
            staging.chmod(default_mode(0o777))
            lock.release()
            (staging / LOCK).unlink()
            staging.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise RunError(f"{path} exists already: choose another --out, or remove it first.") from error
            kind = FailedError if error.errno in DISK_FULL else RunError
            raise kind(f"Cannot make the run folder {path}: {error.strerror or error}.") from error
        finally:
            if lock is not None:
                lock.release()
            if staging is not None and staging.exists():
                shutil.rmtree(staging, ignore_errors=True)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Open an existing run. Raises RunError if the folder is not there or is not a run of lmkit's."""
        folder = Path(path)
        if not exists(folder):
            raise RunError(f"There is no run folder {folder}.{_nearby(folder)}")
        if not is_folder(folder):
            raise RunError(f"{folder} is a file: give the run's folder.")
        missing = [name for name in (CONFIG, TOKENIZER) if not is_file(folder / name)]
        if missing:
            raise RunError(f"{folder} is not a run of lmkit's: {missing[0]} is missing.")
        return cls(folder)

    def clean(self) -> None:
        """Remove what a crash has left of files that were being written. Only for who holds the run's lock."""
        for folder in (self.path, self.path / REPORTS):
            remove_temporary_files(folder)

    def config(self) -> Config:
        """The run's configuration. Raises RunError if it is damaged or of a newer format."""
        values = self._read_json(CONFIG)
        if values.pop("format", None) != CONFIG_FORMAT:
            raise RunError(f"{self.path / CONFIG} has a format that lmkit {lmkit_version()} does not read.")
        sections = {name: value for name, value in values.items() if name not in ("lmkit", "vocab_size")}
        try:
            return Config.from_dict(sections)
        except ConfigError as error:
            raise RunError(f"{self.path / CONFIG} is damaged: {error}") from error

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return tokenizer_from_json(self._read_text(TOKENIZER), str(self.path / TOKENIZER))

    def info(self) -> dict[str, Any]:
        """Corpus, hashes, versions, threads, precision."""
        return self._read_json(RUN)

    def counts(self, split: str) -> dict[str, int]:
        """The recorded counts of a split (tokens, documents, oov, ...); empty where run.json is damaged or has none."""
        try:
            splits = self.info().get("splits")
        except RunError:
            return {}
        counts = splits.get(split) if isinstance(splits, dict) else None
        if not isinstance(counts, dict):
            return {}
        return {name: value for name, value in counts.items() if isinstance(value, int)}

    def split_hash(self, split: str) -> str | None:
        """The recorded sha256 of a split's text, None where run.json has none."""
        splits = self.info().get("splits")
        recorded = splits.get(split) if isinstance(splits, dict) else None
        found = recorded.get("sha256") if isinstance(recorded, dict) else None
        return found if isinstance(found, str) else None

    def save_model(self, model: LanguageModel) -> None:
        """Write the weights, shared ones once."""
        write_atomically(self.path / MODEL, self.model_bytes(model))

    def model_bytes(self, model: LanguageModel) -> bytes:
        """The weights as the file of the run holds them: the same bytes for the same weights."""
        kept = _without_aliases(model)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
        return save_tensors(tensors, metadata={"lmkit": json.dumps({"version": lmkit_version()})})

    def write_model(self, content: bytes) -> None:
        """Put other weights in place. Raises OSError if the disk refuses."""
        replace_file(self.path / MODEL, content)

    def load_model(self, config: Config, vocab_size: int, device: torch.device) -> LanguageModel:
        """The best model of the run. Raises RunError if its file is missing, damaged, or does not fit the
        configuration.
        """
        path = self.path / MODEL
        if not is_file(path):
            raise RunError(f"{self.path} holds no trained model yet: {MODEL} is missing.")
        shapes = stored_shapes(config.model, vocab_size)
        stored = _stored_shapes(path)
        wrong = sorted(name for name in shapes.keys() | stored.keys() if shapes.get(name) != stored.get(name))
        if wrong:
            name = wrong[0]
            raise RunError(
                f"{path} does not fit {CONFIG}: {name} has shape {_shape(stored, name)}, "
                f"and {_shape(shapes, name)} is expected."
            )
        try:
            tensors = load_tensors(path.read_bytes())
        except (SafetensorError, OSError) as error:
            raise RunError(f"{path} is damaged: {error}.") from error
        if broken := sorted(name for name, tensor in tensors.items() if not _is_finite(tensor)):
            raise RunError(f"{path} is damaged: {broken[0]} holds values that are not finite numbers.")
        with torch.random.fork_rng(devices=[]):
            model = LanguageModel(config.model, vocab_size, tensors.get("head.order"))
        # names were compared above: only second names of tied weights are absent
        model.load_state_dict(tensors, strict=False)
        return model.to(device).eval()

    def record_change(self, config: Config, change: Mapping[str, Any]) -> None:
        """A resume that changed something: the new configuration, and a line in run.json of what and at which step."""
        info = self.info()
        resumes = info.get("resumes", [])
        write_atomically(self.path / RUN, _json({**info, "resumes": [*resumes, dict(change)]}))
        header = {name: self._read_json(CONFIG)[name] for name in ("lmkit", "format", "vocab_size")}
        write_atomically(self.path / CONFIG, _json({**header, **config.to_dict()}))

    def weights(self, content: bytes, config: Config, vocab_size: int) -> dict[str, Tensor]:
        """The tensors of a file of weights. Raises ValueError if they are not those of the configuration."""
        shapes = stored_shapes(config.model, vocab_size)
        try:
            tensors = load_tensors(content)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if wrong := sorted(name for name in shapes.keys() | stored.keys() if shapes.get(name) != stored.get(name)):
            raise ValueError(f"{wrong[0]} has shape {_shape(stored, wrong[0])} instead of {_shape(shapes, wrong[0])}")
        return tensors

    def write_report(self, name: str, values: Mapping[str, Any]) -> Path:
        """A JSON file in the folder ``reports``; returns where it is. Raises OSError if the disk refuses."""
        path = self.path / REPORTS / name
        path.parent.mkdir(exist_ok=True)
        replace_file(path, _json(finite(values)).encode())
        return path

    def metrics(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl; lines that are no records, as a crash may leave one, are passed over."""
        records = []
        for line in self._read_text(METRICS).splitlines():
            with contextlib.suppress(json.JSONDecodeError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    records.append(record)
        return records

    def _read_text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"Cannot read {self.path / name}: {error}.") from error

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads(self._read_text(name))
        except (json.JSONDecodeError, RecursionError) as error:
            raise RunError(f"{self.path / name} is damaged: {error}.") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.path / name} is damaged: it holds no object.")
        return values


def _remove_unfinished(path: Path) -> None:
    """Remove what earlier attempts at this folder have left that were killed: those that nobody holds the lock of."""
    with contextlib.suppress(OSError):
        for folder in path.parent.iterdir():
            if folder.name.startswith(f".{path.name}{UNFINISHED}") and not folder.is_symlink():
                with contextlib.suppress(RunError):
                    FolderLock(folder).release()
                    shutil.rmtree(folder, ignore_errors=True)


def free_run_path(corpus: str, parent: Path = Path("runs")) -> Path:
    """The first of runs/<corpus>-1, runs/<corpus>-2, ... that does not exist."""
    stem = re.sub(r"[^\w.-]+", "-", Path(corpus).name.removesuffix(".gz").removesuffix(".txt")).strip("-.") or "text"
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def lmkit_version() -> str:
    """The installed version, or "unknown" where lmkit is used without being installed."""
    try:
        return metadata.version("lmkit")
    except metadata.PackageNotFoundError:
        return "unknown"


def _without_aliases(model: LanguageModel) -> dict[str, Tensor]:
    """The state dict with a tied weight under its first name only."""
    names = {id(tensor): name for name, tensor in reversed(list(model.named_parameters(remove_duplicate=False)))}
    first = set(names.values()) | {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in first}


def _stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes from a safetensors header, read before anything of their size is allocated."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return str(list(shapes[name])) if name in shapes else "none"


def _nearby(folder: Path) -> str:
    parent = folder.parent if is_folder(folder.parent) else Path("runs")
    found = sorted(entry.parent.name for entry in parent.glob(f"*/{CONFIG}"))[:5] if is_folder(parent) else []
    return f" In {parent} there are {', '.join(found)}." if found else ""


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
