"""What the commands that read tables of texts have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lmkit.cli.completers import complete_files

__all__ = ["data_option", "format_option", "label_column_option", "text_column_option"]

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    """Add --data, the labelled texts."""
    return click.option(
        "--data",
        required=True,
        shell_complete=complete_files,
        help="Labelled texts: a .csv, .tsv or .jsonl file (also .gz), or - for standard input.",
    )(function)


def format_option(function: F) -> F:
    """Add --input-format, for files whose name does not say it."""
    return click.option(
        "--input-format",
        type=click.Choice(["csv", "tsv", "jsonl", "lines"]),
        help="Format of the texts (default: what the file's name ends in). lines: a text on each line.",
    )(function)


def text_column_option(function: F) -> F:
    """Add --text-column."""
    return click.option("--text-column", help="Column of the texts (default: as in training).")(function)


def label_column_option(function: F) -> F:
    """Add --label-column."""
    return click.option("--label-column", help="Column of the labels (default: as in training).")(function)
