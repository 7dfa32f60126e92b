"""What a resume may change and what must be as it was, so that the continued run is the uninterrupted one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lmkit.config import PLACEMENT, RESUMABLE, Config, RuntimeConfig, TrainingConfig, flatten
from lmkit.errors import ConfigError, RunError
from lmkit.fields import flag_of
from lmkit.hardware import describe_cpu
from lmkit.run.config_file import format_defaults
from lmkit.run.directory import RunDirectory, lmkit_version
from lmkit.session.setup import Placement, absolute_corpus
from lmkit.text.corpus import Corpus
from lmkit.text.token_file import TokenFile

__all__ = [
    "changed_config",
    "check_corpus",
    "check_fingerprint",
    "config_hash",
    "early_config_hash",
    "fingerprint",
    "placement_of_run",
    "without_same_placement",
]

OWN_VERSION = "lmkit"  # of a fingerprint: another version of it trains to the same bits, as tests/stored_runs show


def fingerprint(placement: Placement) -> dict[str, Any]:
    """All that the last bits of a result depend on, apart from the configuration: names and plain values."""
    device = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else str(placement.device)
    return {
        "lmkit": lmkit_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu": f"{describe_cpu().rpartition(', ')[0]} {describe_cpu().rpartition('(')[2].rstrip(')')}",
        "machine": platform.machine(),
        "device": device,
        "precision": str(placement.precision).removeprefix("torch."),
        "threads": placement.threads,
    }


def config_hash(config: Config) -> str:
    """sha256 of what makes a run this run: the options that differ from the defaults of the format, so that an option
    that is added later leaves it as it is; without what a resume may change, and without the text and the tokenizer,
    which have hashes of their own.
    """
    defaults = flatten(format_defaults().to_dict())
    chosen = {name: value for name, value in flatten(config.to_dict()).items() if value != defaults[name]}
    kept = {
        name: value for name, value in chosen.items() if name not in (*RESUMABLE, *PLACEMENT, "corpus", "tokenizer")
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def early_config_hash(values: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """The same as early versions computed it: of all options in config.json (``values``), the corpus as it was named
    before a resume found it elsewhere.
    """
    kept = {section: dict(options) for section, options in values.items() if isinstance(options, Mapping)}
    for name, (before, _) in _first_changes(info).items():
        if name in ("corpus", "tokenizer"):
            kept["data"][name] = before
    for options in kept.values():
        for name in (*RESUMABLE, *PLACEMENT):
            options.pop(name, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _first_changes(info: Mapping[str, Any]) -> dict[str, Any]:
    """For each option that a resume has changed, its values before and after the first change."""
    resumes = info.get("resumes")
    first: dict[str, Any] = {}
    for resume in resumes if isinstance(resumes, list) else []:
        changed = resume.get("changed") if isinstance(resume, Mapping) else None
        for name, values in changed.items() if isinstance(changed, Mapping) else ():
            if isinstance(values, list) and len(values) == 2:
                first.setdefault(name, values)
    return first


def changed_config(stored: Config, changes: Mapping[str, Any], *, allow_inexact: bool) -> Config:
    """The run's configuration with the changes. Raises ConfigError for one that would make it another run; another
    path of the text does not, as long as ``check_corpus`` finds the same text there.
    """
    if "corpus" in changes:
        changes = {**changes, "corpus": absolute_corpus(changes["corpus"])}
    current = {name: value for section in stored.to_dict().values() for name, value in section.items()}
    other = {name: value for name, value in changes.items() if name not in current or current[name] != value}
    for name in other:
        if name in PLACEMENT and not allow_inexact:
            raise ConfigError(
                f"{_flag(name)} would change the last bits of the result: leave it out, or say --allow-inexact."
            )
        if name == "checkpoint_every" and stored.training.on_nonfinite == "rollback":
            raise ConfigError("--checkpoint-every cannot change under --on-nonfinite rollback: it says how far back.")
        if name in current and name not in (*RESUMABLE, *PLACEMENT, "corpus"):
            raise ConfigError(
                f"{_flag(name)} cannot change when a run is resumed: only {', '.join(map(_flag, RESUMABLE))} can, "
                "and --corpus where the text has moved."
            )
    return stored.override(other)


def already_ended(run: RunDirectory, training: TrainingConfig, step: int) -> str:
    """A sentence for a run that has ended at this step and is resumed without a later end."""
    limits = {"max_steps": training.max_steps, "epochs": training.epoch_limit, "max_seconds": training.max_seconds}
    ends = {name: end for name, end in limits.items() if end is not None}
    if training.max_steps is not None and step >= training.max_steps:
        ends = {"max_steps": training.max_steps}
    later = " ".join(f"{_flag(name)} {2 * end:g}" for name, end in ends.items())
    raised = " or ".join(map(_flag, ends))
    patience = "; --patience may have ended it too" if training.patience is not None else ""
    return (
        f"{run.path} has ended, at step {step:,}{patience}. Its best model is measured again; to train on, raise "
        f"{raised}, for example `lmkit train --resume {run.path} {later}`."
    )


def without_same_placement(changes: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Changes without those that name the device, precision or threads which the run has anyway."""
    return {name: value for name, value in changes.items() if name not in PLACEMENT or info.get(name) != value}


def placement_of_run(info: Mapping[str, Any], config: Config, changes: Mapping[str, Any]) -> Placement:
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
    return Placement.choose(runtime.device, runtime.precision, runtime.threads, config.model)


def check_fingerprint(then: Mapping[str, Any], now: Mapping[str, Any], *, allow_inexact: bool) -> list[str]:
    """What differs between two fingerprints, as words. Raises RunError where there is something and it is not
    allowed; another version of lmkit always is.
    """
    if not isinstance(then, Mapping):
        raise RunError("The fingerprint of the machine in run.json or in the newest checkpoint is damaged.")
    differing = [
        f"{name} {then[name]} then, {now[name]} now" for name in now if name in then and then[name] != now[name]
    ]
    refused = [one for one in differing if not one.startswith(f"{OWN_VERSION} ")]
    if refused and not allow_inexact:
        raise RunError(
            f"The result would not be the uninterrupted run's to the last bit: {'; '.join(refused)}. "
            "--allow-inexact resumes all the same."
        )
    return differing


def check_corpus(run: RunDirectory, corpus: Corpus, given: str | None = None) -> None:
    """Raise RunError where the text is no longer the one that the run began with, or is cut into other documents.
    given: where it is said to be now.
    """
    recorded = run.info().get("splits")
    names = corpus.splits.keys() | (recorded.keys() if isinstance(recorded, dict) else set())
    for name in sorted(names):
        if _is_split(run, name, corpus.splits.get(name)):
            continue
        if given is not None:
            raise RunError(
                f"--corpus {given} is not the text that {run.path} was trained on: its {name} split differs. Give that "
                "text, or train a new run on this one."
            )
        raise RunError(
            f"The {name} split of {run.config().data.corpus} has changed since the run began: put the old text back, "
            "or train anew."
        )


def _is_split(run: RunDirectory, name: str, split: TokenFile | None) -> bool:
    """Whether a split is the recorded one: its text, and where run.json counts them its tokens and documents."""
    if split is None or run.split_hash(name) != split.sha256:
        return False
    then, now = run.counts(name), {"tokens": len(split), "documents": split.counts.documents}
    return all(then.get(key, count) == count for key, count in now.items())


def _flag(name: str) -> str:
    sections = dataclasses.fields(Config)
    kinds = [type(getattr(Config(), section.name)) for section in sections]
    return next((flag_of(item) for kind in kinds for item in dataclasses.fields(kind) if item.name == name), name)
