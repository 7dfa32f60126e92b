"""``lmkit classify``: classifiers of texts, one file a command, imported when the command is called."""

from __future__ import annotations

import importlib

import click

from lmkit.cli.hints import no_such_command

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "train": "Train a classifier on labelled texts.",
}


class _Group(click.Group):
    """Loads a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lmkit.cli.classify.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(no_such_command(args[0], list(COMMANDS), COMMANDS))
        return super().resolve_command(ctx, args)


@click.group(cls=_Group)
def command() -> None:
    """Train, measure and use classifiers of texts: intents, sentiments, topics.

    \b
    lmkit classify train --data train.csv                   on a file of texts and labels
    lmkit classify train --data train.csv --encoder RUN     on top of a language model
    """
