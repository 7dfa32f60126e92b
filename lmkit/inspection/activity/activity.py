"""Gates and states over a text, unit by unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.inspection.finding import Finding, Floats
from lmkit.model.cells import Cell
from lmkit.model.cells.band import ATTENTION
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["Activity", "read_activity"]

BINS = 20
CLOSED, OPEN = 0.1, 0.9  # of a gate; Karpathy, Johnson & Li (2015), arXiv 1506.02078, section 4.2


@dataclass(frozen=True, eq=False)
class Activity(Finding):
    """The values (T, D) of a gate or of a part of the state of one layer, after each of T tokens.

    name: as the cell names it, such as ``forget``, ``h`` or ``c``. is_gate: whether it is one of what the equations
    name, and not of the state.
    """

    layer: int
    name: str
    is_gate: bool
    values: Floats

    @property
    def bounds(self) -> tuple[float, float]:
        """Below and above which a value counts as saturated: 0.1 and 0.9 where none is negative, else -0.9 and 0.9."""
        return (CLOSED, OPEN) if self.values.min(initial=0) >= 0 else (-OPEN, OPEN)

    @property
    def saturation(self) -> tuple[Floats, Floats]:
        """Shares of the tokens at which each unit (D,) is below the first bound, and above the second."""
        low, high = self.bounds
        return (self.values < low).mean(axis=0), (self.values > high).mean(axis=0)

    def histogram(self, bins: int = BINS) -> tuple[NDArray[np.int64], Floats]:
        """Counts (bins,) of all values, and the edges (bins + 1,) between them: over [0, 1] or [-1, 1] where all values
        are within, else from the smallest to the largest.
        """
        low, high = float(self.values.min(initial=0)), float(self.values.max(initial=0))
        edges = (0.0 if low >= 0 else -1.0, 1.0) if low >= -1 and high <= 1 else (low, high)
        counts, borders = np.histogram(self.values, bins=bins, range=edges)
        return counts, borders

    def to_dict(self) -> dict[str, Any]:
        """The values in full, with shares of saturation and the histogram."""
        (low, high), (counts, edges) = self.saturation, self.histogram()
        shares = {"bounds": list(self.bounds), "below": low.tolist(), "above": high.tolist()}
        return {**super().to_dict(), **shares, "histogram": {"counts": counts.tolist(), "edges": edges.tolist()}}


def read_activity(model: LanguageModel, tokens: Tensor, state: State) -> list[Activity]:
    """The gates of every layer and the vectors that its state is made of, while it reads one text (T,) from a state of
    one row. Weights of attention are left out: ``attention_by_lag`` is about them.
    """
    with inference(model):
        inputs_TBE = model.embedding(tokens)[:, None]
        found: list[Activity] = []
        for layer, (cell, values) in enumerate(zip(model.cells, state, strict=True)):
            found += [_activity(layer, name, True, gate) for name, gate in _gates(cell, inputs_TBE, values)]
            held, inputs_TBE = _held(cell, inputs_TBE, values)
            found += [_activity(layer, name, False, value) for name, value in held.items()]
        return found


def _gates(cell: Cell, inputs: Tensor, state: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor]]:
    for name, gate in cell.gates(inputs, state).items():
        if name != ATTENTION:
            yield name, gate


def _held(cell: Cell, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """The vectors of the state after each step (T, 1, D) by name, outputs among them, and the outputs."""
    rows: dict[str, list[Tensor]] = {"output": []}
    for projected_BP in cell.project(inputs):
        output, state = cell.step(projected_BP, state)
        rows["output"].append(output)
        for name, value in zip(cell.state_names, state, strict=True):
            if value.dim() == 2 and value.is_floating_point():
                rows.setdefault(name, []).append(value)
    held = {name: torch.stack(values) for name, values in rows.items()}
    outputs = held["output"]
    if "h" in held and held["h"].equal(outputs):
        del held["output"]
    return held, outputs


def _activity(layer: int, name: str, is_gate: bool, values: Tensor) -> Activity:
    return Activity(layer, name, is_gate, values[:, 0].flatten(1).double().cpu().numpy())
