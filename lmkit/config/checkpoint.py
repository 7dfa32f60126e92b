"""The section of the checkpoints: when a run is saved."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.fields import Section, option

__all__ = ["CheckpointConfig"]


@dataclass(frozen=True)
class CheckpointConfig(Section):
    """When a run is saved, so that it can be resumed; each new best model is saved too, and the end."""

    checkpoint_every: int | None = option(
        None,
        "Save every N steps.",
        flags=("--checkpoint-every", "--save-every", "--checkpoint-interval"),
        minimum=1,
    )
    checkpoint_seconds: float = option(60.0, "Save every N seconds (0: none by time).", minimum=0)
    keep_checkpoints: int = option(2, "Checkpoints that are kept, besides the best one.", minimum=1)
