"""How much a training has changed each part of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from lmkit.errors import ConfigError
from lmkit.inspection.finding import Finding
from lmkit.model.language_model import LanguageModel
from lmkit.model.parts import named_parts

__all__ = ["Change", "parameter_change"]


@dataclass(frozen=True, eq=False)
class Change(Finding):
    """Of one part of a network, such as ``layers.0``: the norm of its parameters before, and of what was added."""

    part: str
    before: float
    change: float

    @property
    def relative(self) -> float:
        """The change over what was there before."""
        return self.change / self.before if self.before else math.nan

    def to_dict(self) -> dict[str, Any]:
        """With the relative change."""
        return {**super().to_dict(), "relative": self.relative if self.before else None}


def parameter_change(before: LanguageModel, after: LanguageModel) -> list[Change]:
    """The change from one network to another of the same shape, part by part from the top down; a tied matrix counts in
    the head and in the embedding. Raises ConfigError where the shapes differ.
    """
    shapes = [{name: value.shape for name, value in one.named_parameters()} for one in (before, after)]
    if shapes[0] != shapes[1]:
        raise ConfigError("The two networks have different shapes: compare two checkpoints of one run.")
    pairs = zip(named_parts(before).items(), named_parts(after).values(), strict=True)
    return [Change(part, *_norms(old, new)) for (part, old), new in pairs]


@torch.no_grad()
def _norms(before: list[torch.nn.Parameter], after: list[torch.nn.Parameter]) -> tuple[float, float]:
    pairs = [(old.double().cpu(), new.double().cpu()) for old, new in zip(before, after, strict=True)]
    squares = [(float(old.square().sum()), float((new - old).square().sum())) for old, new in pairs]
    return math.sqrt(sum(old for old, _ in squares)), math.sqrt(sum(new for _, new in squares))
