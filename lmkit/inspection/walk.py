"""The written-out network, step by step, with all that its layers hold at each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["Layered", "Step", "take_step", "walk"]

Layered = dict[tuple[int, str], Tensor]


class Step(NamedTuple):
    """What a step gives: outputs (B, D) of each layer, from the embedding upwards, and the state after it."""

    outputs: tuple[Tensor, ...]
    state: State

    def values(self, model: LanguageModel) -> Layered:
        """The tensors of the state (B, ...) by layer and name, without counts; ``output`` is what a layer gives, where
        that is no part of its state.
        """
        found: Layered = {}
        for layer, (cell, output, state) in enumerate(zip(model.cells, self.outputs, self.state, strict=True)):
            named = dict(zip(cell.state_names, state, strict=True))
            named |= {} if any(value is output for value in state) else {"output": output}
            found |= {(layer, name): value for name, value in named.items() if value.is_floating_point()}
        return found


def take_step(model: LanguageModel, embedded: Tensor, state: State) -> Step:
    """One step of all layers on embeddings (B, E), by the cells' equations and without dropout."""
    outputs, after = [], []
    for cell, values in zip(model.cells, state, strict=True):
        embedded, values = cell.step(cell.project(embedded), values)
        outputs.append(embedded)
        after.append(values)
    return Step(tuple(outputs), tuple(after))


def walk(model: LanguageModel, embedded: Tensor, state: State) -> Iterator[Step]:
    """The steps on embeddings (T, B, E) from a state."""
    for embedded_BE in embedded:
        step = take_step(model, embedded_BE, state)
        yield step
        state = step.state
