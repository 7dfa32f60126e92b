"""``lmkit classify eval``: what a classifier makes of labelled texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lmkit.classify.measures.options import ClassifierOptions
from lmkit.cli.classify.options import data_option, format_option, label_column_option, text_column_option
from lmkit.cli.completers import complete_runs
from lmkit.cli.options import (
    SectionedCommand,
    checkpoint_option,
    chosen,
    progress_line,
    runtime_options,
    section_options,
    use_runtime,
)

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_runs)
@data_option
@text_column_option
@label_column_option
@format_option
@section_options(ClassifierOptions, "Measurement", ("bins", "worst", "confidence"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@checkpoint_option
@runtime_options
def command(
    run: Path,
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
    """Measure a classifier: accuracy with its interval, each class, confusions, calibration, the worst errors.

    Naive Bayes on the words and pairs of words of the same training texts stands beside it: is the network better than
    counting? Texts that stand in the training file, too, are counted, and the accuracy without them is shown.
    """
    line = progress_line()
    from lmkit.classify.testing import read_test, report_on
    from lmkit.classify.trained import load_classifier
    from lmkit.console.classification import show_classifier

    options = ClassifierOptions(**chosen(ClassifierOptions, given))
    classifier = load_classifier(run, use_runtime(device, threads), checkpoint)
    classifier.progress = line
    texts = read_test(classifier, data, text_column=text_column, label_column=label_column, form=input_format)
    found = report_on(classifier, texts, options)
    line.end()
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        show_classifier(found, file=sys.stdout)
