"""``lmkit info``: what a run folder holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from lmkit.cli.completers import complete_runs
from lmkit.cli.options import SectionedCommand
from lmkit.cli.runs import only_run
from lmkit.presets.preset import preset_names, read_preset

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@click.option("--presets", is_flag=True, help="List the presets that come with lmkit, and what each is for.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path | None, presets: bool, as_json: bool) -> None:
    """Show a run's corpus, network, validations, the options that are not the defaults, and whether it is in training,
    interrupted or finished; --json shows every option.
    """
    if presets:
        from lmkit.console.tables import show_presets

        found = [read_preset(name) for name in preset_names()]
        click.echo(json.dumps([dataclasses.asdict(one) for one in found])) if as_json else show_presets(found)
        return
    from lmkit.console.tables import show_run
    from lmkit.run.directory import RunDirectory
    from lmkit.run.summary import RunSummary

    summary = RunSummary.read(RunDirectory.open(run or only_run("info")))
    if as_json:
        config, metrics = summary.config.to_dict(), summary.metrics.records
        values = {"status": summary.status, "config": config, "run": summary.info, "metrics": metrics}
        click.echo(json.dumps(values))
    else:
        show_run(summary)
