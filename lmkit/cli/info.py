"""``lmkit info``: what a run folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lmkit.cli.options import SectionedCommand, preset_names
from lmkit.cli.runs import only_run

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--presets", is_flag=True, help="List the presets that come with lmkit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path | None, presets: bool, as_json: bool) -> None:
    """Show a run's configuration, corpus, size and validations, or list the presets."""
    if presets:
        from lmkit.console.tables import show_presets

        click.echo(json.dumps(preset_names())) if as_json else show_presets(preset_names())
        return
    from lmkit.console.tables import show_run
    from lmkit.run import RunDirectory

    folder = RunDirectory.open(run or only_run("info"))
    if as_json:
        click.echo(json.dumps({"config": folder.config().to_dict(), "run": folder.info(), "metrics": folder.metrics()}))
    else:
        show_run(folder)
