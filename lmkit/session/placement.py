"""Where and how exactly a training is computed: device, precision, threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lmkit.config import ModelConfig
from lmkit.hardware import choose_device, choose_threads
from lmkit.model.precision import choose_precision

__all__ = ["Placement", "placement_options"]


@dataclass(frozen=True)
class Placement:
    """Where and how exactly it is computed; torch has been told the number of threads."""

    device: torch.device
    precision: torch.dtype
    threads: int

    @classmethod
    def choose(cls, device: str, precision: str, threads: int | None, model: ModelConfig) -> Placement:
        """The placement that the options name, ``auto`` and None filled in. Raises ConfigError where it is not there,
        or cannot compute this model so.
        """
        chosen = choose_device(device)
        placement = cls(chosen, choose_precision(precision, chosen, model), choose_threads(threads))
        torch.set_num_threads(placement.threads)
        return placement


def placement_options(placement: Placement) -> dict[str, Any]:
    """Device, precision and threads, as options name them."""
    precision = str(placement.precision).removeprefix("torch.")
    return {"device": str(placement.device), "threads": placement.threads, "precision": precision}
