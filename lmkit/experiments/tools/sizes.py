"""Networks of equal size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmkit.config import Config, ModelConfig
from lmkit.model.shapes import shape_model

__all__ = ["num_parameters", "with_parameters"]

LARGEST_WIDTH = 4096


def num_parameters(model: ModelConfig, vocab_size: int) -> int:
    """The parameters of a network."""
    return sum(parameter.numel() for parameter in shape_model(model, vocab_size).parameters())


def with_parameters(
    options: Mapping[str, Any], parameters: int, vocab_size: int, *, multiple: int = 2
) -> dict[str, Any]:
    """The options with the hidden size, a multiple of ``multiple``, whose network has the nearest number of
    parameters. With heads, give a multiple that they divide.
    """
    model = Config().override({**options, "hidden_size": multiple}).model

    def count(width: int) -> int:
        return num_parameters(dataclasses.replace(model, hidden_size=multiple * width), vocab_size)

    low, high = 1, LARGEST_WIDTH // multiple
    while low < high:  # the first width with at least as many
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(middle) < parameters else (low, middle)
    nearest = min((max(1, low - 1), low), key=lambda width: abs(count(width) - parameters))
    return {**options, "hidden_size": multiple * nearest}
