"""What a session measures: validations on the way, and the best model at the end."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from lmkit.training.loop import Validated

__all__ = ["Measured", "Measurements"]


class Measured(Protocol):
    """The closing measurement of a training."""

    def metrics(self) -> Mapping[str, Any]:
        """All metrics by name, ready for JSON."""

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it."""


class Measurements(ABC):
    """Measurements of the model as it is, or of the mean of its weights where there is one; they leave no trace in the
    training.

    going_on: whether one is being made, where an exception (Ctrl-C) leaves the train state whole. before: is called at
    the beginning of each, and may raise one.
    """

    def __init__(self) -> None:
        self.going_on = False
        self.before: Callable[[], None] = lambda: None

    @abstractmethod
    def validate(self) -> Validated:
        """Measure the model on the valid split."""

    @abstractmethod
    def close(self) -> Measured | None:
        """Measure the model at the end; None where there is nothing to measure it on."""

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A measurement is made inside."""
        self.going_on = True
        try:
            self.before()
            yield
        finally:
            self.going_on = False
