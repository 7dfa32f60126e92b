"""What a checkpoint holds of a session: written from its parts, and read back with a check of what is there."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lmkit.errors import RunError
from lmkit.files import Bytes
from lmkit.model.shapes import stored_tensors
from lmkit.run.checkpoints.folder import WEIGHTS, Checkpoint
from lmkit.run.checkpoints.packing import pack, unpack
from lmkit.run.directory import RunDirectory
from lmkit.session.log import SessionLog
from lmkit.session.setup import TrainingSetup

__all__ = ["VALUES", "CheckpointState", "checkpoint_files", "misfit", "training_values"]

TENSORS, VALUES, CLOCK = "training.safetensors", "training.json", "clock.json"
NOTHING = type(None)
Kinds = Mapping[str, type | tuple[type, ...]]
SESSION: Kinds = {
    "train": dict,
    "log": dict,
    "best_sha256": str,
    "config_sha256": str,
    "tokenizer_sha256": str,
    "fingerprint": dict,
}
TRAIN: Kinds = {
    "optimizer": dict,
    "carried": (tuple, NOTHING),
    "place": tuple,
    "annealing": dict,
    "guard": dict,
    "scaler": dict,
    "generator": Tensor,
    "cuda_generators": list,
}
OF_PROCESSES: Kinds = {"other_generators": list, "common_generator": Tensor}
LOG: Kinds = {"length": int, "sha256": str, "interval": tuple, "last": (tuple, NOTHING)}
AVERAGE: Kinds = {"count": int, "started_at": int, "losses": tuple}
CLOCKS: Kinds = {"elapsed": (int, float), "interval_started": (int, float)}


def checkpoint_files(
    setup: TrainingSetup, log: SessionLog, weights: Bytes, best_sha256: str, identity: Mapping[str, Any]
) -> dict[str, Bytes]:
    """A checkpoint's files, which nothing that the training does changes any more. All but the clock are functions of
    the run. weights: the file of what is measured. identity: the hashes of the configuration and the tokenizer, and the
    fingerprint of the machine.

    What is measured is what ``--checkpoint`` opens. Where that is a mean, the weights it is a mean of are with the
    training's values.
    """
    setup.orders.save()
    state = setup.train.state_dict()
    del state["model"]
    if "average" in state and state["average"].pop("weights") is not None:
        state["model"] = stored_tensors(setup.train.model)
    clock = {"elapsed": state.pop("elapsed"), "interval_started": log.started, "time": time.time()}
    values, tensors = pack({"train": state, "log": log.state_dict(), "best_sha256": best_sha256, **identity})
    return {WEIGHTS: weights, TENSORS: tensors, VALUES: values, CLOCK: json.dumps(clock).encode() + b"\n"}


@dataclass(frozen=True)
class CheckpointState:
    """The values of a checkpoint, each there and of its type. train: of ``TrainState.state_dict``, without the weights
    that are measured; log: of ``SessionLog.state_dict``. elapsed, interval_started: training seconds.
    """

    step: int
    train: dict[str, Any]
    log: dict[str, Any]
    best_sha256: str
    config_sha256: str
    tokenizer_sha256: str
    fingerprint: dict[str, Any]
    elapsed: float
    interval_started: float

    @property
    def processes(self) -> int:
        """How many processes trained together."""
        return 1 + len(self.train.get("other_generators", []))

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> CheckpointState:
        """Raises RunError that names what is missing, or is not as this version writes it."""
        values = _unpacked(checkpoint)
        _check(checkpoint, values, SESSION, "its")
        _check(checkpoint, values["train"], TRAIN, "of the training its")
        _check(checkpoint, values["log"], LOG, "of the log its")
        clock = _clock(checkpoint)
        _check(checkpoint, clock, CLOCKS, f"in {CLOCK} its")
        if not all(math.isfinite(clock[name]) for name in CLOCKS):
            raise misfit(checkpoint, f"{CLOCK} holds a time that is not finite")
        if "other_generators" in values["train"]:
            _check(checkpoint, values["train"], OF_PROCESSES, "of the processes its")
        kept: dict[str, Any] = {name: values[name] for name in SESSION}
        kept |= {name: float(clock[name]) for name in CLOCKS}
        return cls(checkpoint.step, **kept)


def training_values(
    checkpoint: Checkpoint, state: CheckpointState, run: RunDirectory, setup: TrainingSetup
) -> dict[str, Any]:
    """What ``TrainState.load_state_dict`` takes, with the weights. Raises RunError where they are not those of the
    configuration.
    """
    name = f"checkpoints/step-{checkpoint.step:08d}/{WEIGHTS}"
    content = _file(checkpoint, WEIGHTS)
    weights = run.weights(content, name, setup.blueprint)
    values = {**state.train, "model": weights, "elapsed": state.elapsed}
    if setup.train.average is None:
        return values
    _check(checkpoint, state.train, {"average": dict}, "of the training its")
    _check(checkpoint, state.train["average"], AVERAGE, "of the mean its")
    if "model" not in state.train:  # the mean has not begun
        return values | {"average": {**state.train["average"], "weights": None}}
    _check(checkpoint, state.train["model"], dict.fromkeys(weights, Tensor), "of the training its weight")
    return values | {"model": state.train["model"], "average": {**state.train["average"], "weights": weights}}


def misfit(checkpoint: Checkpoint, why: object) -> RunError:
    """The error for a checkpoint that is whole but not one of this run's."""
    return RunError(f"Checkpoint {checkpoint.step:,} does not fit this run: {why}.")


def _unpacked(checkpoint: Checkpoint) -> Any:
    try:
        return unpack(_file(checkpoint, VALUES), _file(checkpoint, TENSORS))
    except ValueError as error:
        raise misfit(checkpoint, error) from error


def _clock(checkpoint: Checkpoint) -> Any:
    try:
        return json.loads(_file(checkpoint, CLOCK))
    except ValueError as error:
        raise misfit(checkpoint, f"{CLOCK} is no JSON") from error


def _file(checkpoint: Checkpoint, name: str) -> bytes:
    if name not in checkpoint.files:
        raise misfit(checkpoint, f"it holds no {name}")
    return checkpoint.files[name]


def _check(checkpoint: Checkpoint, values: Any, kinds: Kinds, where: str) -> None:
    for name, kind in kinds.items():
        if not isinstance(values, dict) or name not in values:
            raise misfit(checkpoint, f"{where} {name} is missing")
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise misfit(checkpoint, f"{where} {name} is a {type(values[name]).__name__}")
