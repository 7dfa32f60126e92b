"""The restore of a run: its parts as they were at its newest whole checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lmkit.config import Config
from lmkit.distributed.world import World
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
from lmkit.session.placement import Placement, placement_options
from lmkit.session.processes.joint_setup import prepare_in_all
from lmkit.session.records.config_hash import config_hash, early_config_hash
from lmkit.session.records.fingerprint import check_fingerprint, check_processes, fingerprint
from lmkit.session.records.resolved import resolved_options, take_edits
from lmkit.session.saving.checkpoint_state import CheckpointState, misfit, training_values
from lmkit.session.saving.saver import Moment
from lmkit.session.setup import TrainingSetup
from lmkit.text.corpus import Progress
from lmkit.training.loop import reached_limits
from lmkit.training.mismatch import Mismatch

__all__ = ["resume"]


class _Found(NamedTuple):
    """What there is of a run. recorded: its record, with the device, precision and threads of its last steps. config:
    as it goes on, with the options that were edited since in ``edited``.
    """

    stored: StoredRun
    checkpoint: Checkpoint | None
    state: CheckpointState | None
    metrics: Metrics
    recorded: Mapping[str, Any]
    config: Config
    edited: Mapping[str, Any]
    placement: Placement


def resume(
    kind: Kind,
    lock: FolderLock,
    changes: Mapping[str, Any],
    *,
    allow_inexact: bool,
    world: World,
    progress: Progress | None,
    warn: Say,
    note: Say,
) -> Parts:
    """The parts of the run whose folder is held, from its newest whole checkpoint or from the beginning. No file of the
    run is changed before nothing can refuse any more. Raises as ``Session.resume``.
    """
    run = RunDirectory(lock.folder, lock.check)
    log = SessionLog(run.path, run.check, kind.unit)
    with world.together():
        found = _find(kind, run, log, changes, world, allow_inexact=allow_inexact, warn=warn, note=note)
    tokenizer, config = found.stored.tokenizer, found.config
    world.broadcast((config, tokenizer.to_json(), placement_options(found.placement)))
    how: dict[str, Any] = {"tokenizer": tokenizer, "progress": progress}
    setup = prepare_in_all(kind, config, lambda: found.placement, world, **how)
    with setup.orders.ended_by_errors():
        check_corpus(found.stored, setup.corpus, changes.get("corpus"))
        return _restored(kind, setup, lock, log, found, allow_inexact=allow_inexact, warn=warn, progress=progress)


def _find(
    kind: Kind,
    run: RunDirectory,
    log: SessionLog,
    changes: Mapping[str, Any],
    world: World,
    *,
    allow_inexact: bool,
    warn: Say,
    note: Say,
) -> _Found:
    stored, checkpoint, state, metrics = _read(kind, run, log, warn)
    recorded = {**stored.record.values, **_recorded_placement(checkpoint)}
    changes = without_same_placement(changes, recorded)
    config = changed_config(stored.config, changes, allow_inexact=allow_inexact)
    edited = take_edits(stored, warn)
    check_text_is_there(run.path, config)
    placement = placement_of_run(recorded, config, changes, world)
    if checkpoint is not None and metrics.has_ended and config.training == stored.config.training:
        note(already_ended(kind.command, run.path, config.training, checkpoint.step))
    return _Found(stored, checkpoint, state, metrics, recorded, config, edited, placement)


def _restored(
    kind: Kind,
    setup: TrainingSetup,
    lock: FolderLock,
    log: SessionLog,
    found: _Found,
    *,
    allow_inexact: bool,
    warn: Say,
    progress: Progress | None,
) -> Parts:
    run, machine = RunDirectory(lock.folder, lock.check), fingerprint(setup.placement)
    stored, checkpoint, state, metrics = found[:4]
    own: dict[str, Any] = {"resumed_at": 0}
    if checkpoint is None or state is None:
        log.continue_from(metrics.content, None)
        differing = check_fingerprint(found.recorded.get("fingerprint", {}), machine, allow_inexact=allow_inexact)
    else:
        _check_identity(state, stored, found.config)
        differing = check_fingerprint(state.fingerprint, machine, allow_inexact=allow_inexact)
        differing += check_processes(state.processes, setup, allow_inexact=allow_inexact)
        _fill(setup, state, checkpoint, run)
        if not log.continue_from(metrics.content, state.log, state.interval_started):
            warn(f"{run.path / 'metrics.jsonl'} is not as this run left it: what is missing stays missing.")
        saved = Moment.of(setup)
        earlier = metrics.validations(setup.train.validations.validated_at, kind.unit)
        own = {"best_sha256": state.best_sha256, "saved": saved, "resumed_at": saved.step, "earlier": earlier}
    parts = Parts.make(kind, setup, lock, log, machine, warn, progress, **own)
    _check_end(setup, stored.config)

    if checkpoint is not None:
        parts.best.restore(checkpoint, metrics, stored.record.model_at_end(setup.train.step))
    changed = {**found.edited, **changed_options(stored.config, found.config)}
    if changed or differing:
        change = {"step": setup.train.step, "changed": changed, "inexact": differing}
        resolved = resolved_options(found.config, stored.tokenizer, setup.placement)
        run.record_change(stored, found.config, change, resolved)
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
    _check_rows(setup, checkpoint, values["carried"])
    setup.orders.load(values)
    try:
        train.load_state_dict(values)
    except Mismatch as error:
        raise misfit(checkpoint, error) from error
    if train.index >= setup.sampler.num_windows(train.epoch):
        raise misfit(checkpoint, f"its epoch has no window {train.index:,}")


def _check_rows(setup: TrainingSetup, checkpoint: Checkpoint, carried: Any) -> None:
    rows = None if carried is None else len(carried[0][0])
    if rows not in (None, setup.sampler.batch_size):
        raise misfit(checkpoint, f"its state has {rows:,} rows")


def _check_end(setup: TrainingSetup, stored: Config) -> None:
    """Raise ConfigError where the changes put the end of the run before the step that it is at."""
    before, after = stored.training, setup.config.training
    moved = any(getattr(before, name) != getattr(after, name) for name in ("epochs", "max_steps", "max_seconds"))
    if moved and setup.finished:
        ends = " and ".join(reached_limits(setup.train, setup.sampler, after))
        raise ConfigError(f"The run is at step {setup.train.step:,}, past its end by {ends}: raise it to continue.")
