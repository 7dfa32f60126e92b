"""What the tests of inspection share: one of every cell, in small, and what counts as equal in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lmkit.model.cells import CELLS

# Options by the name of a case: every cell of the table once, and what stands around cells.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in CELLS},
    "transformer": ("transformer", {"context": 4, "heads": 2}),
    "rnn, in a block": ("rnn", {"block": "residual"}),
    "gru, zoneout": ("gru", {"zoneout": 0.2}),
    "gru, attention": ("gru", {"attention": 4}),
    "lstm, coupled, projected": ("lstm", {"input_gate": "coupled", "projection_size": 4}),
}


def close(one: Any, other: Any, tolerance: float = 1e-9) -> None:
    """Equal but for the order of sums in float64."""
    one, other = (np.asarray(value.detach() if isinstance(value, torch.Tensor) else value) for value in (one, other))
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
