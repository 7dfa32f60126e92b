"""``lmkit compare``: is one model better than another, and how sure is that?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import Count, SectionedCommand, progress_line, runtime_options, use_runtime

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, shell_complete=complete_runs)
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
@click.option(
    "--block",
    type=Count(1),
    help="Consecutive tokens (bytes where tokenizers differ) of a block (default: a sixteenth of the text).",
)
@click.option(
    "--resamples", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True, help="Bootstrap resamples."
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals.",
)
@click.option("--seed", type=Count(0), default=0, show_default=True, help="Seed of the resamples.")
@click.option(
    "--rows",
    type=Count(1),
    default=1,
    show_default=True,
    help="Parallel streams; 1 is the unbroken stream.",
)
@click.option("--allow-lossy", is_flag=True, help="Compare different tokenizers that lose text: lower bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@runtime_options
def command(
    runs: tuple[Path, ...],
    split: str | None,
    file: str | None,
    block: int | None,
    resamples: int,
    confidence: float,
    seed: int,
    rows: int,
    allow_lossy: bool,
    as_json: bool,
    device: str | None,
    threads: int | None,
) -> None:
    """Compare two or more runs on the same text; the first is the baseline.

    Differences come with confidence intervals over blocks of consecutive tokens and with a paired test, in all, by
    how frequent a token was in training, and by its position in the document. Runs with the same tokenizer are
    compared token by token in nats; others in bits per byte, over the stretches of text between common token ends.
    """
    line = progress_line()
    from lmkit.comparing import compare
    from lmkit.console.comparison import show_comparison

    result = compare(
        runs,
        split=split,
        file=file,
        block=block,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
        rows=rows,
        allow_lossy=allow_lossy,
        device=use_runtime(device, threads),
        progress=line,
    )
    line.end()
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        show_comparison(result, file=sys.stdout)
