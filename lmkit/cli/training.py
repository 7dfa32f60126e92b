"""A training on the command line: to its end or to the first signal, and what is said of it then."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmkit.cli.processes import stopping_signals
from lmkit.errors import FailedError

if TYPE_CHECKING:
    from lmkit.console.training import TrainingDisplay
    from lmkit.session.session import Session

__all__ = ["Ended", "report", "train_to_the_end"]

FINAL_LENGTH = 400


class Ended(NamedTuple):
    """How a training ended: its closing measurement, and the signal that stopped it; None without."""

    measurement: Any
    signal_number: int | None

    @property
    def was_stopped(self) -> bool:
        """Whether a signal came before the closing measurement."""
        return self.signal_number is not None and self.measurement is None


def train_to_the_end(session: Session, display: TrainingDisplay) -> Ended:
    """Train and measure, or save and stop at the first signal."""
    display.begin(session)
    with _first_signal(session) as seen:
        try:
            with closing(session.records()) as records:
                for record in records:
                    display.record(record)
                    seen += [session.signal_elsewhere] if session.signal_elsewhere and not seen else []
                    if seen:
                        raise _Stopped
            if seen:
                raise _Stopped
            result = session.close()
            return Ended(result, seen[0] if seen else None)
        except _Stopped:
            display.say(f"Stopping at step {session.train.step:,}: saving. Press again to quit now.")
            session.stop()
            return Ended(None, seen[0])


class _Stopped(BaseException):
    """A signal has come. No Exception: nothing that cleans up after errors must take it for one."""


@contextmanager
def _first_signal(session: Session) -> Iterator[list[int]]:
    """A list that the first signal which asks to end makes non-empty. A measurement is broken off, it changes nothing;
    all else continues to the next record. The second signal ends the process at once.
    """
    seen: list[int] = []

    def break_off() -> None:
        if seen:
            raise _Stopped

    session.measurements.before = break_off

    def note(number: int, frame: Any) -> None:
        if seen:
            if os.isatty(2):
                os.write(2, b"\r\x1b[K")  # no half of a progress line
            os._exit(128 + number)
        seen.append(number)
        if session.measurements.going_on:
            raise _Stopped

    try:
        before = {number: signal.signal(number, note) for number in stopping_signals()}
    except ValueError:  # not the main thread: signals are somebody else's business
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def report(session: Session, ended: Ended, display: TrainingDisplay, *, as_json: bool) -> None:
    """Print what a training has come to. Raises FailedError where the disk did not take its end, and SystemExit after a
    signal.
    """
    try:
        if as_json:
            click.echo(json.dumps(_summary(session, ended)))
        elif ended.was_stopped:
            display.stopped()
        else:
            sample = display.wording.sample(session, FINAL_LENGTH) if session.train.step else ""
            display.result(ended.measurement, sample)
    finally:
        if session.unsaved:  # worse than a result that cannot be printed
            raise FailedError(session.unsaved)
    if ended.signal_number is not None:
        raise SystemExit(128 + ended.signal_number)


def _summary(session: Session, ended: Ended) -> dict[str, Any]:
    unit, best = session.kind.unit, session.train.validations
    summary = {
        "run": str(session.run.path),
        "steps": session.train.step,
        f"{unit}s": session.train.tokens,
        "stopped": ended.was_stopped,
        "seconds": round(session.train.elapsed, 3),
    }
    if best.best_step:
        summary |= {"best_step": best.best_step, f"valid_nats_per_{unit}": best.best}
    return summary | ({} if ended.measurement is None else {"result": ended.measurement.metrics()})
