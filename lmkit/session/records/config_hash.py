"""The hash by which a checkpoint knows the configuration of its run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lmkit.config import PLACEMENT, RESUMABLE, Config, flatten
from lmkit.run.config_file import format_defaults

__all__ = ["config_hash", "early_config_hash"]


def config_hash(config: Config) -> str:
    """sha256 of what makes a run this run: the options that differ from the defaults of the format, so that an option
    that is added later leaves it as it is; without what a resume may change, and without the text and the tokenizer,
    which have hashes of their own.
    """
    defaults = format_defaults(config.model.cell, type(config))
    chosen = {name: value for name, value in flatten(config.to_dict(), type(config)).items() if value != defaults[name]}
    kept = {
        name: value
        for name, value in chosen.items()
        if name not in (*RESUMABLE, *PLACEMENT, "corpus", "tokenizer", "valid")
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
