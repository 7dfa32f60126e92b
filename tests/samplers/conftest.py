"""What the tests of samplers share: how a window reads as lists, and what each target was predicted from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest

from lmkit.samplers import IGNORE, Window


class Prediction(NamedTuple):
    """A target, the row it came in, and all inputs that the row's state had seen since it was zero."""

    target: int
    row: int
    history: list[int]


Predictions = Callable[[Iterable[Window]], list[Prediction]]
Lists = Callable[[Iterable[Window]], list[tuple[list[list[int]], list[list[int]], list[bool]]]]


@pytest.fixture(scope="session")
def predictions() -> Predictions:
    """Every target in the order of its coming. Padding is read like any input, so it shows in the history of what
    follows it: that a history is an unbroken piece of the stream proves every border and every reset at once.
    """

    def follow(windows: Iterable[Window]) -> list[Prediction]:
        found: list[Prediction] = []
        histories: dict[int, list[int]] = {}
        for window in windows:
            assert window.inputs.shape == window.targets.shape
            assert window.reset.shape == window.inputs.shape[:1]
            assert 0 <= window.advance <= window.inputs.shape[1] > 0
            assert (window.targets[:, : window.context] == IGNORE).all()
            assert all(0 < border < window.inputs.shape[1] for border in window.borders)
            for row, reset in enumerate(window.reset.tolist()):
                history = [] if reset else histories[row]
                before = len(history)
                for read, target in zip(window.inputs[row].tolist(), window.targets[row].tolist(), strict=True):
                    history = [*history, read]
                    if target != IGNORE:
                        found.append(Prediction(target, row, history))
                histories[row] = history[: before + window.advance]
        return found

    return follow


@pytest.fixture(scope="session")
def as_lists() -> Lists:
    """Inputs, targets and resets as lists; ``_`` (-1) stands for an input whose target is IGNORE."""

    def lists(windows: Iterable[Window]) -> list[tuple[list[list[int]], list[list[int]], list[bool]]]:
        return [
            (window.inputs.masked_fill(window.targets == IGNORE, -1).tolist(), window.targets.tolist(),
             window.reset.tolist())
            for window in windows
        ]  # fmt: skip

    return lists
