"""``lmkit classify predict``: the labels of texts, and how one comes about word by word."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli.classify.options import format_option, text_column_option
from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import (
    SectionedCommand,
    checkpoint_option,
    progress_line,
    runtime_options,
    say_what_is_awaited,
    use_runtime,
)

if TYPE_CHECKING:
    from lmkit.classify.predictions import Carried
    from lmkit.classify.trained import TrainedClassifier
    from lmkit.evaluation.scoring.table import Column

__all__ = ["command"]

AT_ONCE = 1024  # texts that are classified and printed together


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_runs)
@click.argument("file", metavar="[FILE|-]", default="-", shell_complete=complete_files)
@click.option(
    "--per",
    type=click.Choice(["text", "word"]),
    default="text",
    show_default=True,
    help="What a row is: a text, or each of its words with the probabilities after it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tsv", "csv", "jsonl", "picture"]),
    help="Output format (default: tsv; picture with --per word on a terminal).",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.option(
    "--columns",
    help="Columns of the file to print before, with commas between them, or all; line: where a row begins.",
)
@text_column_option
@format_option
@checkpoint_option
@runtime_options
def command(
    run: Path,
    file: str,
    per: str,
    form: str | None,
    as_json: bool,
    columns: str | None,
    text_column: str | None,
    input_format: str | None,
    checkpoint: str,
    device: str | None,
    threads: int | None,
) -> None:
    """Give texts their labels, with the probability of every class.

    \b
    lmkit classify predict RUN reviews.csv --columns id > labels.tsv
    echo "what time is it" | lmkit classify predict RUN --per word

    FILE is a .csv, .tsv or .jsonl file with a column of texts, or a .txt file with a text on each line, as standard
    input has. With --per word a terminal shows a picture: under each word a bar for each class.
    """
    line = progress_line()
    from lmkit.classify.data.labelled import texts_of
    from lmkit.classify.data.table import read_table
    from lmkit.classify.predictions import carried
    from lmkit.classify.trained import load_classifier
    from lmkit.errors import ConfigError

    if as_json and form not in (None, "jsonl"):
        raise ConfigError(f"--json is --format jsonl: give it or --format {form}, not both.")
    form = "jsonl" if as_json else form or _usual(per)
    if form == "picture" and per != "word":
        raise ConfigError("--format picture needs --per word.")
    classifier = load_classifier(run, use_runtime(device, threads), checkpoint)
    if file == "-":
        say_what_is_awaited(line)
    given = input_format or ("lines" if file == "-" else None)
    table = read_table(file, given)
    from_lines = set(table.columns) == {"text"} and text_column is None
    texts = texts_of(table, "text" if from_lines else text_column or classifier.config.labels.text_column)
    others = carried(table, columns, classifier.classes)
    if form == "picture":
        line.end()
        _show_pictures(classifier, texts)
        return
    classifier.progress = line
    begun = False
    for part in _words(classifier, texts, others) if per == "word" else _labels(classifier, texts, others):
        with line.hidden():
            _write(part, form, begun=begun)
        begun = True


def _usual(per: str) -> str:
    return "picture" if per == "word" and sys.stdout.isatty() else "tsv"


def _labels(classifier: TrainedClassifier, texts: Sequence[str], others: Carried) -> Iterator[list[Column]]:
    """A row for each text, some at a time."""
    from lmkit.classify.predictions import class_columns
    from lmkit.evaluation.scoring.table import Column

    for begin in range(0, len(texts), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        first = [Column(name, cells[part]) for name, cells in others.items()]
        yield [*first, *class_columns(classifier.classes, classifier.classify(texts[part]))]


def _words(classifier: TrainedClassifier, texts: Sequence[str], others: Carried) -> Iterator[list[Column]]:
    """A row for each word, text by text; the first column counts the texts from 1."""
    from lmkit.classify.predictions import word_columns
    from lmkit.evaluation.scoring.table import Column

    for number, text in enumerate(texts):
        prefixes = classifier.classify_prefixes(text)
        size = len(prefixes.words)
        first = [Column("number", [number + 1] * size)]
        first += [Column(name, [cells[number]] * size) for name, cells in others.items()]
        yield [*first, *word_columns(classifier.classes, prefixes)]


def _write(columns: Sequence[Column], form: str, *, begun: bool) -> None:
    from lmkit.evaluation.scoring.table import header, rows

    sys.stdout.write(("" if begun else header([column.name for column in columns], form)) + rows(columns, form))
    sys.stdout.flush()


def _show_pictures(classifier: TrainedClassifier, texts: Sequence[str]) -> None:
    from lmkit.console.prefixes import show_prefixes

    for number, text in enumerate(texts):
        if number:
            click.echo()
        show_prefixes(classifier.classes, classifier.classify_prefixes(text), file=sys.stdout)
