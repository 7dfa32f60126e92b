"""``lmkit eval``: what a model makes of a text, in every unit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import Count, SectionedCommand, checkpoint_option, progress_line, runtime_options, use_runtime
from lmkit.cli.runs import only_run

if TYPE_CHECKING:
    from lmkit.api import TrainedModel
    from lmkit.evaluation.adapters.levels import Adapted
    from lmkit.text.token_file import TokenFile

__all__ = ["command"]

DEFAULT_WARMUP = 256


SHORT = (
    "split",
    "file",
    "rows",
    "state",
    "dynamic",
    "cache",
    "ngram",
    "mix",
    "tune",
    "as_json",
    "checkpoint",
    "device",
)
SPLITS = ("train", "valid", "test")


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@click.argument("text", required=False, shell_complete=complete_files)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Split to measure (default: test if there is one, else valid).",
)
@click.option(
    "--file",
    "file",
    shell_complete=complete_files,
    help="Measure another text: a file, a .gz, a folder, or - for standard input.",
)
@click.option(
    "--window",
    type=Count(1),
    default=256,
    show_default=True,
    help="Tokens computed at a time; changes no number unless --state reset.",
)
@click.option(
    "--rows",
    type=Count(1),
    default=1,
    show_default=True,
    help="Parallel streams; 1 is the unbroken stream.",
)
@click.option(
    "--warmup",
    type=Count(0),
    help=f"Tokens that each row reads before its own (default: {DEFAULT_WARMUP} with --rows).",
)
@click.option(
    "--state",
    type=click.Choice(["carry", "reset", "document", "line"]),
    help="State policy (default: as the model was trained). line reads each line by itself, as score --state line; "
    "reset is for studies.",
)
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Arithmetic."
)
@click.option("--dynamic", is_flag=True, help="Dynamic evaluation: go on learning from the text that was scored.")
@click.option("--dynamic-span", type=Count(1), default=64, show_default=True, help="Tokens per update.")
@click.option("--dynamic-lr", type=float, default=1e-4, show_default=True, help="Rate of dynamic evaluation.")
@click.option("--dynamic-decay", type=float, default=0.02, show_default=True, help="Pull towards the trained weights.")
@click.option("--cache", type=Count(0), default=0, help="Neural cache over the last N tokens.")
@click.option("--cache-weight", type=float, default=0.1, show_default=True, help="Mixing weight of the cache.")
@click.option("--cache-flatness", type=float, default=0.2, show_default=True, help="Weight of similarity in the cache.")
@click.option("--ngram", type=click.IntRange(0, 6), default=0, help="Mix with a Kneser-Ney model of this order.")
@click.option("--arpa", type=click.Path(), help="Mix with the n-gram model of an ARPA file.")
@click.option("--ngram-weight", type=float, default=0.1, show_default=True, help="Mixing weight of the n-gram model.")
@click.option(
    "--mix",
    multiple=True,
    shell_complete=complete_runs,
    help="Mix with another run of the same tokenizer; may be given several times.",
)
@click.option("--tune", is_flag=True, help="Choose rates and weights on the validation split.")
@click.option("--words-only", is_flag=True, help="Word perplexity without counting line ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@checkpoint_option
@runtime_options
def command(
    run: Path | None,
    text: str | None,
    split: str | None,
    file: str | None,
    window: int,
    rows: int,
    warmup: int | None,
    state: str | None,
    precision: str,
    words_only: bool,
    as_json: bool,
    checkpoint: str,
    device: str | None,
    threads: int | None,
    **adapters: Any,
) -> None:
    """Measure a trained model: perplexity, bits per character and byte, OOV, with all counts.

    TEXT is a file, a .gz, a folder, or - for standard input; without it the model's own test split is measured.

    Every token is scored once and the number does not depend on --window; --rows is quicker and gives the same, because
    rows are read on into each other until they agree. With adapters the figures are those of the network with all of
    them; the levels below come in a table.
    """
    line = progress_line()
    from lmkit.api import load
    from lmkit.console.tables import show_adapters, show_measurement
    from lmkit.errors import ConfigError

    run = run or only_run("eval")
    if text is not None:
        split, file = _choose(text, split, file, run)
    if file is not None and split is not None:
        raise ConfigError("Give either --split or --file, not both.")
    if file == "":
        raise ConfigError("--file is empty: give a file, a folder, or - for standard input.")
    lm = load(run, use_runtime(device, threads), checkpoint)
    lm.progress = line
    if file is not None:
        name, tokens = file, lm.file_tokens(file, state=state)
    else:
        name, tokens = lm.split_tokens(split, state=state)
    how: dict[str, Any] = {
        "split": name,
        "state": state,
        "rows": rows,
        "warmup": DEFAULT_WARMUP if warmup is None else warmup,
        "window": window,
        "precision": precision,
    }
    adapted = _adapted(lm, tokens, adapters, how)
    result = lm.measure(tokens, **how) if adapted is None else adapted.result
    line.end()
    trained = lm.config.training.state_policy
    if result.state != trained:
        shown = f"{result.state}, window {window}" if result.state == "reset" else result.state
        click.echo(f"Note: the model was trained with state {trained}; this is state {shown}.", err=True)
    if as_json:
        click.echo(json.dumps(result.figures() if adapted is None else adapted.figures()))
    else:
        model = "" if adapted is None else adapted.name
        show_measurement(result, model=model, words_only=words_only, file=sys.stdout)
        if adapted is not None:
            show_adapters(adapted, file=sys.stdout)


def _choose(text: str, split: str | None, file: str | None, run: Path) -> tuple[str | None, str | None]:
    """Split and file, where a text was given as an argument."""
    from lmkit.errors import ConfigError
    from lmkit.files import exists

    if file is not None:
        raise ConfigError(f"Give one text: {text} or --file {file}, not both.")
    if exists(Path(text) / "config.json") and exists(Path(text) / "tokenizer.json"):
        raise ConfigError(f"{text} is a run, not a text: `lmkit compare {run} {text}` compares the two.")
    return (text, None) if text in SPLITS and split is None and not exists(Path(text)) else (split, text)


def _adapted(lm: TrainedModel, tokens: TokenFile, options: dict[str, Any], how: dict[str, Any]) -> Adapted | None:
    """Measure with adapters, or None where none was asked for."""
    from lmkit.api import load
    from lmkit.evaluation.adapters.adapters import AdapterSettings
    from lmkit.evaluation.adapters.tuning import TUNING_TOKENS

    tuned, order, runs, arpa = (options.pop(name) for name in ("tune", "ngram", "mix", "arpa"))
    options["cache"] = min(options["cache"], max(len(tokens), TUNING_TOKENS))  # its memory is taken at once
    settings = AdapterSettings(**options)
    if not (settings.dynamic or settings.cache or order or runs or arpa):
        return None
    others = [load(run, lm.device.type) for run in runs]
    return lm.adapt(tokens, settings, tuned=tuned, ngram=order, arpa=arpa, others=others, **how)
