"""The restore of a run: its parts as they were at its newest whole checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmkit.config import Config
from lmkit.errors import ConfigError, RunError
from lmkit.run.checkpoints.folder import Checkpoint
from lmkit.run.directory import CONFIG, RUN, RunDirectory
from lmkit.run.lock import FolderLock
from lmkit.session.changes import (
    already_ended,
    changed_config,
    changed_options,
    check_corpus,
    placement_of_run,
    without_same_placement,
)
from lmkit.session.checkpoint_state import CheckpointState, misfit, weights_of
from lmkit.session.config_hash import config_hash, early_config_hash
from lmkit.session.fingerprint import check_fingerprint, fingerprint
from lmkit.session.log import SessionLog
from lmkit.session.parts import Parts, Say
from lmkit.session.resolved import resolved_options, take_edits
from lmkit.session.saver import Moment
from lmkit.session.setup import TrainingSetup, prepare
from lmkit.text.corpus import Progress
from lmkit.training.loop import reached_limits
from lmkit.training.mismatch import Mismatch

__all__ = ["resume"]


def resume(
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
    stored, info, tokenizer = run.config(), run.info(), run.tokenizer()
    run.clean()
    run.checkpoints.clean()
    checkpoint, has_ended = _newest(run, warn)
    then = {**info, **_recorded_placement(checkpoint)}
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

    machine, log = fingerprint(placement), SessionLog(run.path, run.check)
    if checkpoint is None:
        log.continue_from(None)
        differing = check_fingerprint(info.get("fingerprint", {}), machine, allow_inexact=allow_inexact)
        parts = Parts.make(setup, lock, log, machine, warn, progress, resumed_at=0)
    else:
        state = CheckpointState.read(checkpoint)
        _check_identity(state, run, config, info)
        differing = check_fingerprint(state.fingerprint, machine, allow_inexact=allow_inexact)
        _fill(setup, state, checkpoint, run)
        if not log.continue_from(state.log, state.interval_started):
            warn(f"{run.path / 'metrics.jsonl'} is not as this run left it: what is missing stays missing.")
        saved, best = Moment.of(setup), state.best_sha256
        parts = Parts.make(
            setup, lock, log, machine, warn, progress, best_sha256=best, saved=saved, resumed_at=saved.step
        )
    _check_end(setup, stored)

    if checkpoint is not None:
        left = _model_at_end(info, setup.train.step)
        parts.best.restore(setup.train.validations.best_step, left, ended=setup.finished)
    changed = {**edited, **changed_options(stored, config)}
    if changed or differing:
        change = {"step": setup.train.step, "changed": changed, "inexact": differing}
        run.record_change(config, change, resolved_options(config, tokenizer, placement))
    return parts


def _newest(run: RunDirectory, warn: Say) -> tuple[Checkpoint | None, bool]:
    """The newest whole checkpoint, and whether the run has ended. Raises RunError for one that has ended without."""
    checkpoint, has_ended = run.checkpoints.newest(warn), run.has_ended
    if checkpoint is None and has_ended:
        raise RunError(
            f"{run.path} has ended, and none of its checkpoints is whole: to begin anew would put its model at "
            "risk. Train into a new folder."
        )
    return checkpoint, has_ended


def _recorded_placement(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Device, precision and threads that the checkpoint's steps were computed with."""
    recorded = None if checkpoint is None else checkpoint.manifest.get("place")
    return recorded if isinstance(recorded, dict) else {}


def _check_identity(state: CheckpointState, run: RunDirectory, config: Config, info: Mapping[str, Any]) -> None:
    """Raise RunError where a checkpoint is another run's."""
    if state.config_sha256 not in (config_hash(config), early_config_hash(run.config_values(), info)):
        raise RunError(
            f"Checkpoint {state.step:,} belongs to a run with another configuration than "
            f"{run.path / CONFIG}: put the old file back."
        )
    if state.tokenizer_sha256 != info.get("tokenizer_sha256"):
        raise RunError(
            f"Checkpoint {state.step:,} belongs to a run with another tokenizer than "
            f"{run.path / RUN} records: put the old file back."
        )


def _fill(setup: TrainingSetup, state: CheckpointState, checkpoint: Checkpoint, run: RunDirectory) -> None:
    """Put a checkpoint's values into the train state. Raises RunError where they are another training's."""
    train, weights = setup.train, weights_of(checkpoint, run, setup)
    try:
        train.load_state_dict({**state.train, "model": weights, "elapsed": state.elapsed})
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


def _model_at_end(info: Mapping[str, Any], step: int) -> str | None:
    """sha256 of the model that a run ended with at this step, None where run.json does not record it."""
    ended = info.get("ended")
    found = ended.get("model_sha256") if isinstance(ended, Mapping) and ended.get("step") == step else None
    return found if isinstance(found, str) else None
