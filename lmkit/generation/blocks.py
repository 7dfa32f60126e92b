"""Blocks of rows: which sizes give each row the bits that it has alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.generation.vectors import WholeVectors
from lmkit.model import state as states
from lmkit.model.state import State

__all__ = ["Blocks"]

SIZES = (4, 8, 16, 32, 64)
ROWS, STEPS = 4, 8  # of the test: so many texts, so many tokens of each
STRIDE = 7919  # a prime, so that its tokens are far apart

Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Alone(NamedTuple):
    """A step of some rows that were computed one by one: tokens (B,), the state before, logits (B, V), the state
    after.
    """

    tokens: Tensor
    before: State
    logits: Tensor
    after: State


class Blocks:
    """How rows are computed together: in blocks of few sizes, and only of those that pass a test.

    A step of a block of each size is compared with the same rows alone, to the last bit: four texts, each of which
    stands at each place of the block in turn, over eight tokens. A size where a kernel treats this number of rows, or a
    place among them, in a way of its own is not used. What would show in few numbers only, and seldom, is known
    beforehand (``WholeVectors``). The test is made when a size is first wanted, for each number of threads; it costs
    about as much as eight such blocks and 32 rows alone.

    step: computes exactly the rows that it is given. initial_state: of so many rows.
    """

    def __init__(self, step: Step, initial_state: Callable[[int], State], vocab_size: int) -> None:
        self.step = step
        self.initial_state = initial_state
        self.vocab_size = vocab_size
        self.alone: dict[int, list[Alone]] = {}  # by the number of threads
        self.passed: dict[tuple[int, int], bool] = {}  # by size and threads

    def cut(self, num_rows: int) -> Iterator[tuple[slice, int]]:
        """The rows of each block, and its size: it may be larger than its rows, and is then to be filled up."""
        start = 0
        while start < num_rows:
            size = self._size(num_rows - start)
            end = min(start + size, num_rows)
            yield slice(start, end), size
            start = end

    def _size(self, num_rows: int) -> int:
        """The smallest block that holds the rows and is at least a quarter full, else the largest below them."""
        larger = [size for size in SIZES if num_rows <= size <= 4 * num_rows] if num_rows > 1 else []
        smaller = [size for size in reversed(SIZES) if size < num_rows]
        return next((size for size in (*larger, *smaller) if self._passes(size)), 1)

    def _passes(self, size: int) -> bool:
        key = size, torch.get_num_threads()
        if key not in self.passed:
            self.passed[key] = all(self._equal(number, size, alone) for number, alone in enumerate(self._alone()))
        return self.passed[key]

    def _equal(self, number: int, size: int, alone: Alone) -> bool:
        order = (torch.arange(size, device=alone.tokens.device) + number) % ROWS
        tokens, before = alone.tokens[order], states.select(alone.before, order)
        with WholeVectors(size) as vectors:
            logits, after = self.step(tokens, before)
        found, expected = (logits, *_tensors(after)), (alone.logits, *_tensors(alone.after))
        return vectors.kept and all(one.equal(other[order]) for one, other in zip(found, expected, strict=True))

    def _alone(self) -> list[Alone]:
        threads = torch.get_num_threads()
        if threads not in self.alone:
            self.alone[threads] = list(self._steps_alone())
        return self.alone[threads]

    def _steps_alone(self) -> Iterator[Alone]:
        state = self.initial_state(ROWS)
        numbers = torch.arange(STEPS * ROWS, device=state[0][0].device)
        for tokens in (numbers * STRIDE % self.vocab_size).split(ROWS):
            rows = [self.step(*row) for row in zip(tokens.split(1), states.split(state, ROWS), strict=True)]
            logits, after = torch.cat([row for row, _ in rows]), states.concatenate([row for _, row in rows])
            yield Alone(tokens, state, logits, after)
            state = after


def _tensors(state: State) -> list[Tensor]:
    return [tensor for layer in state for tensor in layer]
