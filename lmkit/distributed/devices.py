"""Which device of a machine is whose."""

from __future__ import annotations

import torch

from lmkit.distributed.launch import Launch
from lmkit.errors import ConfigError

__all__ = ["take_own_device"]


def take_own_device(device: torch.device, launch: Launch) -> None:
    """Make ``cuda`` the GPU of this process, where there are several processes. Raises ConfigError where there is none
    for it.
    """
    if launch.size == 1:
        return
    if device.type == "mps":
        raise ConfigError("Several processes compute on CPUs or CUDA GPUs: give --device cpu.")
    if device.type == "cuda":
        if launch.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{launch.local_size} processes on one machine need a GPU each, and it has "
                f"{torch.cuda.device_count()}: start fewer, or give --device cpu."
            )
        torch.cuda.set_device(launch.local_rank)
