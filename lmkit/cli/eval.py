"""``lmkit eval``: what a model makes of a text, in every unit."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import (
    SectionedCommand,
    checkpoint_option,
    chosen,
    decoder_option,
    progress_line,
    runtime_options,
    section_options,
    use_own_device,
)
from lmkit.cli.processes import joined
from lmkit.cli.runs import only_run
from lmkit.evaluation.options import AdapterSettings, EvalOptions

if TYPE_CHECKING:
    from lmkit.distributed.world import World

__all__ = ["command"]

LOST = "Another process of this measurement has ended: all end here."
SHORT = (
    "split",
    "file",
    "rows",
    "state",
    "dynamic",
    "cache",
    "ngram",
    "mix",
    "tuned",
    "as_json",
    "checkpoint",
    "device",
)
SPLITS = ("train", "valid", "test")
ADAPTERS = [item.name for item in dataclasses.fields(AdapterSettings) if item.name != "mixed_weights"]


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
@section_options(EvalOptions, "Measurement", ("window", "rows", "warmup", "state", "precision"))
@section_options(AdapterSettings, "Test-time adapters", ADAPTERS)
@click.option(
    "--mix",
    multiple=True,
    shell_complete=complete_runs,
    help="Mix with another run of the same tokenizer; may be given several times.",
)
@click.option("--words-only", is_flag=True, help="Word perplexity without counting line ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@decoder_option
@checkpoint_option
@runtime_options
def command(
    run: Path | None,
    text: str | None,
    split: str | None,
    file: str | None,
    mix: tuple[str, ...],
    words_only: bool,
    as_json: bool,
    decoder: str,
    checkpoint: str,
    device: str | None,
    threads: int | None,
    **given: Any,
) -> None:
    """Measure a trained model: perplexity, bits per character and byte, OOV, with all counts.

    TEXT is a file, a .gz, a folder, or - for standard input; without it the model's own test split is measured.

    Every token is scored once and the number does not depend on --window; --rows is quicker and gives the same, because
    rows are read on into each other until they agree. With adapters the metrics are those of the network with all of
    them; the levels below come in a table. Under torchrun several processes share the rows (docs/scaling.md).
    """
    line = progress_line()
    from lmkit.api import load_language_model
    from lmkit.console.tables import show_adapters, show_measurement
    from lmkit.errors import ConfigError

    run = run or only_run("eval")
    if text is not None:
        split, file = _choose(text, split, file, run)
    if file is not None and split is not None:
        raise ConfigError("Give either --split or --file, not both.")
    if file == "":
        raise ConfigError("--file is empty: give a file, a folder, or - for standard input.")
    options = EvalOptions(**chosen(EvalOptions, given), adapters=AdapterSettings(**chosen(AdapterSettings, given)))
    adapting = options.adapters.used or options.adapters.tuned or bool(mix)
    with joined(LOST) as world:
        world.check_same({"command line": click.get_current_context().params})
        with world.together():
            _check_shared(world, file, adapting=adapting)
            lm = load_language_model(run, use_own_device(device, threads, world), checkpoint)
            lm = lm.quantized() if decoder == "int8" else lm
            lm.progress = line
            if file is not None:
                name, tokens = file, lm.file_tokens(file, state=options.state)
            else:
                name, tokens = lm.split_tokens(split, state=options.state)
        adapted = None
        if adapting:
            others = [load_language_model(other, lm.device.type) for other in mix]
            adapted = lm.adapt(tokens, options, split=name, others=others)
        result = lm.measure(tokens, options, split=name, world=world) if adapted is None else adapted.result
    line.end()
    if not world.main:
        return
    if note := lm.state_note(result.state, result.window):
        click.echo(f"Note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(result.metrics() if adapted is None else adapted.metrics()))
    else:
        model = "" if adapted is None else adapted.name
        show_measurement(result, model=model, words_only=words_only, file=sys.stdout)
        if adapted is not None:
            show_adapters(adapted, file=sys.stdout)


def _check_shared(world: World, file: str | None, *, adapting: bool) -> None:
    """Raise ConfigError for what one process measures alone."""
    from lmkit.errors import ConfigError

    if world.alone:
        return
    if adapting:
        raise ConfigError(
            "Test-time adapters and mixtures are measured in one process: leave them out, or leave torchrun out."
        )
    world.check_readable_by_all(file or "")


def _choose(text: str, split: str | None, file: str | None, run: Path) -> tuple[str | None, str | None]:
    """Split and file, where a text was given as an argument."""
    from lmkit.errors import ConfigError
    from lmkit.files import exists

    if file is not None:
        raise ConfigError(f"Give one text: {text} or --file {file}, not both.")
    if exists(Path(text) / "config.json") and exists(Path(text) / "tokenizer.json"):
        raise ConfigError(f"{text} is a run, not a text: `lmkit compare {run} {text}` compares the two.")
    return (text, None) if text in SPLITS and split is None and not exists(Path(text)) else (split, text)
