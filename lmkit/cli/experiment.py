"""``lmkit experiment``: what the teaching claims, measured."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli.completers import complete_corpora
from lmkit.cli.options import Count, SectionedCommand, progress_line
from lmkit.errors import ConfigError

if TYPE_CHECKING:
    from lmkit.console.terminal.progress import ProgressLine
    from lmkit.experiments.contract.experiment import Experiment
    from lmkit.experiments.contract.scale import Scale

__all__ = ["command", "default_jobs", "run_and_show"]

MOST_JOBS = 2


@click.command(cls=SectionedCommand)
@click.argument("name", required=False)
@click.option(
    "--list", "show_list", is_flag=True, help="List the experiments, or NAME alone: claims, minutes, question."
)
@click.option("--quick", is_flag=True, help="A few seconds, to see that it works: the verdicts are no findings.")
@click.option("--seeds", type=Count(2), help="Seeds of each arm (default: the experiment's own).")
@click.option("--data", "corpus", shell_complete=complete_corpora, help="A text of your own: a file, or a corpus.")
@click.option(
    "--jobs", type=Count(1), help="Processes side by side, one thread each (default: as many as cores, at most 2)."
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder (default: experiments/NAME).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    name: str | None,
    show_list: bool,
    quick: bool,
    seeds: int | None,
    corpus: str | None,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure what the teaching of recurrent networks claims, and say whether it holds.

    Each run is kept as soon as it is made: after Ctrl-C, or a crash, the same command continues. The folder has
    report.md with tables and pictures, and result.json with every run.
    """
    if name is None and not show_list:
        raise ConfigError("Name an experiment: `lmkit experiment --list` shows them.")
    line = progress_line()
    from lmkit.experiments.catalogue import EXPERIMENTS, experiment_named
    from lmkit.experiments.engine.engine import default_folder, scale_of

    chosen = list(EXPERIMENTS.values()) if name is None else [experiment_named(name)]
    if show_list:
        line.end()
        _list(chosen, as_json)
        return
    (experiment,) = chosen
    scale = scale_of(experiment, quick=quick, seeds=seeds, corpus=_absolute(corpus))
    folder = out or default_folder(experiment, scale)
    run_and_show(experiment, scale, folder, line, jobs=jobs or (1 if quick else default_jobs()), as_json=as_json)


def default_jobs() -> int:
    """As many processes as the machine has cores, at most two: each takes the memory of a training."""
    return max(1, min(MOST_JOBS, os.cpu_count() or 1))


def run_and_show(
    experiment: Experiment, scale: Scale, folder: Path, line: ProgressLine, *, jobs: int, as_json: bool
) -> None:
    """Make an experiment and print its result; after a signal say what is done, and end with its number."""
    from lmkit.console.experiment import show_result
    from lmkit.experiments.contract.interruption import Interrupted, Interruption
    from lmkit.experiments.engine.engine import run_experiment

    interruption = Interruption()
    try:
        with interruption.listening():
            result = run_experiment(experiment, scale, folder, jobs=jobs, progress=line, interruption=interruption)
    except Interrupted:
        line.end()
        click.echo(f"Interrupted. What is done is kept in {folder}: the same command continues.", err=True)
        raise SystemExit(128 + (interruption.asked or signal.SIGINT)) from None
    line.end()
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        show_result(result, folder, file=sys.stdout)


def _absolute(corpus: str | None) -> str | None:
    from lmkit.session.setup import absolute_corpus

    return None if corpus is None else absolute_corpus(corpus)


def _list(experiments: list[Experiment], as_json: bool) -> None:
    from lmkit.console.experiment import show_experiments

    if not as_json:
        show_experiments(experiments, file=sys.stdout)
        return
    for one in experiments:
        shown = {"name": one.name, "title": one.title, "claims": one.claims, "question": one.question}
        click.echo(json.dumps({**shown, "rule": one.rule, "minutes": one.minutes, "seeds": one.seeds}))
