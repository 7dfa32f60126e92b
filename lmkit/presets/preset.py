"""Presets: whole recipes by name, with what each is for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from lmkit.config import flatten
from lmkit.errors import ConfigError

__all__ = ["Preset", "preset_names", "read_preset"]


@dataclass(frozen=True)
class Preset:
    """A recipe: what it is for, which text it is meant for, how long it takes, what to expect, and the options."""

    name: str
    purpose: str
    text: str
    time: str
    expected: str
    options: Mapping[str, Any]


def preset_names() -> list[str]:
    """The presets that come with lmkit."""
    folder = resources.files("lmkit") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_preset(name: str) -> Preset:
    """A preset by its name. Raises ConfigError if there is none of that name."""
    if name not in preset_names():
        raise ConfigError(f"There is no preset {name}: known are {', '.join(preset_names())}.")
    tables = tomllib.loads((resources.files("lmkit") / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
    about = tables.pop("about")
    return Preset(name=name, **about, options=flatten(tables))
