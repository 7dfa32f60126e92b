"""A step of training as a CUDA graph: launched as a whole, where the host would take longer than the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.model.marks import PLAIN, Marks
from lmkit.model.state import State, map_state, split

__all__ = ["Compute", "StepGraphs", "StepInputs"]

WARM_UP = 3  # steps of a shape before it is recorded: by then kernels are chosen and optimisers have their memory
MAX_GRAPHS = 8  # each keeps the activations of its window


class StepInputs(NamedTuple):
    """All that differs between two steps: tokens and targets (B, T), the state before them, what the nll is divided by,
    the learning rate, and the marks of the window.
    """

    tokens: Tensor
    targets: Tensor
    state: State
    divisor: float | Tensor
    lr: float | Tensor
    marks: Marks = PLAIN

    @property
    def window(self) -> tuple[Any, ...]:
        """What the loss takes: tokens, targets, state, and the marks of a window that has any."""
        window = (self.tokens, self.targets, self.state)
        return window if self.marks == PLAIN else (*window, self.marks)

    def parts(self, number: int) -> list[StepInputs]:
        """The rows in so many parts, as equal as can be, and none without a row."""
        number = min(number, len(self.tokens))
        rows = zip(self.tokens.tensor_split(number), self.targets.tensor_split(number), strict=True)
        pairs = zip(rows, split(self.state, number), strict=True)
        return [self._replace(tokens=tokens, targets=targets, state=state) for (tokens, targets), state in pairs]

    def on_device(self) -> StepInputs:
        """With both numbers as tensors, because a graph can hold no number that changes. torch's fused optimisers take
        a rate in float32, which is not the rate in float64: all steps of a training take it so, or none.
        """
        divisor, lr = (torch.full((), float(one), device=self.tokens.device) for one in (self.divisor, self.lr))
        return self._replace(divisor=divisor, lr=lr)

    def tensors(self) -> list[Tensor]:
        """All of them in one list."""
        numbers = [one for one in (self.divisor, self.lr) if isinstance(one, Tensor)]
        return [self.tokens, self.targets, *(value for layer in self.state for value in layer), *numbers]

    def clone(self) -> StepInputs:
        """A copy in memory of its own; the numbers are tensors."""
        own = self.on_device()
        return own._replace(
            tokens=own.tokens.clone(), targets=own.targets.clone(), state=map_state(Tensor.clone, own.state)
        )


Compute = Callable[[StepInputs], tuple[Tensor, State]]


class StepGraphs:
    """The graphs of one training, one for each shape of a window and its marks. They hold the addresses of parameters
    and of the optimiser's memory: ``clear`` forgets them where either is replaced.
    """

    def __init__(self) -> None:
        self.seen: Counter[tuple[object, ...]] = Counter()
        self.graphs: dict[tuple[object, ...], _Graph] = {}

    def clear(self) -> None:
        self.seen.clear()
        self.graphs.clear()

    def run(self, given: StepInputs, compute: Compute) -> tuple[Tensor, State]:
        """What ``compute`` gives, by a graph where there is one. The results are valid until the next step."""
        shape = (*given.tokens.shape, given.marks)
        if shape not in self.graphs:
            self.seen[shape] += 1
            if self.seen[shape] <= WARM_UP or len(self.graphs) == MAX_GRAPHS:
                return compute(given)
            self.graphs[shape] = _Graph(given, compute)
        return self.graphs[shape].replay(given)


class _Graph:
    def __init__(self, given: StepInputs, compute: Compute) -> None:
        self.given = given.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.metrics, self.after = compute(self.given)

    def replay(self, given: StepInputs) -> tuple[Tensor, State]:
        for mine, other in zip(self.given.tensors(), given.tensors(), strict=True):
            mine.copy_(other)
        self.graph.replay()
        return self.metrics.clone(), self.after
