"""Options that belong to one value of another option, as a decay belongs to an optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmkit.errors import ConfigError
from lmkit.fields import alternatives, flag_of

__all__ = ["check_owned", "filled"]


def filled(section: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a section, with a default where one is None."""
    chosen = {name: getattr(section, name) for name in defaults}
    return {name: default if chosen[name] is None else chosen[name] for name, default in defaults.items()}


def check_owned(section: Any, owner: str, table: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ConfigError for an option that the chosen value of ``owner`` does not have, by the table of those that it
    does.
    """
    kind = getattr(section, owner)
    for item in dataclasses.fields(section):
        takers = [name for name, options in table.items() if item.name in options]
        if takers and getattr(section, item.name) is not None and kind not in takers:
            raise ConfigError(f"{flag_of(item)} needs --{owner} {alternatives(takers)}: {kind} does not have it.")
