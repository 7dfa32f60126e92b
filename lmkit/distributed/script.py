"""The processes of a Python script that torchrun has started."""

from __future__ import annotations

import atexit
from functools import cache

from lmkit.distributed.launch import Launch
from lmkit.distributed.world import World
from lmkit.errors import ConfigError

__all__ = ["world_of_script"]


def world_of_script() -> World:
    """All processes of this script, which call this together; this one alone where torchrun has started no others. They
    meet at the first call and stay together to the end of the script. Raises as ``World.join``, and ConfigError where
    torch's process group is another's.
    """
    launch = Launch.read()
    return World(launch) if launch.size == 1 else _joined(launch)


@cache
def _joined(launch: Launch) -> World:
    import torch.distributed as dist

    if dist.is_initialized():
        raise ConfigError("This process has a process group of torch already: leave that to lmkit.")
    world = World.join(launch, stays=True)
    atexit.register(world.leave)
    return world
