"""``lmkit classify train``: labelled texts in, a run folder with a trained classifier out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import SectionedCommand, chosen_options, classifier_options, run_options
from lmkit.cli.training import report, train_to_the_end
from lmkit.config import ClassifierConfig, FineTuning
from lmkit.errors import ConfigError

__all__ = ["command"]

SHORT = (
    *("corpus", "valid", "text_column", "label_column", "encoder", "pooling", "tune", "tokenizer"),
    *("cell", "hidden_size", "dropout", "lr", "epochs", "max_seconds", "seed", "out", "resume"),
)
NO_ENCODER = "none"


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("files", metavar="[FILE]", nargs=-1, shell_complete=complete_files)
@click.option(
    "--data",
    "--corpus",
    "corpus",
    shell_complete=complete_files,
    help="File of texts and labels: CSV, TSV or one JSON object a line.",
)
@click.option(
    "--encoder",
    shell_complete=complete_runs,
    help="Begin from the embedding, the layers and the tokenizer of this language model (default: none, a new one).",
)
@click.option("--encoder-checkpoint", help="Which model of that run: best, last, or a step.  [default: best]")
@classifier_options
@run_options("data")
def command(
    files: tuple[str, ...],
    encoder: str | None,
    encoder_checkpoint: str | None,
    config_file: Path | None,
    out: Path | None,
    resume: Path | None,
    allow_inexact: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a classifier on a file of texts and labels.

    An encoder reads a text, what it gives is pooled to one vector, and a linear layer names the class. The encoder is
    that of a language model (--encoder) or a new one. Ctrl-C and SIGTERM save the run and end; `lmkit classify train
    --resume RUN` continues it, after a crash too.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if files:
        given["corpus"] = _only_file(files, given.get("corpus"))
    if "valid" in given and "valid_fraction" in given:
        raise ConfigError(
            "Give texts to validate on as --valid, or a part of the others as --valid-fraction, not both."
        )
    start = _encoder(encoder, encoder_checkpoint)
    if resume is not None and (start, config_file, out) != (None, None, None):
        raise ConfigError("--resume takes no --encoder, --config or --out: the run has its own.")
    if resume is None and allow_inexact:
        raise ConfigError("--allow-inexact needs --resume.")
    options = chosen_options(None, config_file, given, ClassifierConfig) if resume is None else given
    if resume is None and "corpus" not in options:
        raise ConfigError("Give a file of texts and labels: `lmkit classify train --data train.csv`.")
    from lmkit.console.terminal.progress import ProgressLine

    with ProgressLine() as line:
        line("loading")
        from lmkit.classify.training.kind import CLASSIFIERS
        from lmkit.classify.training.options import configure
        from lmkit.console.classifier_training import LABELS
        from lmkit.console.training import TrainingDisplay
        from lmkit.session.session import Session
        from lmkit.session.tuning.origin import Origin

    with TrainingDisplay(LABELS) as display:
        listeners: dict[str, Any] = {"progress": display.line, "warn": display.say, "note": display.note}
        if resume is not None:
            session = Session.resume(resume, given, allow_inexact=allow_inexact, kind=CLASSIFIERS, **listeners)
        else:
            origin = None if start is None else Origin.open(start, "--encoder")
            session = Session.begin(configure(options, origin), out, origin=origin, kind=CLASSIFIERS, **listeners)
        with session:
            ended = train_to_the_end(session, display)
    report(session, ended, display, as_json=as_json)


def _only_file(files: tuple[str, ...], data: str | None) -> str:
    """The file of texts and labels, given as an argument or as --data."""
    if len(files) > 1:
        raise ConfigError(
            f"Give one file of texts and labels, not {len(files)}: put texts to validate on after --valid."
        )
    if data is not None:
        raise ConfigError(f"Give the texts and labels once: {files[0]} or --data {data}, not both.")
    return files[0]


def _encoder(name: str | None, checkpoint: str | None) -> FineTuning | None:
    if name in (None, NO_ENCODER):
        if checkpoint is not None:
            raise ConfigError("--encoder-checkpoint needs --encoder RUN.")
        return None
    return FineTuning(init_from=name, **({} if checkpoint is None else {"init_checkpoint": checkpoint}))
