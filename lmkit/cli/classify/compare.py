"""``lmkit classify compare``: is one classifier better than another, and how sure is that?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lmkit.classify.measures.options import ClassifierOptions
from lmkit.cli.against import CommandWithGroups, against_option
from lmkit.cli.classify.options import data_option, format_option, label_column_option, text_column_option
from lmkit.cli.completers import complete_runs
from lmkit.cli.options import (
    checkpoint_option,
    chosen,
    progress_line,
    runtime_options,
    section_options,
    use_runtime,
)

__all__ = ["command"]


@click.command(cls=CommandWithGroups)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, shell_complete=complete_runs)
@against_option
@data_option
@text_column_option
@label_column_option
@format_option
@section_options(ClassifierOptions, "Comparison", ("confidence",))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@checkpoint_option
@runtime_options
def command(
    runs: tuple[Path, ...],
    against: tuple[Path, ...],
    data: str,
    text_column: str | None,
    label_column: str | None,
    input_format: str | None,
    as_json: bool,
    checkpoint: str,
    device: str | None,
    threads: int | None,
    **given: Any,
) -> None:
    """Compare classifiers on the same texts; the first is the baseline, and naive Bayes stands beside them.

    Two runs are compared text by text: the exact McNemar test, and the interval of the difference of their accuracies.

    `lmkit classify compare B1 B2 B3 --data test.csv --against A1 A2 A3` compares two recipes, each trained with several
    seeds, over texts and over seeds; A, the runs after --against, is the baseline. Runs with the same seed are pairs.
    """
    line = progress_line()
    from lmkit.classify.comparing import compare_runs
    from lmkit.console.classification import show_classifier_comparison

    found = compare_runs(
        [against, runs] if against else [(run,) for run in runs],
        data,
        text_column=text_column,
        label_column=label_column,
        form=input_format,
        device=use_runtime(device, threads),
        checkpoint=checkpoint,
        options=ClassifierOptions(**chosen(ClassifierOptions, given)),
        progress=line,
    )
    line.end()
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        show_classifier_comparison(found, file=sys.stdout)
