"""Networks of equal size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmkit.config import Config
from lmkit.model.shapes import shape_model

__all__ = ["num_parameters", "with_parameters"]

LARGEST_WIDTH = 4096


def num_parameters(options: Mapping[str, Any], vocab_size: int) -> int:
    """The parameters of a network with these options."""
    model = shape_model(Config().override(options).model, vocab_size)
    return sum(parameter.numel() for parameter in model.parameters())


def with_parameters(
    options: Mapping[str, Any], parameters: int, vocab_size: int, *, multiple: int = 2
) -> dict[str, Any]:
    """The options with the hidden size, a multiple of ``multiple``, whose network has the nearest number of
    parameters. With heads, give a multiple that they divide.
    """

    def sized(width: int) -> dict[str, Any]:
        return {**options, "hidden_size": multiple * width}

    low, high = 1, LARGEST_WIDTH // multiple
    while low < high:  # the first width with at least as many
        middle = (low + high) // 2
        if num_parameters(sized(middle), vocab_size) < parameters:
            low = middle + 1
        else:
            high = middle
    return min(
        (sized(width) for width in (max(1, low - 1), low)),
        key=lambda one: abs(num_parameters(one, vocab_size) - parameters),
    )
