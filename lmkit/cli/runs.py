"""The run that a command works on, as people name it."""

from __future__ import annotations

from pathlib import Path

from lmkit.errors import ConfigError

__all__ = ["only_run"]

SHOWN = 5


def only_run(command: str) -> Path:
    """The run of a command that names none: the only one in ``runs``. Raises ConfigError where there are none or
    several.
    """
    from lmkit.run.directory import newest_runs

    runs = newest_runs()
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise ConfigError("There is no run in the folder runs yet: `lmkit train TEXT` makes one.")
    names = ", ".join(run.name for run in runs[:SHOWN])
    more = f" and {len(runs) - SHOWN} older ones" if len(runs) > SHOWN else ""
    raise ConfigError(f"Name a run, as in `lmkit {command} {runs[0].name}`. In runs there are {names}{more}.")
