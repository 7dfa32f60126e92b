"""A training session: from a configuration to a run folder with its best model, one record at a time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lmkit.config import Config
from lmkit.errors import ConfigError, NonFiniteError, RunError
from lmkit.evaluation.carried_state import read_carried_state
from lmkit.evaluation.measurement import Measurement, measure
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import Evaluation
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.files import check_new_folder
from lmkit.model.language_model import SequenceLoss
from lmkit.run.checkpoints.folder import WEIGHTS, Checkpoint
from lmkit.run.checkpoints.packing import pack, unpack
from lmkit.run.directory import CONFIG, DISK_FULL, MODEL, RUN, RunDirectory, free_run_path
from lmkit.run.lock import FolderLock
from lmkit.samplers import IGNORE
from lmkit.session.best_model import BestModel
from lmkit.session.log import SessionLog
from lmkit.session.resolved import placement_options, resolved_options, take_edits
from lmkit.session.resume import (
    already_ended,
    changed_config,
    check_corpus,
    check_fingerprint,
    config_hash,
    early_config_hash,
    fingerprint,
    placement_of_run,
    without_same_placement,
)
from lmkit.session.run_info import evaluation_figures, final_figures, run_info, tokenizer_hash, versions
from lmkit.session.setup import Placement, TrainingSetup, prepare
from lmkit.text.corpus import Progress
from lmkit.text.sources.generated import known_entropy
from lmkit.text.token_file import TokenFile
from lmkit.training.guard import Skipped
from lmkit.training.loop import EvaluationRecord, fit, is_finished, progress_of, reached_limits, validation_is_due
from lmkit.training.step import StepRecord, Update

__all__ = ["Session"]

VALIDATION_ROWS = 64
VALIDATION_PASSES = 1
ONE_STREAM_SECONDS = 60
MAX_ROLLBACKS = 10
TENSORS, VALUES, CLOCK = "training.safetensors", "training.json", "clock.json"


class Session:
    """One training run. ``records`` trains, writes metrics, saves checkpoints and keeps the best model; ``close``
    measures the best model. ``progress(stage, share)`` is called while a text is prepared or measured.

    Everything is checked and made before the run folder appears: a mistake in the options or the text leaves nothing
    behind. Raises LmkitError for every mistake of the user. A disk that is full or cannot be written does not end the
    training: ``warn`` is told, saving is tried again, and ``unsaved`` says at the end what the disk never took.
    ``note`` is told what the text has that nobody may want.

    evaluating: whether a validation or the closing measurement is going on, where an exception (Ctrl-C) leaves the
    train state whole; ``before_measuring`` is called at its beginning, and may raise one. resumed, started_at: whether
    this session goes on with a run, and from which step. unsaved: after ``close`` or ``stop``, why the end of the run
    is not on the disk; None if it is.
    """

    def __init__(
        self,
        config: Config,
        out: Path | None = None,
        progress: Progress | None = None,
        warn: Callable[[str], None] = lambda text: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        if out is not None:
            check_new_folder(out)
        runtime = config.runtime
        placement = Placement.choose(runtime.device, runtime.precision, runtime.threads, config.model)
        setup = prepare(config, placement, progress=progress)
        self._take(setup, warn, progress)
        for text in self.corpus.notes:
            note(text)
        path = out or free_run_path(self.corpus.name)
        run = RunDirectory.create(path, setup.config, self.corpus.tokenizer, run_info(setup))
        lock = FolderLock(run.path)
        self._open(RunDirectory(run.path, lock.check), lock)

    @classmethod
    def resume(
        cls,
        path: Path,
        changes: Mapping[str, Any] | None = None,
        *,
        allow_inexact: bool = False,
        progress: Progress | None = None,
        warn: Callable[[str], None] = lambda text: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> Session:
        """Go on with a run from its newest whole checkpoint, or from the beginning if it has none.

        The records and files that follow are those of the run that was never interrupted, to the last bit. changes:
        options to change, of those in ``lmkit.config.RESUMABLE``, and corpus where the text has moved. note: is told,
        before the text is read, of a run that has ended already, with what would take it on. Raises RunError where
        another process trains the run, the text is gone or has changed, or the machine or a library differs (unless
        ``allow_inexact``), ConfigError for a change that would make it another run.
        """
        lock = FolderLock(RunDirectory.open(path).path)
        session = cls.__new__(cls)
        try:
            session._resume(lock, changes or {}, allow_inexact, progress, warn, note)
        except BaseException:
            lock.release()  # now: who keeps the exception keeps its frames, and they the lock
            raise
        return session

    def _resume(
        self,
        lock: FolderLock,
        changes: Mapping[str, Any],
        allow_inexact: bool,
        progress: Progress | None,
        warn: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        run = RunDirectory(lock.folder, lock.check)
        stored, info, tokenizer = run.config(), run.info(), run.tokenizer()
        run.clean()
        run.checkpoints.clean()
        checkpoint = run.checkpoints.newest(warn)
        has_ended = run.has_ended
        if checkpoint is None and has_ended:
            raise RunError(
                f"{run.path} has ended, and none of its checkpoints is whole: to begin anew would put its model at "
                "risk. Train into a new folder."
            )
        placement_then = None if checkpoint is None else checkpoint.manifest.get("place")
        then = {**info, **(placement_then if isinstance(placement_then, dict) else {})}
        changes = without_same_placement(changes, then)
        config = changed_config(stored, changes, allow_inexact=allow_inexact)
        run.check_vocabulary(tokenizer.vocab_size)
        edited = take_edits(run, stored, tokenizer, info, warn)
        run.check_text_is_there(config)
        placement = placement_of_run(then, config, changes)
        if checkpoint is not None and has_ended and config.training == stored.training:
            note(already_ended(run, config.training, checkpoint.step))
        setup = prepare(config, placement, tokenizer=tokenizer, progress=progress)
        check_corpus(run, setup.corpus, changes.get("corpus"))
        self._take(setup, warn, progress)
        self._open(run, lock)
        self.resumed = True
        differing = self._restore(checkpoint, info, allow_inexact)
        moved = {name: getattr(config.training, name) for name in ("epochs", "max_steps", "max_seconds")}
        if self.finished and any(getattr(stored.training, name) != value for name, value in moved.items()):
            ends = " and ".join(self.limits)
            raise ConfigError(f"The run is at step {self.train.step:,}, past its end by {ends}: raise it to continue.")
        # only now, when nothing can refuse any more, is a file of the run touched
        left = _model_at_end(info, self.train.step)
        if checkpoint is not None and not (self.finished and self._has_sound_model(left)):
            size = len(checkpoint.files[WEIGHTS])
            best = self.train.validations.best_step
            known = run.best_after(best) if left is None else self._model_sha256() == left
            self._best.restore(best, size, self.checkpoints, known=known)
        changed = {**edited, **_changes(stored, config)}
        if changed or differing:
            change = {"step": self.train.step, "changed": changed, "inexact": differing}
            run.record_change(config, change, resolved_options(config, tokenizer, placement))

    def _take(self, setup: TrainingSetup, warn: Callable[[str], None], progress: Progress | None) -> None:
        self._setup = setup
        self.config, self.corpus = setup.config, setup.corpus
        self.device, self.precision = setup.placement.device, setup.placement.precision
        self.sampler, self.train, self.model = setup.sampler, setup.train, setup.train.model
        self.warn = warn
        self._tell = progress or (lambda stage, share: None)
        self.evaluating = False
        self.before_measuring: Callable[[], None] = lambda: None
        self.started_at, self.resumed = 0, False
        self.unsaved: str | None = None
        self._fingerprint = fingerprint(setup.placement)
        self._saved_at = time.monotonic()
        self._due = self._failed = self._closing = False
        self._saved: tuple[int, int] | None = None
        self._pending: tuple[tuple[int, int], dict[str, bytes], dict[str, Any]] | None = (
            None  # built, and not taken by the disk yet
        )

    def _open(self, run: RunDirectory, lock: FolderLock) -> None:
        """Take over a run; before each write to it from now on the lock is checked."""
        self.run, self._lock = run, lock
        self.checkpoints = run.checkpoints
        self.log = SessionLog(run.path, run.check)
        self._best = BestModel(run, self.warn)

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return progress_of(self.train, self.sampler, self.config.training)

    @property
    def finished(self) -> bool:
        """Whether epochs, steps or seconds have run out."""
        return is_finished(self.train, self.sampler, self.config.training)

    @property
    def limits(self) -> list[str]:
        """The options whose end a finished run is at, such as ``--max-steps 100``."""
        return reached_limits(self.train, self.sampler, self.config.training)

    @property
    def placement(self) -> Placement:
        """The device, precision and threads that this session computes with."""
        return self._setup.placement

    def records(self) -> Generator[StepRecord | EvaluationRecord, None, None]:
        """Train. Every yield finds the run folder and the train state whole. Who leaves the loop early calls ``stop``,
        which saves, or ``close``, which ends the run where it is, or ``release``.

        Raises NonFiniteError under the policy ``raise``, after a report has been written into the run folder.
        """
        training = self.config.training
        update = Update(
            SequenceLoss(self.model),
            self.device,
            self.precision,
            training.max_grad_norm,
            on_nonfinite=training.on_nonfinite,
            skip_spikes=training.skip_spikes,
            read_every=Update.steps_per_reading(self.device, self.precision, self.config.checkpoint.checkpoint_every),
        )
        if training.on_nonfinite == "rollback" and self.train.step == 0:
            self.save()  # what the first steps can go back to
        try:
            for record in fit(self.train, self.sampler, training, update, self._validate if self._validates else None):
                if isinstance(record, StepRecord):
                    self._after_steps(record)
                else:
                    self._after_validation(record)
                yield record
        except NonFiniteError as error:
            if isinstance(error.skipped, Skipped):
                self._report(error.skipped)
            self._lock.release()
            raise
        if self._failed or self._saved != self._moment:
            self.save()  # patience ends a run after a validation, which is not saved yet

    def save(self) -> bool:
        """Save a checkpoint now; return whether the disk took it. Where it did not, ``warn`` is told why."""
        if self._pending is None or self._pending[0] != self._moment:
            notes = {
                "best_step": self.train.validations.best_step,
                **versions(),
                "place": placement_options(self.placement),
            }
            self._pending = self._moment, self._files(), notes
        try:
            self._write_checkpoint(*self._pending[1:])
        except OSError as error:
            self._failed, self._due = True, False
            self.warn(f"Step {self.train.step:,} could not be saved: {error.strerror or error}.")
            self._saved_at = time.monotonic()
            return False
        self._rotate()
        self._failed = self._due = False
        self._saved, self._pending, self._saved_at = self._moment, None, time.monotonic()
        return True

    def _write_checkpoint(self, files: Mapping[str, bytes], notes: Mapping[str, Any]) -> None:
        """Write a checkpoint and what it refers to. On a disk with room for one but not two, the newest gives way."""
        try:
            self._best.flush()
            self.log.metrics.sync()
            self.checkpoints.save(self.train.step, files, notes)
        except OSError as error:
            if error.errno not in DISK_FULL or not self._make_room(files):
                raise
            self._best.flush()
            self.log.metrics.sync()
            self.checkpoints.save(self.train.step, files, notes)

    def _make_room(self, files: Mapping[str, bytes]) -> bool:
        with contextlib.suppress(OSError, RunError):
            return self.checkpoints.make_room(files, self.train.step, self._rollback_steps()[-1:])
        return False

    def _rotate(self) -> None:
        try:
            self.checkpoints.rotate(
                self.train.step, self.config.checkpoint.keep_checkpoints, self._rollback_steps()[-1:]
            )
        except (OSError, RunError) as error:  # too many do no harm: the next save tries again
            reason = getattr(error, "strerror", None) or str(error).removesuffix(".")
            self.warn(f"Older checkpoints could not be removed yet: {reason}.")

    def close(self) -> Measurement | None:
        """Put the best weights back and measure them on the test split, or on validation where there is no test; None
        without both. Raises NonFiniteError where neither the best nor the last weights are finite.
        """
        saved = not self._failed or self.save()
        self._closing = True  # from here on the weights are not the training's any more
        self.log.end_interval(self.train)
        self._keep_last_model()
        step = self._take_best_weights() if self.train.step else 0
        result = self._final_measurement()
        if self.train.step:
            figures = {} if result is None else final_figures(result)
            self.log.add({"kind": "final", "step": step, **figures})
        self._end(saved=saved, ended=self.train.step > 0)
        return result

    def stop(self) -> None:
        """Save a checkpoint and leave the run to be resumed; where ``close`` was broken off there is one already. A run
        without a best model yet keeps the last one, so that it can be tried.
        """
        if not self._closing:
            self._keep_last_model()
        self._end(saved=not self._failed if self._closing else self._saved == self._moment or self.save())

    def release(self) -> None:
        """Let go of the run without saving it, where an exception has ended the training."""
        self._lock.release()

    def _end(self, *, saved: bool, ended: bool = False) -> None:
        try:
            self._best.flush()
            self.log.metrics.sync()
            if ended:
                self.run.record_end(self.train.step, self._model_sha256(), self.log.metrics.end())
        except OSError as error:
            self.unsaved = f"The run could not be saved in {self.run.path}: {error.strerror or error}."
        except RunError as error:  # run.json is gone or damaged: the model is there all the same
            self.warn(str(error))
        if not saved:
            self.unsaved = self.unsaved or f"The last checkpoint could not be saved in {self.run.path}."
        self._lock.release()

    def _after_steps(self, record: StepRecord) -> None:
        self.log.add_step(record, self.train)
        self._due |= self._is_time(record)
        nonfinite = [skipped for skipped in record.skipped if skipped.reason == "nonfinite"]
        for skipped in record.skipped:
            self._report(skipped)
        if self.config.training.on_nonfinite == "rollback":
            if nonfinite:
                self._roll_back(nonfinite[-1])
            elif self._is_fixed(record.step):
                self.train.guard.rollbacks = 0
        if self.finished or (self._due and not self._validation_follows):
            self.save()

    def _after_validation(self, record: EvaluationRecord) -> None:
        position = {"step": record.step, "epoch": record.epoch, "tokens": record.tokens}
        figures = {"split": "valid", "best": record.is_best, **evaluation_figures(record.evaluation)}
        self.log.add(
            {"kind": "evaluation", **position, **figures},
            {"kind": "evaluation", **position, "seconds": round(self.train.elapsed, 3)},
        )
        if record.is_best:
            self._failed |= not self._best.keep(self.model, is_best=True)
        if (record.is_best or self._due) and not self.finished:
            self.save()

    def _is_time(self, record: StepRecord) -> bool:
        seconds = self.config.checkpoint.checkpoint_seconds
        if self._is_fixed(record.step):
            return True
        return seconds > 0 and time.monotonic() - self._saved_at >= seconds

    def _is_fixed(self, step: int) -> bool:
        """Whether a step is one of --checkpoint-every."""
        every = self.config.checkpoint.checkpoint_every
        return every is not None and step % every == 0

    @property
    def _moment(self) -> tuple[int, int]:
        """What tells checkpoints of a run apart. After the last step there is one only, without the closing validation:
        a run that is extended goes on from there as if it had never ended.
        """
        return self.train.step, 0 if self.finished else self.train.validations.validated_at

    @property
    def _validation_follows(self) -> bool:
        return self._validates and validation_is_due(self.train, self.sampler, self.config.training)

    @property
    def _validates(self) -> bool:
        return "valid" in self.corpus.splits

    def _validate(self) -> Evaluation:
        return self._measure("valid", VALIDATION_ROWS, "validating", VALIDATION_PASSES).evaluation

    def _final_measurement(self) -> Measurement | None:
        split = next((name for name in ("test", "valid") if name in self.corpus.splits), None)
        if split is None or not self.train.step:
            return None
        rows = 1 if self._one_stream_is_quick(self.corpus.splits[split]) else VALIDATION_ROWS
        result = self._measure(split, rows, f"measuring {split}")
        with self._interruptible():
            tokens, eos_id = self.corpus.splits[split], self.corpus.tokenizer.eos_id
            carried = read_carried_state(NetworkPredictor(self.model), tokens, eos_id, state=result.state)
            known = known_entropy(self.config.data.corpus, *self.corpus.info["ranges"][split])
        result = result._replace(known=known)
        return result if carried is None else result.with_notes(carried.notes())

    def _measure(self, split: str, rows: int, stage: str, max_passes: int | None = None) -> Measurement:
        state = "document" if self.config.training.state_policy == "document" else "carry"
        with self._interruptible():
            return measure(
                NetworkPredictor(self.model),
                self.corpus.splits[split],
                self.corpus.tokenizer,
                EvalOptions(state=state, rows=rows, max_passes=max_passes),
                split=split,
                report=partial(self._tell, stage),
            )

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        self.evaluating = True
        try:
            self.before_measuring()
            yield
        finally:
            self.evaluating = False

    def _files(self) -> dict[str, bytes]:
        """A checkpoint's files. All but the clock are functions of the run."""
        state = self.train.state_dict()
        del state["model"]
        clock = {"elapsed": state.pop("elapsed"), "interval_started": self.log.started, "time": time.time()}
        values, tensors = pack(
            {
                "train": state,
                "log": self.log.state_dict(),
                "best_sha256": self._best.sha256,
                "config_sha256": config_hash(self.config),
                "tokenizer_sha256": tokenizer_hash(self._setup),
                "fingerprint": self._fingerprint,
            }
        )
        weights = self.run.model_bytes(self.model)
        return {WEIGHTS: weights, TENSORS: tensors, VALUES: values, CLOCK: json.dumps(clock).encode() + b"\n"}

    def _restore(self, checkpoint: Checkpoint | None, info: Mapping[str, Any], allow_inexact: bool) -> list[str]:
        """Take over a checkpoint; without one the run begins anew. Returns what differs from the machine of then."""
        now = self._fingerprint
        if checkpoint is None:
            self.log.continue_from(None)
            return check_fingerprint(info.get("fingerprint", {}), now, allow_inexact=allow_inexact)
        try:
            values, clock = (
                unpack(checkpoint.files[VALUES], checkpoint.files[TENSORS]),
                json.loads(checkpoint.files[CLOCK]),
            )
            known = config_hash(self.config), early_config_hash(self.run.config_values(), info)
            if values["config_sha256"] not in known:
                raise RunError(
                    f"Checkpoint {checkpoint.step:,} belongs to a run with another configuration than "
                    f"{self.run.path / CONFIG}: put the old file back."
                )
            if values["tokenizer_sha256"] != info.get("tokenizer_sha256"):
                raise RunError(
                    f"Checkpoint {checkpoint.step:,} belongs to a run with another tokenizer than "
                    f"{self.run.path / RUN} records: put the old file back."
                )
            differing = check_fingerprint(values["fingerprint"], now, allow_inexact=allow_inexact)
            weights = self._weights_of(checkpoint)
            self.train.load_state_dict({**values["train"], "model": weights, "elapsed": float(clock["elapsed"])})
            if not self.log.continue_from(values["log"], float(clock["interval_started"])):
                self.warn(
                    f"{self.run.path / 'metrics.jsonl'} is not as this run left it: what is missing stays missing."
                )
            self._best.sha256 = str(values["best_sha256"])
            if self.train.index >= self.sampler.num_windows(self.train.epoch):
                raise ValueError(f"its epoch has no window {self.train.index:,}")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
            raise RunError(f"Checkpoint {checkpoint.step:,} does not fit this run: {error}.") from error
        self.started_at, self._saved = self.train.step, self._moment
        return differing

    def _weights_of(self, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
        name = f"checkpoints/step-{checkpoint.step:08d}/{WEIGHTS}"
        return self.run.weights(checkpoint.files[WEIGHTS], name, self.config, self.corpus.tokenizer.vocab_size)

    def _keep_last_model(self) -> None:
        """Without a validation the last model is the one to keep. Raises NonFiniteError if it is none: a step can be
        finite and its update not (a weight decay of 1e308).
        """
        if not self.train.validations.best_step and self.train.step:
            if not all(bool(torch.isfinite(tensor).all()) for tensor in self.model.parameters()):
                self._lock.release()
                raise NonFiniteError(
                    f"After step {self.train.step:,} the weights are not finite, and no validation was: there is no "
                    "model to keep. A new run with a smaller --lr or --weight-decay usually helps."
                )
            self._failed |= not self._best.keep(self.model, is_best=False)

    def _model_sha256(self) -> str | None:
        return self.run.model_sha256(self.config, self.corpus.tokenizer.vocab_size)

    def _has_sound_model(self, left: str | None) -> bool:
        """Whether the run's model can be used and is the one that it ended with, where that is recorded: that of a
        finished run may be the closing validation's, which no checkpoint knows of and which will be found again.
        """
        if left is not None:
            return self._model_sha256() == left
        try:
            self.run.load_model(self.config, self.corpus.tokenizer.vocab_size, self.device)
        except RunError:
            return False
        return True

    def _take_best_weights(self) -> int:
        """Make the run's model the one that is measured; return the step that it is of."""
        vocab_size = self.corpus.tokenizer.vocab_size
        step = self.train.validations.best_step or self.train.step
        if self._best.content is None and not (self.run.path / MODEL).exists():
            self.warn("The best model is gone, and none was better since: the last one takes its place.")
            self._failed |= not self._best.keep(self.model, is_best=False)
            step = self.train.step
        if self._best.content is None:
            best = self.run.load_model(self.config, vocab_size, self.device).state_dict()
        else:
            best = self.run.weights(self._best.content, MODEL, self.config, vocab_size)
        self.model.load_state_dict(best, strict=False)
        return step

    def _rollback_steps(self) -> list[int]:
        """Checkpoints that a rollback may go back to: at steps that do not depend on the clock."""
        if self.config.training.on_nonfinite != "rollback":
            return []
        return [step for step in self.checkpoints.steps() if self._is_fixed(step) and step <= self.train.step]

    def _roll_back(self, skipped: Skipped) -> None:
        """Weights and optimiser of the last fixed checkpoint; the position in the data stays, so the text that led here
        is left behind.
        """
        wanted = self._rollback_steps()
        checkpoint = self.checkpoints.newest(self.warn, wanted.__contains__)
        if checkpoint is None or self.train.guard.rollbacks >= MAX_ROLLBACKS:
            why = "there is no checkpoint to go back to"
            if checkpoint is not None:
                why = f"{MAX_ROLLBACKS} rollbacks since the last step of --checkpoint-every have not helped"
            raise NonFiniteError(f"Step {skipped.step}: the loss or the gradient is not finite, and {why}.")
        values = unpack(checkpoint.files[VALUES], checkpoint.files[TENSORS])
        weights = self._weights_of(checkpoint)
        self.train.load_weights(weights, values["train"]["optimizer"])
        self.train.carried = None
        self.train.guard.rollbacks += 1
        self.warn(f"Step {skipped.step:,} was not finite: back to the weights of step {checkpoint.step:,}.")

    def _report(self, skipped: Skipped) -> None:
        """A file that tells of a step which was left out, with the text that it read."""
        windows = self.sampler.epoch(skipped.epoch, skipped.index)
        rows = next(windows).targets
        texts = [self.corpus.tokenizer.decode(row[row != IGNORE].numpy()) for row in rows]
        what = {"nonfinite": "not finite", "spike": "a spike"}[skipped.reason]
        try:
            path = self.run.write_report(f"step-{skipped.step:08d}.json", {**vars(skipped), "text": texts})
            self.warn(f"Step {skipped.step:,} was {what}: see {path}.")
        except OSError as error:
            self.warn(f"Step {skipped.step:,} was {what}. No report: {error.strerror or error}.")

    def _one_stream_is_quick(self, tokens: TokenFile) -> bool:
        """Whether one unbroken stream takes under a minute, from a fixed estimate: a matrix-vector product a step,
        then the output layer.
        """
        recurrent = sum(parameter.numel() for parameter in self.model.recurrent.parameters())
        output = self.config.model.hidden_size * self.corpus.tokenizer.vocab_size
        return len(tokens) * (50e-6 + recurrent / 6e9 + output / 50e9) < ONE_STREAM_SECONDS


def _model_at_end(info: Mapping[str, Any], step: int) -> str | None:
    """sha256 of the model that a run ended with at this step, None where run.json does not record it."""
    ended = info.get("ended")
    found = ended.get("model_sha256") if isinstance(ended, Mapping) and ended.get("step") == step else None
    return found if isinstance(found, str) else None


def _changes(before: Config, after: Config) -> dict[str, Any]:
    """Options that differ, with their values before and after."""
    old, new = ({k: v for section in c.to_dict().values() for k, v in section.items()} for c in (before, after))
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}
