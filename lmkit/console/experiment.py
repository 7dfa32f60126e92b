"""Experiments on standard output: the list of them, and a result with its verdicts and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich import table as tables
from rich.cells import cell_len
from rich.markup import escape

from lmkit.console.terminal.output import open_console
from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.table import Table
from lmkit.experiments.engine.page import QUICK
from lmkit.experiments.engine.result import Result

__all__ = ["show_experiments", "show_result"]

GAP = 2  # columns of the terminal between two of a table


def show_experiments(experiments: Sequence[Experiment], *, file: TextIO) -> None:
    """Each experiment with its claims, its question and how long it takes."""
    table = tables.Table(box=None, pad_edge=False)
    for name in ("name", "claims", "minutes", "question"):
        table.add_column(name, justify="right" if name == "minutes" else "left", no_wrap=name == "name")
    for one in experiments:
        claims = ", ".join(map(str, one.claims))
        table.add_row(escape(one.name), claims, f"{one.minutes:g}", escape(one.question))
    console = open_console(file=file)
    console.print(table)
    console.print("`lmkit experiment NAME --quick` takes some seconds and shows how it works.", style="dim")


def show_result(result: Result, folder: Path, *, file: TextIO) -> None:
    """Verdicts, tables and notes, and where all of it is."""
    console = open_console(file=file)
    for line in _verdicts(result):
        console.print(line, soft_wrap=True)
    for table in result.tables:
        console.print()
        console.print(f"[bold]{escape(table.title)}[/bold]", soft_wrap=True)
        console.print(_table(table, console.width))
        if table.note:
            console.print(escape(table.note), style="dim", soft_wrap=True)
    console.print()
    for note in result.notes:
        console.print(f"Note: {escape(note)}", soft_wrap=True)
    console.print(escape(f"{folder / 'report.md'} has the page, {folder / 'result.json'} every run."), soft_wrap=True)


def _verdicts(result: Result) -> Iterator[str]:
    if result.quick:
        yield escape(QUICK)
    for verdict in result.verdicts:
        yield f"[bold]{verdict.word}[/bold]  claim {verdict.claim}: {escape(CLAIMS[verdict.claim])}"
        yield f"  {escape(verdict.because)}"


def _table(table: Table, room: int) -> tables.Table:
    """A table whose cells break between words, never within a number; where that is too wide, each row as a list."""
    widths = _widths(table, room)
    if widths is None:
        return _lists(table)
    shown = tables.Table(box=None, pad_edge=False)
    for number, (name, width) in enumerate(zip(table.columns, widths, strict=True)):
        shown.add_column(escape(name), justify="right" if number else "left", width=width)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def _widths(table: Table, room: int) -> list[int] | None:
    """The width of each column: its longest word, and of the space that is left what it takes, from the left; None if
    there is too little.
    """
    columns = [[name, *(row[number] for row in table.rows)] for number, name in enumerate(table.columns)]
    least = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    left = room - sum(least) - GAP * (len(columns) - 1)
    if left < 0:
        return None
    widths = []
    for few, column in zip(least, columns, strict=True):
        widths.append(few + min(left, max(map(cell_len, column)) - few))
        left -= widths[-1] - few
    return widths


def _lists(table: Table) -> tables.Table:
    """Each row below the one before: the names of the columns with what stands there."""
    shown = tables.Table(box=None, pad_edge=False, show_header=False)
    for number, row in enumerate(table.rows):
        if number:
            shown.add_row()
        for name, value in zip(table.columns, row, strict=True):
            if value:
                shown.add_row(escape(name), escape(value))
    return shown
