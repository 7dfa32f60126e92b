"""Whether a run's files are those that its newest checkpoint and run.json record: not edited, not of another run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lmkit.doctor.check import FAILED, OK, SKIPPED, Check
from lmkit.errors import ConfigError, LmkitError
from lmkit.run.checkpoints.folder import WEIGHTS, Checkpoint
from lmkit.run.checkpoints.manifest import sha256
from lmkit.run.checkpoints.packing import unpack_plain
from lmkit.run.directory import MODEL, RunDirectory
from lmkit.run.metrics import METRICS, Metrics
from lmkit.run.stored import StoredRun
from lmkit.session.records.config_hash import config_hash, early_config_hash
from lmkit.session.records.resolved import edited_options
from lmkit.session.saving.checkpoint_state import VALUES

__all__ = ["check_records"]

NOTHING = "neither run.json nor a checkpoint records it"
Records = Mapping[str, Any]


def check_records(run: RunDirectory, stored: StoredRun, metrics: Metrics | LmkitError) -> Iterator[Check]:
    """The configuration, the model and the metrics, each against what is recorded of it. metrics: or why they cannot be
    read.
    """
    checkpoint = run.checkpoints.newest(lambda fault: None)
    state = {} if checkpoint is None else _state(checkpoint)
    ended = _end(stored.record.info(), metrics, checkpoint)
    yield _configuration(stored, state)
    yield _model(run.model_sha256(stored.blueprint), metrics, checkpoint, state, ended)
    yield _metrics(metrics, state, ended)


def _state(checkpoint: Checkpoint) -> Records:
    """What a checkpoint knows of the other files, nothing where it is another run's."""
    with contextlib.suppress(ValueError):
        return unpack_plain(checkpoint.files.get(VALUES, b""), ("config_sha256", "best_sha256", "log"))
    return {}


def _end(info: Records, metrics: Metrics | LmkitError, checkpoint: Checkpoint | None) -> Records:
    """What run.json records of the end of the run, nothing where it continues, or was resumed since."""
    ended = info.get("ended")
    if not isinstance(ended, Mapping) or not isinstance(ended.get("step"), int):
        return {}
    if isinstance(metrics, LmkitError) or not metrics.has_ended:
        return {}
    return ended if checkpoint is None or ended["step"] >= checkpoint.step else {}


def _configuration(stored: StoredRun, state: Records) -> Check:
    name, info = "configuration's record", stored.record.info()
    try:
        edited = edited_options(stored.config, stored.tokenizer, info)
    except ConfigError as error:
        return Check(name, FAILED, "does not fit the tokenizer", None, (str(error),))
    if edited:
        advice = [f"{option} is {now}, and run.json records {then}." for option, (then, now) in edited.items()]
        return Check(name, FAILED, "config.json was edited", len(edited), tuple(advice))
    if "config_sha256" not in state:
        known = isinstance(info.get("resolved"), Mapping)
        return Check(name, OK, "as run.json records") if known else Check(name, SKIPPED, NOTHING)
    if state["config_sha256"] in (config_hash(stored.config), early_config_hash(stored.values, info)):
        return Check(name, OK, "the newest checkpoint's")
    advice_one = "config.json was edited, or is another run's: the run cannot be resumed with it."
    return Check(name, FAILED, "not the newest checkpoint's", None, (advice_one,))


def _model(
    found: str | None, metrics: Metrics | LmkitError, checkpoint: Checkpoint | None, state: Records, ended: Records
) -> Check:
    """The sha256 of the best model: recorded at the end of the run, else by the checkpoint, which may be older."""
    name = "model's hash"
    if found is None:
        return Check(name, SKIPPED, "there is no model that could be the run's")
    expected = ended.get("model_sha256")
    if expected is None and checkpoint is not None:
        best = checkpoint.manifest.get("best_step")
        if isinstance(best, int) and isinstance(metrics, Metrics) and metrics.best_after(best):
            return Check(name, SKIPPED, "it is newer than the newest checkpoint")
        expected = state.get("best_sha256") or sha256(checkpoint.files.get(WEIGHTS, b""))
    if expected is None:
        return Check(name, SKIPPED, NOTHING)
    if found == expected:
        return Check(name, OK, f"sha256 {found[:12]}…, as recorded")
    advice = f"{MODEL} is not the one that the run left: another run's, or changed. A resume puts the right one back."
    return Check(name, FAILED, f"sha256 {found[:12]}… is not the recorded one", None, (advice,))


def _metrics(metrics: Metrics | LmkitError, state: Records, ended: Records) -> Check:
    """The metrics up to the newest checkpoint, all of them where the run has ended."""
    name, recorded = "metrics' hash", ended.get("metrics") or state.get("log")
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("length"), int):
        return Check(name, SKIPPED, NOTHING)
    if isinstance(metrics, LmkitError):
        return Check(name, FAILED, "cannot be read", None, (str(metrics),))
    length, size = recorded["length"], len(metrics.content)
    whole = size == length or (size > length >= 0 and not ended)
    if whole and sha256(metrics.content[:length]) == recorded.get("sha256"):
        return Check(name, OK, f"the first {length:,} bytes are as recorded", length)
    advice = f"{METRICS} was edited, cut, or is another run's: its values need not be those of the training."
    return Check(name, FAILED, "not as the run left them", None, (advice,))
