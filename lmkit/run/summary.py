"""A run at a glance: what its files say of it, and whether it is in training, interrupted or finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.config import Config
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import is_locked
from lmkit.run.metrics import Metrics
from lmkit.run.record import RunRecord
from lmkit.run.stored import config_of

__all__ = ["RunSummary"]


@dataclass(frozen=True)
class RunSummary:
    """Configuration, record and metrics of a run, each read once, and the steps of its checkpoints. status: ``in
    training`` while a process trains the run, then ``finished`` or ``interrupted``.
    """

    path: Path
    config: Config
    info: Mapping[str, Any]
    metrics: Metrics
    steps: tuple[int, ...]
    status: str

    @classmethod
    def read(cls, run: RunDirectory) -> RunSummary:
        """Raises RunError where config.json, run.json or metrics.jsonl cannot be read."""
        record, metrics = RunRecord.read(run.path), run.metrics()
        config = config_of(run.path, run.config_values(), record)
        steps = tuple(run.checkpoints.steps())
        return cls(run.path, config, record.info(), metrics, steps, _status(run.path, metrics))


def _status(folder: Path, metrics: Metrics) -> str:
    if is_locked(folder):
        return "in training"
    return "finished" if metrics.has_ended else "interrupted"
