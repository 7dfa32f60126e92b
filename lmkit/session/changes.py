"""What a resume may change of a run, and what must be as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.config import PLACEMENT, RESUMABLE, Config, RuntimeConfig, TrainingConfig
from lmkit.distributed.world import ALONE, World
from lmkit.errors import ConfigError, RunError
from lmkit.fields import flag_of
from lmkit.run.record import RunRecord
from lmkit.run.stored import StoredRun
from lmkit.session.placement import Placement
from lmkit.session.setup import absolute_corpus
from lmkit.text.corpus import Corpus
from lmkit.text.token_file import TokenFile

__all__ = [
    "already_ended",
    "changed_config",
    "changed_options",
    "check_corpus",
    "placement_of_run",
    "without_same_placement",
]

TEXTS = ("corpus", "valid")  # by their paths, which may be others if what is there is the same


def changed_options(before: Config, after: Config) -> dict[str, Any]:
    """Options that differ, with their values before and after."""
    old, new = ({k: v for section in c.to_dict().values() for k, v in section.items()} for c in (before, after))
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}


def changed_config(stored: Config, changes: Mapping[str, Any], *, allow_inexact: bool) -> Config:
    """The run's configuration with the changes. Raises ConfigError for one that would make it another run; another
    path of the text does not, as long as ``check_corpus`` finds the same text there.
    """
    changes = {**changes, **{name: absolute_corpus(changes[name]) for name in TEXTS if name in changes}}
    current = {name: value for section in stored.to_dict().values() for name, value in section.items()}
    other = {name: value for name, value in changes.items() if name not in current or current[name] != value}
    for name in other:
        if name in PLACEMENT and not allow_inexact:
            raise ConfigError(
                f"{_flag(name)} would change the last bits of the result: leave it out, or say --allow-inexact."
            )
        if name == "checkpoint_every" and stored.training.on_nonfinite == "rollback":
            raise ConfigError("--checkpoint-every cannot change under --on-nonfinite rollback: it says how far back.")
        if name in current and name not in (*RESUMABLE, *PLACEMENT, *TEXTS):
            raise ConfigError(
                f"{_flag(name, stored)} cannot change when a run is resumed: only "
                f"{', '.join(map(_flag, RESUMABLE))} can, and --corpus where the text has moved."
            )
    return stored.override(other)


def already_ended(command: str, path: Path, training: TrainingConfig, step: int) -> str:
    """A sentence for a run that has ended at this step and is resumed without a later end."""
    limits = {"max_steps": training.max_steps, "epochs": training.epoch_limit, "max_seconds": training.max_seconds}
    ends = {name: end for name, end in limits.items() if end is not None}
    if training.max_steps is not None and step >= training.max_steps:
        ends = {"max_steps": training.max_steps}
    later = " ".join(f"{_flag(name)} {2 * end:g}" for name, end in ends.items())
    raised = " or ".join(map(_flag, ends))
    patience = "; --patience may have ended it too" if training.patience is not None else ""
    return (
        f"{path} has ended, at step {step:,}{patience}. Its best model is measured again; to train on, raise "
        f"{raised}, for example `{command} --resume {path} {later}`."
    )


def without_same_placement(changes: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Changes without those that name the device, precision or threads which the run has anyway."""
    return {name: value for name, value in changes.items() if name not in PLACEMENT or info.get(name) != value}


def placement_of_run(
    info: Mapping[str, Any], config: Config, changes: Mapping[str, Any], world: World = ALONE
) -> Placement:
    """Device, precision and threads as they were, whatever this machine would choose, unless they were changed."""
    then: dict[str, Any] = {}
    for item in dataclasses.fields(RuntimeConfig):
        if item.name in PLACEMENT:
            recorded = info.get(item.name, getattr(config.runtime, item.name))
            then[item.name] = changes.get(item.name, recorded)
    try:
        runtime = RuntimeConfig(**then)
    except ConfigError as error:
        raise RunError(f"The device, precision or threads that run.json records cannot be used: {error}") from error
    return Placement.choose(runtime.device, runtime.precision, runtime.threads, config.model, world)


def check_corpus(stored: StoredRun, corpus: Corpus, given: str | None = None) -> None:
    """Raise RunError where the text is no longer the one that the run began with, or is cut into other documents.
    given: where it is said to be now.
    """
    recorded = stored.record.values.get("splits")
    names = corpus.splits.keys() | (recorded.keys() if isinstance(recorded, dict) else set())
    for name in sorted(names):
        if _is_split(stored.record, name, corpus.splits.get(name)):
            continue
        if given is not None:
            raise RunError(
                f"--corpus {given} is not the text that {stored.path} was trained on: its {name} split differs. Give "
                "that text, or train a new run on this one."
            )
        raise RunError(
            f"The {name} split of {stored.config.data.corpus} has changed since the run began: put the old text back, "
            "or train anew."
        )


def _is_split(record: RunRecord, name: str, split: TokenFile | None) -> bool:
    """Whether a split is the recorded one: its text, and where run.json counts them its tokens and documents."""
    if split is None or record.split_hash(name) != split.sha256:
        return False
    then, now = record.counts(name), {"tokens": len(split), "documents": split.counts.documents}
    return all(then.get(key, count) == count for key, count in now.items())


def _flag(name: str, config: Config | None = None) -> str:
    config = config or Config()
    kinds = [type(getattr(config, section.name)) for section in dataclasses.fields(config)]
    return next((flag_of(item) for kind in kinds for item in dataclasses.fields(kind) if item.name == name), name)
