"""``lmkit eval``: what a model makes of a text, in every unit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lmkit.cli.options import runtime_options

__all__ = ["command"]

DEFAULT_WARMUP = 256


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="Split to measure (default: test if there is one, else valid).",
)
@click.option("--file", "file", help="Measure another text: a file, a .gz, a folder, or - for standard input.")
@click.option(
    "--window",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Tokens computed at a time; changes no number unless --state reset.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Rows computed side by side; 1 is the unbroken stream.",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    help=f"Tokens that each row reads before its own (default: {DEFAULT_WARMUP} with --rows).",
)
@click.option(
    "--state",
    type=click.Choice(["carry", "reset", "document"]),
    help="State policy (default: as the model was trained; reset is for studies).",
)
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Arithmetic."
)
@click.option("--words-only", is_flag=True, help="Word perplexity without counting line ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@runtime_options
def command(
    run: Path,
    split: str | None,
    file: str | None,
    window: int,
    rows: int,
    warmup: int | None,
    state: str | None,
    precision: str,
    words_only: bool,
    as_json: bool,
    device: str | None,
    threads: int | None,
) -> None:
    """Measure a trained model: perplexity, bits per character and byte, OOV, with all counts.

    Every token is scored once and the number does not depend on --window; --rows with a warm-up is quicker and agrees
    closely.
    """
    import torch

    from lmkit.api import load
    from lmkit.console.tables import show_measurement
    from lmkit.errors import ConfigError
    from lmkit.hardware import choose_threads

    if file is not None and split is not None:
        raise ConfigError("Give either --split or --file, not both.")
    torch.set_num_threads(choose_threads(threads))
    lm = load(run, device or "auto")
    name, tokens = (file, lm.file_tokens(file)) if file is not None else lm.split_tokens(split)
    result = lm.measure(
        tokens,
        split=name,
        state=state,
        rows=rows,
        warmup=DEFAULT_WARMUP if warmup is None else warmup,
        window=window,
        precision=getattr(torch, precision),
    )
    if result.state != lm.eval_state:
        click.echo(
            f"Note: the model was trained for state {lm.eval_state}; this is state {result.state}, window {window}.",
            err=True,
        )
    if as_json:
        click.echo(json.dumps(result.figures()))
    else:
        show_measurement(result, words_only=words_only, file=sys.stdout)
