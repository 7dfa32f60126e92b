"""What a look inside gives: values that can be written as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Finding", "Floats", "plain"]

Floats = NDArray[np.float64]


class Finding:
    """Base of the frozen dataclasses of this room."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON: arrays as lists, None for a number that is not finite."""
        return {item.name: plain(getattr(self, item.name)) for item in dataclasses.fields(cast(Any, self))}


def plain(value: Any) -> Any:
    """A value of a field as JSON has it."""
    match value:
        case Finding():
            return value.to_dict()
        case np.ndarray():
            return plain(value.tolist())
        case np.generic():
            return plain(value.item())
        case Mapping():
            return {name: plain(entry) for name, entry in value.items()}
        case list() | tuple():
            return [plain(entry) for entry in value]
        case float() if not math.isfinite(value):
            return None
    return value
