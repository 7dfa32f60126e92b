"""``lmkit doctor``: is this run sound, and is this text fit to train on?"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.completers import complete_presets, complete_runs
from lmkit.cli.options import SectionedCommand, config_options, make_config, progress_line, use_runtime

if TYPE_CHECKING:
    from lmkit.config import Config
    from lmkit.console.terminal.progress import ProgressLine
    from lmkit.doctor.check import Check

__all__ = ["command"]


SHORT = ("corpus", "tokenizer", "hidden_size", "num_layers", "window", "batch_size", "device", "preset", "as_json")


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@config_options
@click.option(
    "--preset", shell_complete=complete_presets, help="With --corpus: start from a preset, see `lmkit info --presets`."
)
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="With --corpus: options from a TOML file."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path | None, preset: str | None, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Check a run, or with --corpus a text before training on it.

    A run: its files and their hashes, finite weights, the tokenizer's round trip, causality, carried windows = one
    pass, independence of rows, starts in mid-text, probabilities that sum to one. A text: faults of UTF-8 with their
    offsets, line endings, size against --batch-size and --window, unknown tokens, written special tokens, duplicate
    lines, overlap between the splits, and an estimate of parameters, memory and time. Takes the options of `lmkit
    train`.

    The exit code is 1 if a check fails.
    """
    line = progress_line()
    from lmkit.console.doctor import show_checks
    from lmkit.doctor.check import FAILED

    use_runtime(given.get("device"), given.get("threads"))
    with _checks(run, preset, config_file, given, line) as checks:
        done = list(checks) if as_json else show_checks(checks, file=sys.stdout, line=line)
    line.end()
    failed = [check for check in done if check.status == FAILED]
    if as_json:
        click.echo(json.dumps({"passed": not failed, "checks": [check.as_dict() for check in done]}))
    if failed:
        raise SystemExit(1)


@contextlib.contextmanager
def _checks(
    run: Path | None, preset: str | None, config_file: Path | None, given: Mapping[str, Any], line: ProgressLine
) -> Iterator[Iterator[Check]]:
    from lmkit.doctor.corpus.corpus import check_corpus
    from lmkit.doctor.run.run import check_run
    from lmkit.errors import ConfigError
    from lmkit.files import is_file
    from lmkit.text.sources.opening import spool

    if run is not None and given.get("corpus") is None and is_file(run):  # a run is a folder: this is a text
        run, given = None, {**given, "corpus": str(run)}
    if run is not None:
        others = [name for name, value in given.items() if value is not None and name not in ("device", "threads")]
        if others or preset or config_file:
            raise ConfigError("Give a run folder or the options of a training to come, such as --corpus, not both.")
        yield check_run(run, given.get("device") or "auto", progress=line)
        return
    if given.get("corpus") is None and preset is None and config_file is None:
        raise ConfigError("Give a run folder, as in `lmkit doctor runs/pydoc-1`, or a text with --corpus.")
    config: Config = make_config(preset, config_file, given)
    with spool() if config.data.corpus == "-" else contextlib.nullcontext(config.data.corpus) as corpus:
        yield check_corpus(config.override({"corpus": str(corpus)}), progress=line)
