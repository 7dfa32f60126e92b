"""The saver of a session: which checkpoint is written when, and again after a disk that was full."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lmkit.errors import RunError
from lmkit.run.checkpoints.folder import WEIGHTS
from lmkit.run.directory import DISK_FULL, RunDirectory
from lmkit.session.log import SessionLog
from lmkit.session.placement import placement_options
from lmkit.session.records.config_hash import config_hash
from lmkit.session.records.run_info import versions
from lmkit.session.saving.best_model import BestModel, ModelFile
from lmkit.session.saving.checkpoint_state import checkpoint_files
from lmkit.session.saving.rollback import Rollback
from lmkit.session.setup import TrainingSetup

__all__ = ["Moment", "Saver"]


class Moment(NamedTuple):
    """What tells checkpoints of a run apart. After the last step there is one only, without the closing validation: a
    run that is extended goes on from there as if it had never ended.
    """

    step: int
    validated_at: int

    @classmethod
    def of(cls, setup: TrainingSetup) -> Moment:
        """The moment that a training is at."""
        return cls(setup.train.step, 0 if setup.finished else setup.train.validations.validated_at)


class Content(NamedTuple):
    """A checkpoint before it is written. sums: the sha256 of files that are known."""

    moment: Moment
    files: dict[str, bytes]
    sums: dict[str, str]
    notes: dict[str, Any]


class Saver:
    """Writes the checkpoints of a run, with the best model and the log that they refer to. saved: the moment of the
    newest one; a content that the disk refused is kept, and written again at the next try if the training is still
    there.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        run: RunDirectory,
        log: SessionLog,
        best: BestModel,
        rollback: Rollback,
        fingerprint: Mapping[str, Any],
        warn: Callable[[str], None],
        saved: Moment | None = None,
    ) -> None:
        self._setup, self._checkpoints, self._log, self._best = setup, run.checkpoints, log, best
        self._model_bytes = run.model_bytes
        self._rollback, self._warn = rollback, warn
        self.saved = saved
        self._refused: Content | None = None
        self._tried_at = time.monotonic()
        self.identity: dict[str, Any] = {
            "config_sha256": config_hash(setup.config),
            "tokenizer_sha256": setup.corpus.tokenizer.sha256,
            "fingerprint": fingerprint,
        }

    @property
    def is_saved(self) -> bool:
        """Whether all that the run needs is on the disk: its newest state, and its best model."""
        return self.saved == Moment.of(self._setup) and self._best.waiting is None

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due after a step: by --checkpoint-every, or by the clock since the last try."""
        seconds = self._setup.config.checkpoint.checkpoint_seconds
        return self._rollback.is_fixed(step) or (seconds > 0 and time.monotonic() - self._tried_at >= seconds)

    def save(self, model: ModelFile | None = None) -> bool:
        """Bring the newest state to the disk, with the best model and the log; return whether the disk took it. Where
        it did not, ``warn`` receives why. model: the file of the weights of now, where there is one already.
        """
        try:
            self.write(model)
        except OSError as error:
            self._warn(f"Step {self._setup.train.step:,} could not be saved: {error.strerror or error}.")
            return False
        finally:
            self._tried_at = time.monotonic()
        self._rotate()
        return True

    def write(self, model: ModelFile | None = None) -> None:
        """``save`` where the caller hears of a disk that refuses: raises OSError, and removes no older checkpoint."""
        moment = Moment.of(self._setup)
        if self.saved == moment:
            self._flush()
            return
        if self._refused is None or self._refused.moment != moment:
            self._refused = self._content(moment, model)
        self._write_checkpoint(self._refused)
        self.saved, self._refused = moment, None

    def _content(self, moment: Moment, model: ModelFile | None) -> Content:
        weights = self._model_bytes(self._setup.train.measured) if model is None else model.content
        files = checkpoint_files(self._setup, self._log, weights, self._best.sha256, self.identity)
        notes = {
            "best_step": self._setup.train.validations.best_step,
            **versions(),
            "place": placement_options(self._setup.placement),
        }
        return Content(moment, files, {} if model is None else {WEIGHTS: model.sha256}, notes)

    def _write_checkpoint(self, content: Content) -> None:
        """Write a checkpoint and what it refers to. On a disk with room for one but not two, the newest gives way."""
        step, files, sums, notes = content.moment.step, content.files, content.sums, content.notes
        try:
            self._flush()
            self._checkpoints.save(step, files, notes, sums)
        except OSError as error:
            if error.errno not in DISK_FULL or not self._make_room(files):
                raise
            self._flush()
            self._checkpoints.save(step, files, notes, sums)

    def _flush(self) -> None:
        self._best.flush()
        self._log.metrics.sync()

    def _make_room(self, files: Mapping[str, bytes]) -> bool:
        with contextlib.suppress(OSError, RunError):
            return self._checkpoints.make_room(files, self._setup.train.step, self._rollback.steps()[-1:])
        return False

    def _rotate(self) -> None:
        keep = self._setup.config.checkpoint.keep_checkpoints
        try:
            self._checkpoints.rotate(self._setup.train.step, keep, self._rollback.steps()[-1:])
        except (OSError, RunError) as error:  # too many do no harm: the next save tries again
            reason = getattr(error, "strerror", None) or str(error).removesuffix(".")
            self._warn(f"Older checkpoints could not be removed yet: {reason}.")
