"""What torchrun tells each process that it starts, in variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lmkit.errors import ConfigError

__all__ = ["Launch"]

VARIABLES = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}


@dataclass(frozen=True)
class Launch:
    """Which one of how many processes this is: of all, and of those on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Launch:
        """Of torchrun's variables; the only process where they say nothing of others. Raises ConfigError where they
        contradict each other.
        """
        if environment.get("WORLD_SIZE", "1") == "1":
            return cls()
        given = {name: environment.get(variable, "") for name, variable in VARIABLES.items()}
        if not given["local_size"]:  # a launcher that starts one process in each container
            given |= {"local_rank": given["local_rank"] or "0", "local_size": "1"}
        if not all(value.isdecimal() for value in given.values()):
            raise _contradiction(given)
        found = cls(**{name: int(value) for name, value in given.items()})
        if not (found.rank < found.size and found.local_rank < found.local_size <= found.size):
            raise _contradiction(given)
        return found

    def check_alone(self, what: str) -> None:
        """Raise ConfigError for what one process does, where there are several."""
        if self.size > 1:
            raise ConfigError(f"{what} runs in one process, and torchrun has started {self.size}: leave torchrun out.")


def _contradiction(given: Mapping[str, str]) -> ConfigError:
    shown = ", ".join(f"{variable}={given[name]}" for name, variable in VARIABLES.items())
    return ConfigError(f"The variables that torchrun sets contradict each other ({shown}): start with torchrun.")
