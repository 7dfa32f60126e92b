"""The page of a result, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.contract.table import Table
from lmkit.experiments.engine.result import QUICK, Result

__all__ = ["QUICK", "markdown"]


def markdown(result: Result, pictures: Sequence[str]) -> str:
    """Question, rule, verdicts, tables and pictures (files beside the page)."""
    return "\n".join(_lines(result, pictures))


def _lines(result: Result, pictures: Sequence[str]) -> Iterator[str]:
    one = result.experiment
    yield from (f"# {one.title}", "", one.question, "")
    if result.quick:
        yield from (f"**{QUICK}**", "")
    for verdict in result.verdicts:
        yield f'- **{verdict.word.capitalize()}**: claim {verdict.claim}, "{CLAIMS[verdict.claim]}" {verdict.because}'
    yield from ("", "## The rule", "", one.rule, "") if result.verdicts else (one.rule, "")
    for table in result.tables:
        yield from _table(table)
    for name in pictures:
        yield from (f"![{result.charts[name.removesuffix('.svg')].title}]({name})", "")
    yield from ("## How it was made", "", f"`{result.command}`", "")
    seeds = result.outcomes.scale.seeds
    yield f"- {seeds} seed{'' if seeds == 1 else 's'} an arm, {len(result.outcomes.runs)} runs that count, and " + (
        f"{len(result.outcomes.tuning)} with other seeds, by which the choices were made."
    )
    for machine in result.machines:
        yield f"- {', '.join(f'{name} {value}' for name, value in machine.items())}."
    for note in result.notes:
        yield f"- {note}"
    yield ""


def _table(table: Table) -> Iterator[str]:
    yield from (f"## {table.title}", "")
    yield _row(table.columns)
    yield _row(["---", *["---:"] * (len(table.columns) - 1)])
    for row in table.rows:
        yield _row(row)
    yield ""
    if table.note:
        yield from (table.note, "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
