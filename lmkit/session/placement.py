"""Where and how exactly a training is computed: device, precision, threads, and with which other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from lmkit.config import Config, ModelConfig
from lmkit.distributed.devices import take_own_device
from lmkit.distributed.world import ALONE, World
from lmkit.hardware import choose_device, choose_threads
from lmkit.model.precision import choose_precision

__all__ = ["Placement", "placement_options"]


@dataclass(frozen=True)
class Placement:
    """Where and how exactly it is computed; torch has been told the number of threads. world: the processes that
    compute it together, each on its own device.
    """

    device: torch.device
    precision: torch.dtype
    threads: int
    world: World = field(default=ALONE, compare=False)

    @classmethod
    def of(cls, config: Config, world: World = ALONE) -> Placement:
        """The placement of a configuration. Raises as ``choose``."""
        runtime = config.runtime
        return cls.choose(runtime.device, runtime.precision, runtime.threads, config.model, world)

    @classmethod
    def choose(
        cls, device: str, precision: str, threads: int | None, model: ModelConfig, world: World = ALONE
    ) -> Placement:
        """The placement that the options name, ``auto`` and None filled in. Raises ConfigError where it is not there,
        or cannot compute this model so.
        """
        chosen = choose_device(device)
        take_own_device(chosen, world.launch)
        chosen_threads = choose_threads(threads, world.launch.local_size)
        placement = cls(chosen, choose_precision(precision, chosen, model), chosen_threads, world)
        torch.set_num_threads(placement.threads)
        return placement


def placement_options(placement: Placement) -> dict[str, Any]:
    """Device, precision and threads, as options name them."""
    precision = str(placement.precision).removeprefix("torch.")
    return {"device": str(placement.device), "threads": placement.threads, "precision": precision}
