"""``lmkit sample``: generate text with a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli.completers import complete_runs
from lmkit.cli.options import (
    Count,
    SectionedCommand,
    checkpoint_option,
    decoder_option,
    progress_line,
    runtime_options,
    use_runtime,
)
from lmkit.cli.runs import only_run

if TYPE_CHECKING:
    from lmkit.api import TrainedModel
    from lmkit.console.terminal.progress import ProgressLine

__all__ = ["command"]


SHORT = (
    "prompt",
    "length",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "num",
    "stop",
    "allow_unk",
    "plain",
    "decoder",
    "checkpoint",
)


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@click.argument("words", metavar="[PROMPT]...", nargs=-1)
@click.option(
    "--prompt",
    "--primetext",
    "--start-text",
    "--prime",
    help="Text to continue; without it the model starts from <eos>.",
)
@click.option(
    "--length",
    "--max-new-tokens",
    "--words",
    type=int,
    default=500,
    show_default=True,
    help="Tokens to generate: characters, words or pieces.",
)
@click.option(
    "--temperature",
    "-t",
    type=float,
    default=1.0,
    show_default=True,
    help="Lower is safer, higher is more varied; 0 always takes the most probable token.",
)
@click.option("--top-k", type=int, help="Draw among the k most probable tokens.")
@click.option("--top-p", type=float, help="Draw among the tokens that make up this probability.")
@click.option("--min-p", type=float, help="Draw among tokens at least this share as probable as the best.")
@click.option("--seed", type=Count(0, bits=63), default=0, show_default=True, help="The same seed gives the same text.")
@click.option(
    "--num",
    type=Count(1),
    default=1,
    show_default=True,
    help="Texts to generate; text n is the same whatever their number. A model of several documents writes one in each "
    "text, unless --length ends it.",
)
@click.option("--stop", multiple=True, help="Stop before this string; may be given several times.")
@click.option("--allow-unk", is_flag=True, help="Let the text hold <unk>, the token of unknown words or characters.")
@click.option(
    "--plain",
    is_flag=True,
    help="The texts alone, without headings; one a line if the model was trained on --documents line.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per text.")
@decoder_option
@checkpoint_option
@runtime_options
def command(
    run: Path | None,
    words: tuple[str, ...],
    prompt: str | None,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    seed: int,
    num: int,
    stop: tuple[str, ...],
    allow_unk: bool,
    plain: bool,
    as_json: bool,
    decoder: str,
    checkpoint: str,
    device: str | None,
    threads: int | None,
) -> None:
    """Let a trained model continue a prompt; the text streams as it is made."""
    line = progress_line()
    from lmkit.api import load_language_model
    from lmkit.errors import ConfigError
    from lmkit.generation.decoding import Decoding

    run = run or only_run("sample")
    if words and prompt is not None:
        raise ConfigError("Give the prompt once: after the run, or with --prompt.")
    prompt = " ".join(words) if prompt is None else prompt
    decoding = Decoding(temperature, top_k, top_p, min_p)
    # one token's arithmetic is too small to share among threads
    lm = load_language_model(run, use_runtime(device, threads, default_threads=1), checkpoint)
    lm = lm.quantized() if decoder == "int8" else lm
    if not as_json:
        line.end()  # the text itself shows how far it is
    _warn_of_unknown(lm, prompt, line)
    one_a_line = plain and not as_json and lm.config.data.documents == "line"
    stop = (*stop, "\n") if one_a_line else stop  # a line's end is its document's
    texts = lm.streams(prompt, range(num), length=length, decoding=decoding, seed=seed, stop=stop, allow_unk=allow_unk)
    for number, pieces in enumerate(texts):
        if as_json:
            parts = []
            for piece in pieces:
                parts.append(piece)
                line("generating", (number + min(1.0, len(parts) / length)) / num)
            record = {"prompt": prompt, "text": "".join(parts), "seed": seed, "stream": number}
            with line.hidden():
                click.echo(json.dumps(record, ensure_ascii=False))
            continue
        if num > 1 and not plain:
            click.echo(f"--- {number + 1} of {num} ---")
        sys.stdout.write(prompt)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()


def _warn_of_unknown(lm: TrainedModel, prompt: str, line: ProgressLine) -> None:
    unknown = lm.unknown_characters(prompt)
    if unknown:
        shown = ", ".join(repr(piece) for piece in unknown[:10])
        with line.hidden():
            click.echo(f"Note: the model has never seen {shown}; it reads <unk> instead.", err=True)
