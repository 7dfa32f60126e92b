"""``lmkit sweep``: every combination of some options, with several seeds."""

from __future__ import annotations

from pathlib import Path

import click

from lmkit.cli.completers import complete_files
from lmkit.cli.experiment import default_jobs, run_and_show
from lmkit.cli.options import Count, SectionedCommand, progress_line

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("grid", metavar="GRID.toml", type=click.Path(path_type=Path), shell_complete=complete_files)
@click.option("--seeds", type=Count(2), help="Seeds of each combination (default: the grid's, or 3).")
@click.option(
    "--jobs", type=Count(1), help="Processes side by side, one thread each (default: as many as cores, at most 2)."
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder (default: sweeps/GRID).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(grid: Path, seeds: int | None, jobs: int | None, out: Path | None, as_json: bool) -> None:
    """Train every combination of options with several seeds, and rank them by validation.

    \b
    seeds = 3
    [options]                   # of every run, as lmkit train has them
    corpus = "book.txt"
    max_steps = 500
    [grid]                      # every combination of these
    cell = ["gru", "lstm"]
    hidden_size = [64, 128]
    [choose]                    # the best of these for each combination
    lr = [1e-3, 3e-3, 1e-2]

    Each run is kept as soon as it is made: after Ctrl-C, or a crash, the same command continues.
    """
    line = progress_line()
    from lmkit.experiments.sweep import Sweep, read_grid

    sweep = Sweep(read_grid(grid))
    folder = out or Path("sweeps") / grid.stem
    run_and_show(sweep, sweep.scale(seeds), folder, line, jobs=jobs or default_jobs(), as_json=as_json)
