"""Checks as lines: how each came out, what was found, and below it what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from lmkit.console.terminal.output import open_console
from lmkit.console.terminal.progress import ProgressLine
from lmkit.doctor.check import FAILED, NOTE, OK, SKIPPED, WARNING, Check

__all__ = ["show_checks"]

MARKS = {
    OK: ("ok", "green"),
    NOTE: ("", "default"),
    WARNING: ("warning", "yellow"),
    FAILED: ("FAILED", "bold red"),
    SKIPPED: ("skipped", "dim"),
}
MARK_WIDTH, NAME_WIDTH = 7, 29


def show_checks(checks: Iterable[Check], *, file: TextIO, line: ProgressLine) -> list[Check]:
    """Each check in a line as soon as it is done, above the progress line, and a line that counts them; gives them
    back.
    """
    console = open_console(file=file)
    done = []
    for check in checks:
        done.append(check)
        line("checking")
        with line.hidden():
            _show(check, console)
    line.end()
    number = Counter(check.status for check in done)
    judged = number[OK] + number[WARNING] + number[FAILED]
    console.print(f"{judged} checks: {number[FAILED]} failed, {number[WARNING]} with a warning", style="bold")
    return done


def _show(check: Check, console: Console) -> None:
    mark, style = MARKS[check.status]
    name = escape(check.name.ljust(NAME_WIDTH))
    console.print(f"[{style}]{mark:<{MARK_WIDTH}}[/]  {name}  {escape(check.finding)}", soft_wrap=True)
    for sentence in check.advice:
        console.print(f"{'':{MARK_WIDTH}}    {escape(sentence)}", style="dim", soft_wrap=True)
