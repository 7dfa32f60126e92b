"""Work beside the training: one piece at a time, in a thread that is there only as long as it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Writer"]

T = TypeVar("T")


class Writer(Generic[T]):
    """Does what it is given in a thread of its own. The program does not end before that is done, unless it is killed.

    What the work gives, or raises, comes from ``finish``, in the thread that calls it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._outcome: Future[T] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is work whose outcome nobody has asked for yet."""
        return self._outcome is not None

    @property
    def is_done(self) -> bool:
        """Whether ``finish`` has something to give, and need not wait."""
        return self._outcome is not None and self._outcome.done()

    def begin(self, work: Callable[[], T]) -> None:
        """Begin with work, once the one before is finished. Where the system grants no thread it is done here."""
        assert self._outcome is None, "one piece of work at a time"
        self._outcome = outcome = Future[T]()
        self._thread = threading.Thread(target=_do, args=(work, outcome), name="lmkit-writer", daemon=False)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            _do(work, outcome)

    def finish(self) -> T | None:
        """Wait for the work; return its outcome, or raise it. None where there is no work."""
        if self._outcome is None:
            return None
        if self._thread is not None:
            self._thread.join()
        outcome, self._outcome, self._thread = self._outcome, None, None
        return outcome.result()


def _do(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # it is raised again by who finishes
        outcome.set_exception(error)
