"""One line on standard error that says what is being done, how much of it is done, and how long the rest takes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType

from lmkit.console.terminal.numbers import duration, printable
from lmkit.console.terminal.output import open_console

__all__ = ["ProgressLine"]

PATIENCE = 2.0  # seconds: work that takes less shows nothing
REFRESH_SECONDS = 0.1  # between two pictures on a terminal
PLAIN_SECONDS = 30.0  # between two lines where there is no terminal
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR_WIDTHS = (10, 24)
ERASE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class _Stage(NamedTuple):
    """A part of the work: its name, when it began and with which share done, the share now (nan if unknown), and
    details to show behind, the most important first.
    """

    name: str
    began: float
    first: float
    share: float
    details: Sequence[str]


class ProgressLine:
    """What a command is doing: a live line on a terminal, elsewhere a plain line now and then.

    Calling it is the protocol of ``lmkit.text.corpus.Progress``: the name of a stage, and the share of it that is done.
    A share of nan is that of work which cannot say: a spinner turns and the time goes by. Between two calls a thread
    keeps the line alive. A line that cannot be written ends the display, never the work.
    """

    def __init__(self, console: Console | None = None, *, plain_seconds: float = PLAIN_SECONDS) -> None:
        self._console = console or open_console(stderr=True)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._pause = REFRESH_SECONDS if self._live else plain_seconds
        self._stages: dict[str, _Stage] = {}
        self._current: _Stage | None = None
        self._drawn = False
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="lmkit-progress")
        self._next = math.inf

    def __enter__(self) -> ProgressLine:
        self._next = time.monotonic() + (PATIENCE if self._live else self._pause)
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Take the line away for good: what is printed from now on has the terminal to itself."""
        self._ended.set()
        with self._lock:
            self._next = math.inf
            self._erase()

    def __call__(self, stage: str, share: float = math.nan, details: Sequence[str] = ()) -> None:
        """Take note of a stage and how much of it is done; show it if the last picture is old enough."""
        known, now = self._stages.get(stage), time.monotonic()
        if known is None or _begins_again(known, share, self._current):
            known = _Stage(stage, now, share, share, details)
        self._current = self._stages[stage] = known._replace(share=share, details=details)
        if now >= self._next:
            self._show()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the line away while something else is written to the terminal; it comes back with the next picture."""
        with self._lock:
            self._erase()
            yield

    def _tick(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            if time.monotonic() >= self._next:
                self._show()

    def _show(self) -> None:
        with self._lock:
            now, stage = time.monotonic(), self._current
            if now < self._next or stage is None or not (self._live or _is_worth_a_line(stage, now)):
                return
            self._next = now + self._pause
            self._attempt(lambda: self._draw(stage, now))

    def _draw(self, stage: _Stage, now: float) -> None:
        if not self._live:
            self._console.print("  ".join(_pieces(stage, now, "")), markup=False, soft_wrap=True)
            return
        room = self._console.width - 1
        low, high = BAR_WIDTHS
        text = _fitting(_pieces(stage, now, _bar(stage.share, min(high, max(low, room - 90)))), room)
        with self._console:  # in one write, so that nothing flickers
            self._console.control(ERASE)
            self._console.print(text, markup=False, end="", no_wrap=True, crop=False)
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            self._attempt(lambda: self._console.control(ERASE))

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._next, self._drawn = math.inf, False


def _is_worth_a_line(stage: _Stage, now: float) -> bool:
    """Whether a line about it may stay: the work takes its time, and is not done."""
    return now - stage.began >= PATIENCE and not stage.share >= 1


def _begins_again(stage: _Stage, share: float, current: _Stage | None) -> bool:
    """Whether this is the same work another time, and not the same one continued (a training after a validation)."""
    return stage is not current if math.isnan(share) else not share >= stage.share


def _pieces(stage: _Stage, now: float, bar: str) -> list[str]:
    """The parts of the line, the most important first."""
    name, elapsed = printable(stage.name), now - stage.began
    if math.isnan(stage.share):
        spinner = SPINNER[int(10 * now) % len(SPINNER)] if bar else ""
        return [" ".join(filter(None, (spinner, name))), duration(elapsed), *stage.details]
    done = f"{math.floor(100 * stage.share):3d} %"  # 100 % is the end, not shortly before
    head = " ".join(filter(None, (name, bar, done)))
    fresh = stage.share - stage.first
    left = duration(math.ceil(elapsed * (1 - stage.share) / fresh)) if fresh > 0 else "-:--"
    return [head, *stage.details[:1], *([f"{left} left"] if stage.share < 1 else []), *stage.details[1:]]


def _bar(share: float, width: int) -> str:
    full = 0 if math.isnan(share) else math.floor(share * width)
    return "━" * full + "─" * (width - full)


def _fitting(pieces: Sequence[str], room: int) -> str:
    """As many parts as fit into the line; the first one is cut where even it does not."""
    line = pieces[0]
    for piece in pieces[1:]:
        if cell_len(line) + 2 + cell_len(piece) > room:
            break
        line += f"  {piece}"
    return line if cell_len(line) <= room else set_cell_size(line, room - 1) + "…"
