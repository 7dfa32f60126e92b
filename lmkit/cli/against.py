"""``--against``: the runs before it, one group, are compared with all runs that follow it, the baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lmkit.cli.completers import complete_runs
from lmkit.cli.options import SectionedCommand

__all__ = ["CommandWithGroups", "against_option"]

AGAINST = "--against"
F = TypeVar("F", bound=Callable[..., Any])


class CommandWithGroups(SectionedCommand):
    """A command whose --against takes all runs that follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread_out(args))


def against_option(function: F) -> F:
    """Add --against, for a ``CommandWithGroups``."""
    return click.option(
        AGAINST,
        type=click.Path(path_type=Path),
        multiple=True,
        shell_complete=complete_runs,
        help="Compare groups, each with several seeds: the runs before this option with those after it, the baseline.",
    )(function)


def _spread_out(args: list[str]) -> list[str]:
    """``--against A1 A2`` as click knows it: ``--against A1 --against A2``."""
    spread: list[str] = []
    within = False
    for word in args:
        within = word.partition("=")[0] == AGAINST or (within and not word.startswith("-"))
        if word == AGAINST:
            continue
        spread += [AGAINST, word.removeprefix(f"{AGAINST}=")] if within else [word]
    return spread if AGAINST not in args or AGAINST in spread else args
