"""What a fine-tuning begins from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lmkit.errors import ConfigError
from lmkit.fields import Section, flag_of, option

__all__ = ["FineTuning"]


@dataclass(frozen=True)
class FineTuning(Section):
    """What a fine-tuning begins from. It is no part of a configuration: run.json records where a run came from."""

    init_from: str | None = option(None, "Begin from the network and the tokenizer of this run (fine-tuning).")
    init_checkpoint: str = option("best", "Which model of that run: best, last, or a step.")
    extend_vocab: str = option(
        "none",
        "Add to that run's vocabulary what occurs --min-count times in the training text.",
        choices=("none", "characters", "words"),
    )

    def check(self) -> None:
        for item in dataclasses.fields(self):
            if self.init_from is None and getattr(self, item.name) != item.default:
                raise ConfigError(f"{flag_of(item)} needs --init-from RUN.")
