"""Groups of commands whose modules are imported when a command is called, so that help is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from lmkit.cli.hints import no_such_command

__all__ = ["LazyGroup", "no_underscores"]


class LazyGroup(click.Group):
    """Commands of a package, one module each with a ``command`` in it.

    home: the package. known: what each command is for. aliases: other names that are taken.
    """

    def __init__(
        self, *args: Any, home: str, known: Mapping[str, str], aliases: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.home, self.known, self.aliases = home, known, aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.known:
            return None
        command: click.Command = importlib.import_module(f"{self.home}.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text + self._also(name)) for name, text in self.known.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = [*self.known, *self.aliases]
        if args and not ctx.resilient_parsing and not args[0].startswith("-") and no_underscores(args[0]) not in known:
            ctx.fail(no_such_command(args[0], known, self.known))
        return super().resolve_command(ctx, args)

    def _also(self, name: str) -> str:
        others = [alias for alias, command in self.aliases.items() if command == name]
        return f" (also: {', '.join(others)})" if others else ""


def no_underscores(name: str) -> str:
    """``--batch_size`` and ``--batch-size`` are one option."""
    return name.replace("_", "-")
