"""The end that a user asks for in the middle of an experiment: Ctrl-C, or a signal to end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["Interrupted", "Interruption"]


class Interrupted(BaseException):
    """The experiment is to end now. No Exception: nothing that cleans up after errors must take it for one."""


class Interruption:
    """Whether the user has asked for the end. asked: the signal's number, None until then.

    The first signal raises Interrupted wherever the program is, but within ``patient`` only where ``check`` is called.
    The second one ends the process.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._waits = False

    def check(self) -> None:
        """Raise Interrupted if the end was asked for."""
        if self.asked is not None:
            raise Interrupted

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Work that must not be left anywhere but where it calls ``check``: a step of training."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    def ask(self, number: int, frame: Any = None) -> None:
        """The handler of a signal."""
        if self.asked is not None:
            os._exit(128 + number)
        self.asked = number
        if not self._waits:
            raise Interrupted

    @contextlib.contextmanager
    def listening(self, *numbers: signal.Signals) -> Iterator[None]:
        """Listen to signals (default: SIGINT and SIGTERM). Elsewhere than in the main thread there are none."""
        try:
            before = {number: signal.signal(number, self.ask) for number in numbers or (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
