"""What a session measures: validations on the way, and the best model at the end."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from lmkit.distributed.world import World
from lmkit.training.loop import Validated

__all__ = ["BrokenOff", "Measured", "Measurements"]


class BrokenOff(Exception):
    """The first process has broken off what all measure together."""


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

    @property
    def is_shared(self) -> bool:
        """Whether a validation is one of all processes, each of which calls ``validate``."""
        return False

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

    def look_together(self, world: World) -> None:
        """In all processes that measure together, at the same place: break off where the first one is to. Raises what
        ``before`` raises there, and BrokenOff in the others.
        """
        reason: BaseException | None = None
        try:
            self.before()
        except BaseException as error:
            reason = error
        (breaks_off,) = world.largest(int(reason is not None))
        if reason is not None:
            raise reason
        if breaks_off:
            raise BrokenOff
