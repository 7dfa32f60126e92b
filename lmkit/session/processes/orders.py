"""What the first process of a training tells the others to do between two steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

from lmkit.distributed.world import World
from lmkit.errors import LmkitError

__all__ = ["Order", "Orders"]


class Order(IntEnum):
    """GO_ON: take the next step. MEASURE: validate with me. VALIDATED: here is what a validation measured. SAVE: give
    what a checkpoint holds of all processes. LOAD, GO_BACK: take these values, all of a training or the weights before
    a rollback. END: leave; the exit code is added to it.
    """

    GO_ON = 0
    MEASURE = 1
    VALIDATED = 2
    SAVE = 3
    LOAD = 4
    GO_BACK = 5
    END = 6


class Orders:
    """The first process's side; in a world of one it tells nobody. All of a session that waits or writes is in
    the first process, and so is what it measures at the end; the others wait for what it says next.

    signal: the number of a signal that another process has received and that asks to end, 0 without one.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._listened_to = not world.alone
        self.signal = 0

    def go_on(self) -> None:
        """All take the next step."""
        self._give(Order.GO_ON)

    def measure(self) -> None:
        """All take part in ``Measurements.validate``, which is called next."""
        self._give(Order.MEASURE)

    def validated(self, measured: Any) -> None:
        """All take note of a validation."""
        self._give(Order.VALIDATED, measured)

    def save(self) -> None:
        """All take part in ``TrainState.state_dict``, which is called next."""
        self._give(Order.SAVE)

    def load(self, values: Mapping[str, Any]) -> None:
        """All take over the values of ``TrainState.state_dict``."""
        self._give(Order.LOAD, values)

    def go_back(self, values: Mapping[str, Any]) -> None:
        """All go back to the weights of ``TrainState.state_dict``."""
        self._give(Order.GO_BACK, values)

    def end(self, code: int = 0) -> None:
        """All others end with this exit code; more than once does no harm."""
        if self._listened_to:
            self._listened_to = False
            with contextlib.suppress(RuntimeError):  # they have ended
                self._world.largest(Order.END + code, 0)
            self._world.part()

    def leave(self) -> None:
        """Leave the others where they are, because nobody knows where: they end when they notice."""
        if self._listened_to:
            self._listened_to = False
            self._world.leave()

    @contextlib.contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """What cannot go on inside ends the others, too."""
        try:
            yield
        except BaseException as error:
            self.end_with(error)
            raise

    def end_with(self, error: BaseException | None) -> None:
        """End the others for an error. One that is not lmkit's own may have come in the middle of a step."""
        if error is None or isinstance(error, LmkitError):
            self.end(1 if error is None else error.exit_code)
        else:
            self.leave()

    def _give(self, order: Order, *values: Any) -> None:
        if self._listened_to:
            _, self.signal = self._world.largest(order, 0)
            for value in values:
                self._world.broadcast(value)
