"""A process that trains with others and is not the first: it computes its rows, and does what the first one says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from lmkit.config import Config
from lmkit.distributed.world import World
from lmkit.errors import NonFiniteError
from lmkit.session.kind import Kind
from lmkit.session.measurements import BrokenOff
from lmkit.session.placement import Placement
from lmkit.session.processes.joint_setup import prepare_in_all
from lmkit.session.processes.orders import Order
from lmkit.session.setup import TrainingSetup
from lmkit.session.tuning.origin import Origin
from lmkit.text.tokenizers.kinds import tokenizer_from_json
from lmkit.training.loop import Validated, fit
from lmkit.training.mismatch import Mismatch

__all__ = ["Follower"]


class _Ended(Exception):
    """The first process has said that this one may leave."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class Follower:
    """What a session is in the first process. It writes nothing and shows nothing."""

    def __init__(self, kind: Kind, setup: TrainingSetup) -> None:
        self.setup, self.train, self._world = setup, setup.train, setup.placement.world
        self._measurements = kind.measurements(setup, None)
        self._find_signal: Callable[[], int] = lambda: 0

    @classmethod
    def begin(cls, kind: Kind, config: Config, world: World, origin: Origin | None = None) -> Follower:
        """Beside ``Session.begin`` in the first process, which it raises the errors of."""
        return cls(kind, prepare_in_all(kind, config, lambda: Placement.of(config, world), world, origin=origin))

    @classmethod
    def resume(cls, kind: Kind, world: World) -> Follower:
        """Beside ``Session.resume`` in the first process, which reads the run and says what is in it."""
        with world.together():
            pass  # the first process takes the run's lock
        with world.together():
            pass  # and reads it
        config, tokenizer, options = world.broadcast(None)
        tokenizer = tokenizer_from_json(tokenizer, "the tokenizer of the run")

        def place() -> Placement:
            return Placement.choose(**options, model=config.model, world=world)

        return cls(kind, prepare_in_all(kind, config, place, world, tokenizer=tokenizer))

    def run(self, find_signal: Callable[[], int] = lambda: 0) -> int:
        """Train until the first process ends it; the exit code that it says. find_signal: the number of a signal that
        this process has received and that asks to end, 0 without one; the first process then ends the training for all.
        """
        self._find_signal = find_signal
        validate = self._validated if self.setup.validates else None
        training, sampler = self.setup.config.training, self.setup.sampler
        try:
            self._obey(Order.GO_ON)
            with contextlib.suppress(NonFiniteError):  # the first process has it, too
                for _ in fit(self.train, sampler, training, self.setup.make_update(), validate):
                    self._obey(Order.GO_ON)
            self._obey(Order.END)
        except _Ended as end:
            self._world.part()
            return end.code
        raise AssertionError("the last order is to end")

    def _validated(self) -> Validated:
        self._obey(Order.VALIDATED)
        measured: Validated = self._world.broadcast(None)
        return measured

    def _obey(self, last: Order) -> None:
        """Do what the first process says until it says this; raise _Ended where it says that all is over."""
        while True:
            order, _ = self._world.largest(0, self._find_signal())
            if order >= Order.END:
                raise _Ended(order - Order.END)
            if order == last:
                return
            if order == Order.MEASURE:
                with contextlib.suppress(BrokenOff):  # all hear what came of it next
                    self._measurements.validate()
            elif order == Order.SAVE:
                self.train.state_dict()
            elif order == Order.LOAD:
                with contextlib.suppress(Mismatch):  # the first process says so
                    self.train.load_state_dict(self._world.broadcast(None))
            elif order == Order.GO_BACK:
                self.train.go_back(self._world.broadcast(None))
            else:
                raise AssertionError(f"order {order} comes at the wrong moment")
