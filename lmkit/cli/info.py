"""``lmkit info``: what a run folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lmkit.cli.options import preset_names

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--presets", is_flag=True, help="List the presets that come with lmkit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path | None, presets: bool, as_json: bool) -> None:
    """Show a run's configuration, corpus, size and validations, or list the presets."""
    from lmkit.errors import ConfigError

    if presets:
        from lmkit.console.tables import show_presets

        click.echo(json.dumps(preset_names())) if as_json else show_presets(preset_names())
        return
    if run is None:
        raise ConfigError("Give a run folder, as in `lmkit info runs/pydoc-1`, or --presets.")
    from lmkit.console.tables import show_run
    from lmkit.run import RunDirectory

    folder = RunDirectory.open(run)
    if as_json:
        click.echo(json.dumps({"config": folder.config().to_dict(), "run": folder.info(), "metrics": folder.metrics()}))
    else:
        show_run(folder)
