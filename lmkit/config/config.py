"""A language model's configuration: all its sections, and the way from and to plain dictionaries."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lmkit.config.checkpoint import CheckpointConfig
from lmkit.config.data import DataConfig
from lmkit.config.model import ModelConfig
from lmkit.config.runtime import RuntimeConfig
from lmkit.config.training import TrainingConfig
from lmkit.errors import ConfigError
from lmkit.fields import NO_FLAG, arguments_of

__all__ = ["CONFIG_FORMAT", "RESUMABLE", "Config", "flatten"]

CONFIG_FORMAT = 1
# What a resume may change: when it ends, and how often it is saved. All else would make it another run.
RESUMABLE = ("epochs", "max_steps", "max_seconds", "checkpoint_every", "checkpoint_seconds", "keep_checkpoints")


@dataclass(frozen=True)
class Config:
    """All sections of a run's configuration. kind: what is trained; command: that trains it; unit: what its loss is
    counted in, as the logs name it; unit_shown: as people read it.
    """

    kind: ClassVar[str] = "language model"
    command: ClassVar[str] = "lmkit train"
    unit: ClassVar[str] = "token"
    unit_shown: ClassVar[str] = "token"

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        if self.training.on_nonfinite == "rollback" and self.checkpoint.checkpoint_every is None:
            raise ConfigError(
                "--on-nonfinite rollback needs --checkpoint-every: the weights go back to the last such step."
            )

    @property
    def network(self) -> str:
        """The shape of the network and what stands on it, for people."""
        return self.model.shape

    def override(self, values: Mapping[str, Any]) -> Config:
        """A new config with some fields changed, named without their section."""
        sections = {}
        known = set()
        for section in dataclasses.fields(self):
            current = getattr(self, section.name)
            names = {item.name for item in dataclasses.fields(current)}
            known |= names
            changes = {name: value for name, value in values.items() if name in names}
            sections[section.name] = dataclasses.replace(current, **changes)
        if unknown := sorted(set(values) - known):
            raise ConfigError(_unknown_key(unknown[0], known))
        return type(self)(**sections)

    def arguments(self) -> list[str]:
        """The options that are not the defaults, as the command line takes them."""
        plain = type(self)()
        pairs = [(getattr(self, one.name), getattr(plain, one.name)) for one in dataclasses.fields(self)]
        chosen = [
            (item, getattr(section, item.name), getattr(default, item.name))
            for section, default in pairs
            for item in dataclasses.fields(section)
            if item.metadata["flags"] != NO_FLAG
        ]
        return [word for item, value, default in chosen if value != default for word in arguments_of(item, value)]

    def to_dict(self) -> dict[str, Any]:
        """Sections as plain dictionaries, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Read sections from plain dictionaries (JSON, TOML); an unknown section or key raises ConfigError."""
        return cls().override(flatten(values, cls))


def flatten(values: Mapping[str, Any], kind: type[Config] = Config) -> dict[str, Any]:
    """``{"model": {"cell": "gru"}}`` -> ``{"cell": "gru"}``, refusing sections and keys that do not exist."""
    sections = {item.name: item for item in dataclasses.fields(kind)}
    defaults = kind()
    fields = {name: {item.name for item in dataclasses.fields(getattr(defaults, name))} for name in sections}
    flat: dict[str, Any] = {}
    for name, content in values.items():
        if name not in sections:
            raise ConfigError(_unknown_key(f"[{name}]", {f"[{section}]" for section in sections}))
        if not isinstance(content, Mapping):
            raise ConfigError(f"[{name}] must be a table of options.")
        known = fields[name]
        if unknown := sorted(set(content) - known):
            home = next((section for section, names in fields.items() if unknown[0] in names), None)
            if home is not None:
                raise ConfigError(f"The option {unknown[0]} belongs in [{home}], not in [{name}].")
            raise ConfigError(_unknown_key(unknown[0], known))
        flat.update(content)
    return flat


def _unknown_key(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name[:80], sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}."
    shown = name if len(name) <= 80 and name.isprintable() else f"{name[:80]!r}"
    return f"Unknown option {shown}: {hint}"
