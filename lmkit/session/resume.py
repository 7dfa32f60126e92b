"""The restore of a run: its parts as they were at its newest whole checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmkit.config import Config
from lmkit.errors import ConfigError, RunError
from lmkit.run.checkpoints.folder import Checkpoint
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import FolderLock
from lmkit.run.metrics import Metrics
from lmkit.run.record import RUN
from lmkit.run.stored import CONFIG, StoredRun, check_text_is_there
from lmkit.session.changes import (
    already_ended,
    changed_config,
    changed_options,
    check_corpus,
    placement_of_run,
    without_same_placement,
)
from lmkit.session.kind import Kind
from lmkit.session.log import SessionLog
from lmkit.session.parts import Parts, Say
from lmkit.session.records.config_hash import config_hash, early_config_hash
from lmkit.session.records.fingerprint import check_fingerprint, fingerprint
from lmkit.session.records.resolved import resolved_options, take_edits
from lmkit.session.saving.checkpoint_state import CheckpointState, misfit, training_values
from lmkit.session.saving.saver import Moment
from lmkit.session.setup import TrainingSetup
from lmkit.text.corpus import Progress
from lmkit.training.loop import reached_limits
from lmkit.training.mismatch import Mismatch

__all__ = ["resume"]


def resume(
    kind: Kind,
    lock: FolderLock,
    changes: Mapping[str, Any],
    *,
    allow_inexact: bool,
    progress: Progress | None,
    warn: Say,
    note: Say,
) -> Parts:
    """The parts of the run whose folder is held, from its newest whole checkpoint or from the beginning. No file of the
    run is changed before nothing can refuse any more. Raises as ``Session.resume``.
    """
    run = RunDirectory(lock.folder, lock.check)
    log = SessionLog(run.path, run.check, kind.unit)
    stored, checkpoint, state, metrics = _read(kind, run, log, warn)
    then = {**stored.record.values, **_recorded_placement(checkpoint)}
    changes = without_same_placement(changes, then)
    config = changed_config(stored.config, changes, allow_inexact=allow_inexact)
    edited = take_edits(stored, warn)
    check_text_is_there(run.path, config)
    placement = placement_of_run(then, config, changes)
    if checkpoint is not None and metrics.has_ended and config.training == stored.config.training:
        note(already_ended(kind.command, run.path, config.training, checkpoint.step))
    setup = kind.prepare(config, placement, tokenizer=stored.tokenizer, progress=progress)
    check_corpus(stored, setup.corpus, changes.get("corpus"))

    machine = fingerprint(placement)
    if checkpoint is None or state is None:
        log.continue_from(metrics.content, None)
        differing = check_fingerprint(then.get("fingerprint", {}), machine, allow_inexact=allow_inexact)
        parts = Parts.make(kind, setup, lock, log, machine, warn, progress, resumed_at=0)
    else:
        _check_identity(state, stored, config)
        differing = check_fingerprint(state.fingerprint, machine, allow_inexact=allow_inexact)
        _fill(setup, state, checkpoint, run)
        if not log.continue_from(metrics.content, state.log, state.interval_started):
            warn(f"{run.path / 'metrics.jsonl'} is not as this run left it: what is missing stays missing.")
        saved = Moment.of(setup)
        parts = Parts.make(
            kind,
            setup,
            lock,
            log,
            machine,
            warn,
            progress,
            best_sha256=state.best_sha256,
            saved=saved,
            resumed_at=saved.step,
            earlier=metrics.validations(setup.train.validations.validated_at, kind.unit),
        )
    _check_end(setup, stored.config)

    if checkpoint is not None:
        parts.best.restore(checkpoint, metrics, stored.record.model_at_end(setup.train.step))
    changed = {**edited, **changed_options(stored.config, config)}
    if changed or differing:
        change = {"step": setup.train.step, "changed": changed, "inexact": differing}
        run.record_change(stored, config, change, resolved_options(config, stored.tokenizer, placement))
    return parts


def _read(
    kind: Kind, run: RunDirectory, log: SessionLog, warn: Say
) -> tuple[StoredRun, Checkpoint | None, CheckpointState | None, Metrics]:
    """All that a resume reads of a run but its model, each file once. Raises RunError where one is damaged, and for
    a run that has ended or was fine-tuned and has no whole checkpoint.
    """
    stored = run.stored(kind.name)
    stored.record.info()
    run.clean()
    run.checkpoints.clean()
    checkpoint = run.checkpoints.newest(warn)
    state = None if checkpoint is None else CheckpointState.read(checkpoint)
    metrics = Metrics(log.metrics.content(0 if state is None else state.log["length"]))
    if checkpoint is None and metrics.has_ended:
        raise RunError(
            f"{run.path} has ended, and none of its checkpoints is whole: to begin anew would put its model at "
            "risk. Train into a new folder."
        )
    origin = stored.record.values.get("init_from")
    if checkpoint is None and isinstance(origin, Mapping):
        raise RunError(
            f"{run.path} was fine-tuned from {origin.get('path')}, and none of its checkpoints is whole: its weights "
            "are lost. Fine-tune again, into a new folder."
        )
    return stored, checkpoint, state, metrics


def _recorded_placement(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Device, precision and threads that the checkpoint's steps were computed with."""
    recorded = None if checkpoint is None else checkpoint.manifest.get("place")
    return recorded if isinstance(recorded, dict) else {}


def _check_identity(state: CheckpointState, stored: StoredRun, config: Config) -> None:
    """Raise RunError where a checkpoint is another run's."""
    info = stored.record.values
    if state.config_sha256 not in (config_hash(config), early_config_hash(stored.values, info)):
        raise RunError(
            f"Checkpoint {state.step:,} belongs to a run with another configuration than "
            f"{stored.path / CONFIG}: put the old file back."
        )
    if state.tokenizer_sha256 != info.get("tokenizer_sha256"):
        raise RunError(
            f"Checkpoint {state.step:,} belongs to a run with another tokenizer than "
            f"{stored.path / RUN} records: put the old file back."
        )


def _fill(setup: TrainingSetup, state: CheckpointState, checkpoint: Checkpoint, run: RunDirectory) -> None:
    """Put a checkpoint's values into the train state. Raises RunError where they are another training's."""
    train, values = setup.train, training_values(checkpoint, state, run, setup)
    try:
        train.load_state_dict(values)
    except Mismatch as error:
        raise misfit(checkpoint, error) from error
    if train.index >= setup.sampler.num_windows(train.epoch):
        raise misfit(checkpoint, f"its epoch has no window {train.index:,}")


def _check_end(setup: TrainingSetup, stored: Config) -> None:
    """Raise ConfigError where the changes put the end of the run before the step that it is at."""
    before, after = stored.training, setup.config.training
    moved = any(getattr(before, name) != getattr(after, name) for name in ("epochs", "max_steps", "max_seconds"))
    if moved and setup.finished:
        ends = " and ".join(reached_limits(setup.train, setup.sampler, after))
        raise ConfigError(f"The run is at step {setup.train.step:,}, past its end by {ends}: raise it to continue.")
