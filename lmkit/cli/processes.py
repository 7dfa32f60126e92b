"""Commands under torchrun: which of the processes speaks, and how the others end."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lmkit.distributed.launch import Launch
from lmkit.errors import LmkitWarning, LostProcessError

if TYPE_CHECKING:
    from lmkit.distributed.world import World

__all__ = ["check_processes", "is_silent", "joined", "loading", "says_mistake", "signal_seen", "stopping_signals"]

SHARED = ("train", "eval", "score", "tokenize")  # the commands whose work several processes share


def check_processes(command: str) -> None:
    """Raise ConfigError where torchrun has started several processes of a command that one runs; empty for none. Called
    before torch is imported: it would say in each process that most steps need no look for parameters that they have
    not used.
    """
    launch = Launch.read()
    if launch.size == 1:
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if command and command not in SHARED:
        launch.check_alone(f"`lmkit {command}`")


def is_silent() -> bool:
    """Whether this is not the first of several processes: what it would say, the first one says."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def says_mistake() -> bool:
    """Whether this process says what it has done wrong: of several the first that asks, for the others may have made no
    mistake; the first of all where they cannot ask, before they have met.
    """
    launch = Launch.read()
    if launch.size == 1:
        return True
    from lmkit.distributed.world import World, store_of_torchrun

    store = store_of_torchrun()
    return World(launch, store).is_first_to("say a mistake") if store else launch.rank == 0


@contextmanager
def joined(lost: str) -> Iterator[World]:
    """The processes of this command. What ends all of them is said by one; the others end with its exit code. lost:
    what is said where one of them has ended.
    """
    from lmkit.distributed.world import Dismissed, World

    launch = Launch.read()
    if launch.rank:
        warnings.simplefilter("ignore", LmkitWarning)  # the first process has them, too
    world = World(launch)
    try:
        world = World.join(launch)
        with world.watched(lost):
            yield world
    except Dismissed as dismissed:
        raise SystemExit(dismissed.code) from None
    except LostProcessError as error:
        if world.is_first_to("say that a process was lost"):  # the first process may be the one that was lost
            click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    finally:
        world.leave()


@contextmanager
def loading() -> Iterator[None]:
    """Say that modules are loaded inside, where that takes long; the first process says so."""
    if is_silent():
        yield
        return
    from lmkit.console.terminal.progress import ProgressLine

    with ProgressLine() as line:
        line("loading")
        yield


def signal_seen() -> Callable[[], int]:
    """Take note of the first signal that asks to end, and end at once at the second: the number of the first, 0 before
    it.
    """
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)

    for number in stopping_signals():
        signal.signal(number, note)
    return lambda: seen[0] if seen else 0


def stopping_signals() -> list[signal.Signals]:
    """Those that ask a program to end. SIGHUP comes from a terminal that was closed; nohup has it ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers
