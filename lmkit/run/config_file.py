"""config.json of a run: the options as they were chosen, which later versions of lmkit read with the same meaning.

A text or tokenizer file is named relative to the run folder, beginning with ``./`` or ``../``, where the two lie under
one folder that is not the root of the file system, so that a project can be moved or given away as a whole. Elsewhere,
and in runs of early versions, its path is absolute.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmkit.config import CONFIG_FORMAT, KINDS, Config, ModelConfig, flatten
from lmkit.errors import ConfigError

__all__ = ["EARLIER_DEFAULTS", "FILES", "changed_values", "config_from_values", "format_defaults", "values_of_config"]

# Options whose default has changed since the format began, with the value that a config.json without them stands for.
EARLIER_DEFAULTS: dict[str, Any] = {"irnn_form": "paper", "kernel": "torch", "timescales": "paper"}
OF_CELLS = {item.name: item.metadata["cells"] for item in dataclasses.fields(ModelConfig) if item.metadata["cells"]}
HEADER = ("lmkit", "format", "vocab_size")
KIND = "kind"  # of what is trained; left out for language models
FILES = ("corpus", "tokenizer", "valid")
RELATIVE = ("./", "../")


def format_defaults(cell: Any = ModelConfig.cell, kind: type[Config] = Config) -> dict[str, Any]:
    """What the options mean, by name, that the config.json of a network of this cell lacks, because they are newer."""
    earlier = {name: value for name, value in EARLIER_DEFAULTS.items() if cell in OF_CELLS.get(name, (cell,))}
    return {**flatten(kind().to_dict(), kind), **earlier}


def values_of_config(config: Config, folder: Path, version: str, vocab_size: int) -> dict[str, Any]:
    """The content of the config.json in a run folder. ``config`` names files by absolute paths."""
    header: dict[str, Any] = dict(zip(HEADER, (version, CONFIG_FORMAT, vocab_size), strict=True))
    header |= {} if config.kind == Config.kind else {KIND: config.kind}
    return {**header, **_with_files(config, lambda path: _relative(path, folder)).to_dict()}


def config_from_values(values: Mapping[str, Any], folder: Path) -> Config:
    """The configuration that the config.json in a run folder holds, with absolute paths. Raises ConfigError, also for
    another format.
    """
    if values.get("format") != CONFIG_FORMAT:
        raise ConfigError(f"its format is {values.get('format')!s:.20}, and {CONFIG_FORMAT} is read.")
    kind = KINDS.get(str(values.get(KIND, Config.kind)))
    if kind is None:
        raise ConfigError(f"it is of the kind {values[KIND]!s:.20}, and known are {', '.join(KINDS)}.")
    chosen = flatten({name: value for name, value in values.items() if name not in (*HEADER, KIND)}, kind)
    defaults = format_defaults(chosen.get("cell", ModelConfig.cell), kind)
    return _with_files(kind().override({**defaults, **chosen}), lambda path: _absolute(path, folder))


def changed_values(values: Mapping[str, Any], folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json with some options changed, and all others written as they are."""
    config = config_from_values(values, folder).override(changes)
    changed = dict(values)
    for section, options in _with_files(config, lambda path: _relative(path, folder)).to_dict().items():
        if new := {name: value for name, value in options.items() if name in changes}:
            changed[section] = {**values.get(section, {}), **new}
    return changed


def _with_files(config: Config, renamed: Callable[[str], str]) -> Config:
    """The configuration with other names of the text and the tokenizer."""
    named = {name: value for name, value in flatten(config.to_dict(), type(config)).items() if name in FILES and value}
    return config.override({name: renamed(value) for name, value in named.items()})


def _relative(name: str, folder: Path) -> str:
    """An absolute path as seen from a folder; a corpus or tokenizer that has a name, and a path that shares nothing but
    the root with the folder, as they are.
    """
    if not Path(name).is_absolute():
        return name
    home = folder.resolve()
    try:
        shared = Path(os.path.commonpath([name, home]))
    except ValueError:  # another drive
        return name
    if shared == Path(shared.anchor):
        return name
    path = Path(os.path.relpath(name, home)).as_posix()
    return path if path.startswith(RELATIVE[1]) else f"./{path}"


def _absolute(name: str, folder: Path) -> str:
    return os.path.normpath(folder.resolve() / name) if name.startswith(RELATIVE) else name
