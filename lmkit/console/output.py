"""Consoles: how text gets out, on a terminal and elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console

from lmkit.console.streams import messages

__all__ = ["open_console"]

WIDE = 10_000  # columns where there is no terminal: a line of output stays one line for grep and cut


class _Console(Console):
    """A console that lets a closed pipe be known: the command line ends quietly."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console on standard output, standard error or a file. What standard error refuses is dropped."""
    if stderr and sys.stderr is not None:
        file = messages(sys.stderr)
    console = _Console(stderr=stderr, file=file, highlight=False, emoji=False)
    return (
        console if console.is_terminal else _Console(stderr=stderr, file=file, highlight=False, emoji=False, width=WIDE)
    )
