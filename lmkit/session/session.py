"""A training session: from a configuration to a run folder with its best model, one record at a time."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lmkit.config import Config
from lmkit.distributed.world import ALONE, World
from lmkit.errors import NonFiniteError, RunError
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import FolderLock
from lmkit.session.kind import Kind
from lmkit.session.language.kind import LANGUAGE_MODELS
from lmkit.session.parts import Parts, Say, begin
from lmkit.session.placement import Placement
from lmkit.session.resume import resume
from lmkit.session.tuning.origin import Origin
from lmkit.text.corpus import Progress
from lmkit.training.guard import Skipped
from lmkit.training.loop import EvaluationRecord, Validated, fit, progress_of, reached_limits
from lmkit.training.step import StepRecord

__all__ = ["Session"]


def silent(text: str) -> None:
    """Nobody listens."""


class Session:
    """One training run, made of ``Parts``. ``records`` trains, writes metrics, saves checkpoints and keeps the best
    model; ``close`` measures the best model. As a context manager it lets go of the run folder whatever happens.

    ``Session(config, out)`` is ``Session.begin(config, out)``.

    kind: what is trained. resumed, started_at: whether this session goes on with a run, and from which step.
    earlier_validations: nats per target of those before it. unsaved: after ``close`` or
    ``stop``, why the end of the run is not on the disk; None if it is.
    """

    def __init__(
        self,
        source: Config | Parts,
        out: Path | None = None,
        progress: Progress | None = None,
        warn: Say = silent,
        note: Say = silent,
    ) -> None:
        parts = source
        if isinstance(parts, Config):
            parts = begin(LANGUAGE_MODELS, parts, out, progress=progress, warn=warn, note=note)
        self.kind, self.setup, self.run, self.log = parts.kind, parts.setup, parts.run, parts.log
        self.best, self.rollback, self.saver = parts.best, parts.rollback, parts.saver
        self.measurements, self.reports = parts.measurements, parts.reports
        self.alarm, self._lock, self._warn = parts.alarm, parts.lock, parts.warn
        self.resumed, self.started_at = parts.resumed_at is not None, parts.resumed_at or 0
        self.earlier_validations = list(parts.earlier)
        self.config, self.corpus, self.sampler = self.setup.config, self.setup.corpus, self.setup.sampler
        self.train, self.model, self.device = self.setup.train, self.setup.train.model, self.setup.placement.device
        self._orders = self.setup.orders
        self.unsaved: str | None = None

    @classmethod
    def begin(
        cls,
        config: Config,
        out: Path | None = None,
        *,
        origin: Origin | None = None,
        kind: Kind = LANGUAGE_MODELS,
        world: World = ALONE,
        progress: Progress | None = None,
        warn: Say = silent,
        note: Say = silent,
    ) -> Session:
        """Begin a run in a new folder (``out``, or the first free one in ``runs``).

        Everything is checked and made before the run folder appears: a mistake in the options or the text leaves
        nothing behind. Raises LmkitError for every mistake of the user. A disk that is full or cannot be written does
        not end the training: ``warn`` receives why, saving is tried again, and ``unsaved`` says at the end what the
        disk never took. ``note`` receives what the text has that nobody may want; ``progress(stage, share)`` is called
        while a text is prepared or measured. origin: the run to begin from, whose ``configure`` made the configuration
        (fine-tuning); its weights are in the new run's checkpoint of step 0. kind: what is trained. world: the
        processes that train it; the others than the first have a ``Follower`` each.
        """
        how: dict[str, Any] = {"origin": origin, "world": world, "progress": progress, "warn": warn, "note": note}
        return cls(begin(kind, config, out, **how))

    @classmethod
    def resume(
        cls,
        path: Path,
        changes: Mapping[str, Any] | None = None,
        *,
        allow_inexact: bool = False,
        kind: Kind = LANGUAGE_MODELS,
        world: World = ALONE,
        progress: Progress | None = None,
        warn: Say = silent,
        note: Say = silent,
    ) -> Session:
        """Go on with a run from its newest whole checkpoint, or from the beginning if it has none.

        The records and files that follow are those of the run that was never interrupted, to the last bit. changes:
        options to change, of those in ``lmkit.config.RESUMABLE``, and corpus where the text has moved. note: receives,
        before the text is read, that a run has ended already, with what would take it on. Raises RunError where
        another process trains the run, the text is gone or has changed, or the machine or a library differs (unless
        ``allow_inexact``), ConfigError for a change that would make it another run.
        """
        with world.together():
            lock = FolderLock(RunDirectory.open(path).path)
        try:
            how: dict[str, Any] = {"world": world, "progress": progress, "warn": warn, "note": note}
            return cls(resume(kind, lock, changes or {}, allow_inexact=allow_inexact, **how))
        except BaseException:
            lock.release()  # now: who keeps the exception keeps its frames, and they the lock
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._orders.end_with(error)
        self.release()

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return self.run.checkpoints

    @property
    def placement(self) -> Placement:
        """The device, precision and threads that this session computes with."""
        return self.setup.placement

    @property
    def signal_elsewhere(self) -> int:
        """The number of a signal that another process of this training has received and that asks to end; 0 without."""
        return self._orders.signal

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return progress_of(self.train, self.sampler, self.config.training)

    @property
    def finished(self) -> bool:
        """Whether epochs, steps or seconds have run out."""
        return self.setup.finished

    @property
    def limits(self) -> list[str]:
        """The options whose end a finished run is at, such as ``--max-steps 100``."""
        return reached_limits(self.train, self.sampler, self.config.training)

    def records(self) -> Generator[StepRecord | EvaluationRecord, None, None]:
        """Train. Every yield finds the run folder and the train state whole; a checkpoint may be on its way to the disk
        then, and is there when the records have ended or were left. To leave the loop early, call ``stop``, which
        saves, ``close``, which ends the run where it is, or ``release``.

        Raises NonFiniteError under the policy ``raise``, after a report has been written into the run folder.
        """
        validate = self._validate if self.setup.validates else None
        if self.rollback.is_on and self.train.step == 0:
            self.saver.save()  # what the first steps can go back to
        self._orders.go_on()
        try:
            for record in fit(self.train, self.sampler, self.config.training, self.setup.make_update(), validate):
                self.saver.collect()
                if isinstance(record, StepRecord):
                    self._after_step(record)
                else:
                    self._after_validation(record)
                yield record
                self._orders.go_on()
            self.saver.ensure_saved()
        except NonFiniteError as error:
            if isinstance(error.skipped, Skipped):
                self.reports.write(error.skipped)
            self.release()
            raise
        finally:
            self.saver.leave()

    def _after_step(self, record: StepRecord) -> None:
        self.log.add_step(record, self.train)
        self.alarm.after_step(record)
        for skipped in record.skipped:
            self.reports.write(skipped)
        if record.skipped:
            self.saver.finish()  # a rollback goes back to the newest checkpoint
        self.rollback.after(record)
        if self.finished:
            self.saver.save()
        elif self.saver.is_due(record.step) and not self.setup.validation_is_due:
            self.saver.begin()

    def _after_validation(self, record: EvaluationRecord) -> None:
        self.log.add_evaluation(record, self.train)
        self.saver.finish()
        if self.finished:
            if record.is_best:
                self.best.keep(is_best=True)
        elif record.is_best:
            self.saver.begin(self.best.choose(is_best=True))
        elif self.saver.is_due(record.step):
            self.saver.begin()
        self.alarm.after_validation(record)

    def save(self) -> bool:
        """Save a checkpoint now; return whether the disk took it. Where it did not, ``warn`` receives why."""
        return self.saver.save()

    def close(self) -> Any:
        """Put the best weights back and measure them on the test split, or on validation where there is no test; None
        without both. Raises NonFiniteError where neither the best nor the last weights are finite.
        """
        if not self.train.step:
            self._orders.end()
            self._end(saved=True)
            return None
        self._keep_last_model()
        saved = self.saver.ensure_saved()  # from here on the weights are not the training's any more
        self._orders.end()
        self.log.end_interval(self.train)
        step = self.best.take()
        result = self.measurements.close()
        self.log.add_final(step, result)
        self._end(saved=saved, ended=True)
        return result

    def stop(self) -> None:
        """Save a checkpoint and leave the run to be resumed; also where ``close`` was broken off. A run without a best
        model yet keeps the last one, so that it can be tried.
        """
        self._keep_last_model()
        saved = self.saver.ensure_saved()
        self._orders.end()
        self._end(saved=saved)

    def release(self) -> None:
        """Let go of the run without saving it, where an exception has ended the training. What is being written comes
        to its end.
        """
        self._orders.end(1)
        self.saver.leave()
        self._lock.release()

    def _validate(self) -> Validated:
        if self.measurements.is_shared:
            self._orders.measure()
        measured = self.measurements.validate()
        self._orders.validated(measured)
        return measured

    def _keep_last_model(self) -> None:
        self.saver.finish()
        try:
            self.best.keep_last()
        except NonFiniteError:
            self.release()
            raise

    def _end(self, *, saved: bool, ended: bool = False) -> None:
        try:
            self.best.flush()
            self.log.metrics.sync()
            if ended:
                self.run.record_end(self.train.step, self.best.on_disk(), self.log.metrics.end())
        except OSError as error:
            self.unsaved = f"The run could not be saved in {self.run.path}: {error.strerror or error}."
        except RunError as error:  # run.json is gone or damaged: the model is there all the same
            self._warn(str(error))
        if not saved:
            self.unsaved = self.unsaved or f"The last checkpoint could not be saved in {self.run.path}."
        self.release()
