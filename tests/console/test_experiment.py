"""Results of experiments on a terminal: tables that fit, whatever its width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lmkit.console.experiment import _table
from lmkit.experiments.contract.table import Table

TABLE = Table(
    "Arms",
    ("arm", "valid, nats per token", "minus the best"),
    (
        ("gru", "3.9995 [3.7636, 4.2354]", ""),
        ("lstm, two layers", "4.0729 [3.9995, 4.1463]", "+0.0734 [-0.0969, +0.2437]"),
    ),
)


def shown(columns: int, table: Table = TABLE) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=columns, highlight=False).print(_table(table, columns))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("columns", [10_000, 69, 68, 60, 40, 39, 30])
def test_numbers_are_never_broken(columns: int):
    lines = shown(columns)
    assert max(map(len, lines)) <= columns
    numbers = [word for row in TABLE.rows for cell in row[1:] for word in cell.split()]
    assert sorted(word for line in lines for word in line.split() if word in numbers) == sorted(numbers)


def test_a_table_that_fits_has_a_line_for_each_row():
    assert [line.split()[0] for line in shown(69)] == ["arm", "gru", "lstm,"]


def test_where_the_columns_do_not_fit_each_row_is_a_list():
    rows = [[*row, *row[1:], *row[1:]] for row in TABLE.rows]
    wide = Table("Arms", [*TABLE.columns, "test", "of the best", "bits", "of the best"], rows)
    lines = shown(60, wide)
    assert lines[0].split() == ["arm", "gru"]
    assert lines[4] == ""
    assert lines[-1].split() == ["of", "the", "best", "+0.0734", "[-0.0969,", "+0.2437]"]
