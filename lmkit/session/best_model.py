"""The best model of a run on its way to the disk, and back to what it was when a run is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from lmkit.errors import RunError
from lmkit.files import exists, read_regular
from lmkit.model.language_model import LanguageModel
from lmkit.run.checkpoints.folder import WEIGHTS, CheckpointFolder
from lmkit.run.directory import MODEL, RunDirectory

__all__ = ["BestModel"]


class BestModel:
    """model.safetensors of a run. content: its bytes where the disk has refused them so far; sha256: of the best model
    on validation, "" before the first.
    """

    def __init__(self, run: RunDirectory, warn: Callable[[str], None]) -> None:
        self.run, self.warn = run, warn
        self.content: bytes | None = None
        self.sha256 = ""

    def keep(self, model: LanguageModel, *, is_best: bool) -> bool:
        """Make these weights the run's model; return whether the disk took them. Without a validation they are the
        last ones and not the best: a checkpoint is not told of them.
        """
        self.content = self.run.model_bytes(model)
        self.sha256 = hashlib.sha256(self.content).hexdigest() if is_best else ""
        try:
            self.flush()
        except OSError as error:
            self.warn(f"The best model could not be saved: {error.strerror or error}.")
            return False
        return True

    def flush(self) -> None:
        """Write what the disk has refused. Raises OSError if it refuses again."""
        if self.content is not None:
            self.run.write_model(self.content)
            self.content = None

    def restore(self, step: int, size: int, checkpoints: CheckpointFolder, *, known: bool) -> None:
        """Put back the best model with ``sha256``, of step ``step`` (0: none yet) and of so many bytes: a later one
        may have been written before the crash. known: whether the one that is there is the run's own in any case.
        """
        if not step or self._present(size) == self.sha256:
            return
        try:
            content = checkpoints.open(step).files[WEIGHTS]
        except RunError as error:
            self.warn(f"The best model, of step {step:,}, is gone: {error} The next better one takes its place.")
            return
        if exists(self.run.path / MODEL) and not known:
            self.warn(
                f"{self.run.path / MODEL} is not the model that this run left, but another run's or damaged: the best "
                f"one, of step {step:,}, is put back."
            )
        self.content = content
        try:
            self.flush()
        except OSError as error:
            self.warn(f"The best model could not be put back yet: {error.strerror or error}.")

    def _present(self, size: int) -> str:
        """sha256 of the file that is there, "" where it cannot be the one: a stranger's may be of any size."""
        try:
            return hashlib.sha256(read_regular(self.run.path / MODEL, size)).hexdigest()
        except OSError:
            return ""
