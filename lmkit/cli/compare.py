"""``lmkit compare``: is one model better than another, and how sure is that?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lmkit.cli.against import CommandWithGroups, against_option
from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import (
    chosen,
    progress_line,
    runtime_options,
    section_options,
    use_runtime,
)
from lmkit.evaluation.comparison.options import CompareKeywords, CompareOptions

__all__ = ["command"]


@click.command(cls=CommandWithGroups)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, shell_complete=complete_runs)
@against_option
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="Split of the first run's corpus (default: test if there is one, else valid).",
)
@click.option(
    "--file",
    "file",
    shell_complete=complete_files,
    help="Compare on another text: a file, a .gz, a folder, or - for standard input.",
)
@section_options(CompareOptions, "Comparison", CompareKeywords.__annotations__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@runtime_options
def command(
    runs: tuple[Path, ...],
    against: tuple[Path, ...],
    split: str | None,
    file: str | None,
    as_json: bool,
    device: str | None,
    threads: int | None,
    **given: Any,
) -> None:
    """Compare two or more runs on the same text; the first is the baseline.

    Differences come with confidence intervals over blocks of consecutive tokens and with a paired test, in all, by
    how frequent a token was in training, and by its position in the document. Runs with the same tokenizer are
    compared token by token in nats; others in bits per byte, over the stretches of text between common token ends.

    `lmkit compare B1 B2 B3 --against A1 A2 A3` compares two recipes, each trained with several seeds, over the text
    and over seeds; A, the runs after --against, is the baseline.
    """
    line = progress_line()
    from lmkit.comparing import compare
    from lmkit.console.comparison import show_comparison

    result = compare(
        runs,
        against=against or None,
        split=split,
        file=file,
        device=use_runtime(device, threads),
        progress=line,
        **chosen(CompareOptions, given),
    )
    line.end()
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        show_comparison(result, file=sys.stdout)
