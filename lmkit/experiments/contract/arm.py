"""One of the things that an experiment compares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

__all__ = ["Arm", "Choice", "file_name", "grid"]

Choice = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One of the things that an experiment compares.

    name: short, as tables, charts and files show it. options: plain values that ``measure`` needs to know of it, such
    as options of a training. choices: further options of which one is taken, by its validation with tuning seeds,
    before the runs that count; none: nothing is chosen. seeded: False where nothing is drawn, so that one run is all.
    budget: arms of one budget are given the same, which the engine checks: as many targets, in as many updates. Only
    ``seconds``, for a claim about cost, is not checked.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    seeded: bool = True
    budget: str = "targets"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "choices": [dict(choice) for choice in self.choices],
            "seeded": self.seeded,
            "budget": self.budget,
        }


def grid(**values: Sequence[Any]) -> tuple[Choice, ...]:
    """Every combination, as choices: ``grid(lr=(1e-3, 3e-3), dropout=(0.0, 0.3))`` has four."""
    return tuple(dict(zip(values, combination, strict=True)) for combination in product(*values.values()))


def file_name(*parts: str) -> str:
    """A name for files made of other names: ``file_name("LSTM, tied", "lr 0.01")`` is ``lstm-tied--lr-0.01``."""
    return "--".join(re.sub(r"[^a-z0-9.+_=]+", "-", part.lower()).strip("-.") for part in parts if part)
