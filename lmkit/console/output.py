"""Consoles: how text gets out, on a terminal and elsewhere."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console

__all__ = ["open_console"]

WIDE = 10_000  # columns where there is no terminal: a line of output stays one line for grep and cut


class _Console(Console):
    """A console that lets a closed pipe be known: the command line ends quietly, and a training goes on."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console on standard output, standard error or a file."""
    console = _Console(stderr=stderr, file=file, highlight=False, emoji=False)
    return (
        console if console.is_terminal else _Console(stderr=stderr, file=file, highlight=False, emoji=False, width=WIDE)
    )
