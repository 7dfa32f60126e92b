"""``lmkit corpora``: the corpora that lmkit knows by name."""

from __future__ import annotations

import dataclasses
import json

import click

from lmkit.cli.completers import complete_corpora
from lmkit.cli.options import SectionedCommand

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("name", required=False, shell_complete=complete_corpora)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per corpus.")
def command(name: str | None, as_json: bool) -> None:
    """List the corpora that lmkit knows by name, or describe one."""
    import difflib

    from lmkit.console.tables import show_corpora
    from lmkit.errors import CorpusError
    from lmkit.text.sources.registry import load_registry

    entries = load_registry()
    if name is not None and name not in entries:
        close = difflib.get_close_matches(name, list(entries), n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(entries)}."
        raise CorpusError(f"There is no corpus {name}: {hint}")
    chosen = [entries[name]] if name is not None else list(entries.values())
    if as_json:
        for entry in chosen:
            click.echo(json.dumps(dataclasses.asdict(entry)))
    else:
        show_corpora(chosen, whole=name is not None)
