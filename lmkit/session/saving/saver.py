"""The saver of a session: which checkpoint is written when, and again after a disk that was full."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from lmkit.errors import LmkitError, RunError
from lmkit.files import Bytes
from lmkit.run.checkpoints.folder import WEIGHTS
from lmkit.run.directory import DISK_FULL, RunDirectory
from lmkit.run.weights import seal_weights
from lmkit.session.log import SessionLog
from lmkit.session.placement import placement_options
from lmkit.session.records.config_hash import config_hash
from lmkit.session.records.run_info import versions
from lmkit.session.saving.best_model import BestModel, ModelFile
from lmkit.session.saving.checkpoint_state import checkpoint_files
from lmkit.session.saving.rollback import Rollback
from lmkit.session.saving.writer import Writer
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
    """A checkpoint before it is written: a copy of all that the training changes. sums: the sha256 of files that are
    known. unsealed: the file of the weights before it has its checksum; None where they are the new best model's.
    """

    moment: Moment
    files: dict[str, Bytes]
    sums: dict[str, str]
    notes: dict[str, Any]
    unsealed: memoryview | None


class Outcome(NamedTuple):
    """What a save has come to. content: what was to be written, None where only best model and log were. error: why
    the disk refused, None where it did not. said: what else is to be known.
    """

    step: int
    content: Content | None
    error: OSError | None
    said: list[str]


class Saver:
    """Writes the checkpoints of a run, with the best model and the log that they refer to, at once (``save``) or beside
    the training (``begin``). saved: the moment of the newest one; a content that the disk refused is kept, and written
    again at the next try if the training is still there.

    What is written beside the training is a copy. One save is under way at a time: methods that save wait for the one
    before, and tell how it went.
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
        self._model_copy = run.model_copy
        self._rollback, self._warn = rollback, warn
        self.saved = saved
        self._writer: Writer[Outcome] = Writer()
        self._refused: Content | None = None
        self._tried_at = time.monotonic()
        self.identity: dict[str, Any] = {
            "config_sha256": config_hash(setup.config),
            "tokenizer_sha256": setup.corpus.tokenizer.sha256,
            "fingerprint": fingerprint,
        }

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due after a step: by --checkpoint-every, or by the clock since the end of the last
        try.
        """
        seconds = self._setup.config.checkpoint.checkpoint_seconds
        by_the_clock = seconds > 0 and not self._writer.is_busy and time.monotonic() - self._tried_at >= seconds
        return self._rollback.is_fixed(step) or by_the_clock

    def ensure_saved(self) -> bool:
        """``save`` where something is not on the disk yet of all that the run needs: its newest state, and its best
        model. Returns whether it is there now.
        """
        self.finish()
        return (self.saved == Moment.of(self._setup) and self._best.waiting is None) or self.save()

    def save(self) -> bool:
        """Bring the newest state to the disk, with the best model and the log; return whether the disk took it. Where
        it did not, ``warn`` receives why.
        """
        self.finish()
        try:
            return self._take(self._written(*self._work(None)))
        finally:
            self._tried_at = time.monotonic()

    def begin(self, model: ModelFile | None = None) -> None:
        """``save`` beside the training. model: the file of the weights of now, where they are a new best model."""
        self.finish()
        self._writer.begin(partial(self._written, *self._work(model)))

    def collect(self) -> None:
        """Tell how the save that was begun went, if it has ended. Raises what it has met but a disk that refuses."""
        if self._writer.is_done:
            self.finish()

    def finish(self) -> None:
        """Wait for the save that was begun, if there is one. Raises as ``collect``."""
        if not self._writer.is_busy:
            return
        try:
            outcome = self._writer.finish()
        finally:
            self._tried_at = time.monotonic()
        if outcome is not None:
            self._take(outcome)

    def leave(self) -> None:
        """``finish`` where another error may be on its way already: ``warn`` receives this one."""
        try:
            self.finish()
        except LmkitError as error:
            self._warn(str(error))

    def write(self) -> None:
        """``save`` where the caller hears of a disk that refuses: raises OSError, and removes no older checkpoint."""
        content = self._content(None)
        self._write(content)
        self.saved = Moment.of(self._setup)

    def _work(self, model: ModelFile | None) -> tuple[int, Content | None, bool]:
        return self._setup.train.step, self._content(model), model is not None

    def _content(self, model: ModelFile | None) -> Content | None:
        """A copy of the newest state; None where it is on the disk."""
        moment = Moment.of(self._setup)
        if self.saved == moment:
            return None
        if self._refused is not None and self._refused.moment == moment:
            return self._refused
        self._refused = None  # its memory first
        weights: Bytes
        if model is None:
            weights = unsealed = self._model_copy(self._setup.train.measured)
        else:
            weights, unsealed = model.content, None
        files = checkpoint_files(self._setup, self._log, weights, self._best.sha256, self.identity)
        notes = {
            "best_step": self._setup.train.validations.best_step,
            **versions(),
            "place": placement_options(self._setup.placement),
        }
        return Content(moment, files, {} if model is None else {WEIGHTS: model.sha256}, notes, unsealed)

    def _take(self, outcome: Outcome) -> bool:
        """Take note of what a save has come to; return whether the disk took it."""
        for line in outcome.said:
            self._warn(line)
        if outcome.error is not None:
            self._refused = outcome.content
            reason = outcome.error.strerror or outcome.error
            self._warn(f"Step {outcome.step:,} could not be saved: {reason}.")
            return False
        if outcome.content is not None:
            self.saved, self._refused = outcome.content.moment, None
        return True

    # from here on: perhaps in the writer's thread, and nothing that the training changes

    def _written(self, step: int, content: Content | None, is_best: bool) -> Outcome:
        said: list[str] = []
        if is_best:
            self._best.try_to_flush("The best model could not be saved", said.append)
        try:
            self._write(content)
        except OSError as error:
            return Outcome(step, content, error, said)
        self._rotate(step, said.append)
        return Outcome(step, content, None, said)

    def _write(self, content: Content | None) -> None:
        """Write a checkpoint and what it refers to. On a disk with room for one but not two, the newest gives way."""
        if content is None:
            self._flush()
            return
        if content.unsealed is not None:
            seal_weights(content.unsealed)
        step, files, notes, sums = content.moment.step, content.files, content.notes, content.sums
        try:
            self._flush()
            self._checkpoints.save(step, files, notes, sums)
        except OSError as error:
            if error.errno not in DISK_FULL or not self._make_room(files, step):
                raise
            self._flush()
            self._checkpoints.save(step, files, notes, sums)

    def _flush(self) -> None:
        self._best.flush()
        self._log.metrics.sync()

    def _make_room(self, files: Mapping[str, Bytes], step: int) -> bool:
        with contextlib.suppress(OSError, RunError):
            return self._checkpoints.make_room(files, step, self._rollback.steps(step)[-1:])
        return False

    def _rotate(self, step: int, say: Callable[[str], None]) -> None:
        keep = self._setup.config.checkpoint.keep_checkpoints
        try:
            self._checkpoints.rotate(step, keep, self._rollback.steps(step)[-1:])
        except (OSError, RunError) as error:  # too many do no harm: the next save tries again
            reason = getattr(error, "strerror", None) or str(error).removesuffix(".")
            say(f"Older checkpoints could not be removed yet: {reason}.")
