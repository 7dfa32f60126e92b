"""``--against``: the runs before it, one group, are compared with all runs that follow it, the baseline."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container
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
        return super().parse_args(ctx, _spread_out(args, self._flags_with_values(ctx)))

    def _flags_with_values(self, ctx: click.Context) -> set[str]:
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        return {flag for one in options if not (one.is_flag or one.count) for flag in one.opts}


def against_option(function: F) -> F:
    """Add --against, for a ``CommandWithGroups``."""
    return click.option(
        AGAINST,
        type=click.Path(path_type=Path),
        multiple=True,
        shell_complete=complete_runs,
        help="Compare groups, each with several seeds: the runs before this option with those after it, the baseline.",
    )(function)


def _spread_out(args: list[str], flags_with_values: Container[str]) -> list[str]:
    """``--against A1 --json A2`` as click knows it: ``--against A1 --json --against A2``. All runs after the first
    --against belong to it, whatever options stand between them.
    """
    words = [part for word in args for part in (word.split("=", 1) if word.startswith(f"{AGAINST}=") else [word])]
    if AGAINST not in words:
        return args
    place = words.index(AGAINST)
    spread, rest = words[:place], iter([word for word in words[place:] if word not in (AGAINST, "--")])
    for word in rest:
        if word.startswith("-"):
            spread += [word, *itertools.islice(rest, 1 if word in flags_with_values else 0)]
        else:
            spread += [AGAINST, word]
    return spread if AGAINST in spread else args  # click says that --against needs a value
