"""The best model of a run on its way to the disk, and back to what it was when a run is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.errors import NonFiniteError, RunError
from lmkit.files import Bytes, exists, read_regular
from lmkit.run.checkpoints.folder import WEIGHTS, Checkpoint
from lmkit.run.directory import MODEL, RunDirectory
from lmkit.run.metrics import Metrics
from lmkit.session.setup import TrainingSetup

__all__ = ["BestModel", "ModelFile"]


class ModelFile(NamedTuple):
    """A file of weights, made and hashed once however often it is written."""

    content: Bytes
    sha256: str


class BestModel:
    """model.safetensors of a run. sha256: of the best model on validation, "" before the first. waiting: the file that
    is not on the disk yet, or that it has refused so far; None where what is on the disk is up to date.
    """

    def __init__(self, setup: TrainingSetup, run: RunDirectory, warn: Callable[[str], None], sha256: str = "") -> None:
        self._setup, self._run, self._warn = setup, run, warn
        self.sha256 = sha256
        self.waiting: ModelFile | None = None

    def keep(self, *, is_best: bool) -> None:
        """Make the weights of now, or their mean, the run's model, and write it."""
        self.choose(is_best=is_best)
        self.try_to_flush("The best model could not be saved", self._warn)

    def choose(self, *, is_best: bool) -> ModelFile:
        """Make the weights of now, or their mean, the run's model, which waits to be written; return its file. Without
        a validation they are the last ones and not the best, so checkpoints do not record them.
        """
        content = self._run.model_bytes(self._setup.train.measured)
        self.waiting = file = ModelFile(content, hashlib.sha256(content).hexdigest())
        self.sha256 = file.sha256 if is_best else ""
        return file

    def keep_last(self) -> None:
        """Without a validation the last model is the one to keep. Raises NonFiniteError if it is none: a step can be
        finite and its update not (a weight decay of 1e308).
        """
        train = self._setup.train
        if train.validations.best_step or not train.step:
            return
        if not all(bool(torch.isfinite(tensor).all()) for tensor in train.measured.parameters()):
            raise NonFiniteError(
                f"After step {train.step:,} the weights are not finite, and no validation was: there is no "
                "model to keep. A new run with a smaller --lr or --weight-decay usually helps."
            )
        self.keep(is_best=False)

    def take(self) -> int:
        """Fill what is measured with the weights of the run's file; return the step that they are of."""
        train = self._setup.train
        step = train.validations.best_step or train.step
        if self.waiting is None and not (self._run.path / MODEL).exists():
            self._warn("The best model is gone, and none was better since: the last one is kept instead.")
            self.keep(is_best=False)
            step = train.step
        if self.waiting is not None:
            weights = self._weights(self.waiting.content)
        else:
            weights = self._run.load_model(self._setup.blueprint, self._setup.placement.device).state_dict()
        train.measured.load_state_dict(weights, strict=False)
        return step

    def flush(self) -> None:
        """Write what waits. Raises OSError if the disk refuses."""
        if self.waiting is not None:
            self._run.write_model(self.waiting.content)
            self.waiting = None

    def try_to_flush(self, failure: str, say: Callable[[str], None]) -> None:
        """The same; where the disk refuses ``say`` receives why."""
        try:
            self.flush()
        except OSError as error:
            say(f"{failure}: {error.strerror or error}.")

    def on_disk(self) -> str | None:
        """sha256 of the run's file, None where there is none that could be this model's."""
        return self._run.model_sha256(self._setup.blueprint)

    def restore(self, checkpoint: Checkpoint, metrics: Metrics, left: str | None) -> None:
        """Put back the best model as it was at a checkpoint: a later one may have been written before a crash. left:
        sha256 of the model that the run has ended with, where that is recorded.

        At its end a run may have the model of the closing validation, which no checkpoint knows of.
        """
        step, ended = self._setup.train.validations.best_step, self._setup.finished
        content = self._present()
        present = None if content is None else hashlib.sha256(content).hexdigest()
        if ended and (self._is_sound(content) if left is None else present == left):
            return
        if not step or present == self.sha256:
            return
        try:
            found = checkpoint if checkpoint.step == step else self._run.checkpoints.open(step)
        except RunError as error:
            self._warn(f"The best model, of step {step:,}, is gone: {error} The next better one replaces it.")
            return
        known = metrics.best_after(step) if left is None else present == left
        if exists(self._run.path / MODEL) and not known:
            self._warn(
                f"{self._run.path / MODEL} is not the model that this run left, but another run's or damaged: the best "
                f"one, of step {step:,}, is put back."
            )
        self.waiting = ModelFile(found.files[WEIGHTS], self.sha256)
        self.try_to_flush("The best model could not be put back yet", self._warn)

    def _present(self) -> bytes | None:
        """The run's file, None where there is none that could be this model's: a stranger's may be of any size."""
        most = self._run.largest_model(self._setup.blueprint)
        try:
            return read_regular(self._run.path / MODEL, most)
        except OSError:
            return None

    def _is_sound(self, content: bytes | None) -> bool:
        """Whether a file of weights can be this model's."""
        if content is None:
            return False
        try:
            self._run.load_model(self._setup.blueprint, self._setup.placement.device, (MODEL, content))
        except RunError:
            return False
        return True

    def _weights(self, content: Bytes) -> dict[str, Tensor]:
        return self._run.weights(content, MODEL, self._setup.blueprint)
