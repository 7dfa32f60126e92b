"""Consoles: how text gets out, on a terminal and elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console

from lmkit.console.terminal.streams import messages

__all__ = ["open_console"]

WIDE = 10_000  # columns where there is no terminal: a line of output stays one line for grep and cut


class _Console(Console):
    """A console that lets a closed pipe be known: the command line ends quietly."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console on standard output, standard error or a file. What standard error refuses is dropped.

    In a notebook standard error is shown as if something had gone wrong, so its lines go to standard output there; and
    no line is written over, which a notebook that is stored would keep.
    """
    notebook = _is_notebook(sys.stderr)
    if stderr and sys.stderr is not None:
        file = messages(sys.stdout if notebook else sys.stderr)
    how: dict[str, Any] = {"file": file, "stderr": stderr, "highlight": False, "emoji": False, "force_jupyter": False}
    console = _Console(**how, force_terminal=False if notebook else None)
    return console if console.is_terminal else _Console(**how, force_terminal=False, width=WIDE)


def _is_notebook(stream: TextIO | None) -> bool:
    return type(stream).__module__.partition(".")[0] == "ipykernel"
