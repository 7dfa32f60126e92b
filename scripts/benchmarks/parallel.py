"""Training in two processes of one thread against one process of two threads."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from functools import partial

from benchmarks.case import Case, Settings, Step
from benchmarks.train import NETWORKS, Network, own

PROCESSES = 2


def threads(network: Network, settings: Settings) -> Step:
    """One process."""
    return own(network, "float32", replace(settings, threads=PROCESSES))


def processes(network: Network, settings: Settings) -> Step:
    """As many processes; the others step whenever this one does, and wait for its word as those of a session do: one
    that went ahead would compute while the other side is measured.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [rank for rank in range(1, PROCESSES) if os.fork() == 0]  # before torch is loaded
    rank = ranks[0] if ranks else 0
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR")
    os.environ.update(zip(names, map(str, (rank, rank, PROCESSES, PROCESSES, port, "127.0.0.1")), strict=True))
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"

    from lmkit.distributed.launch import Launch
    from lmkit.distributed.world import World

    world = World.join(Launch.read())
    take = own(network, "float32", replace(settings, threads=1), world)

    def step() -> float:
        world.largest(0)
        return take()

    if rank == 0:
        return step
    with contextlib.suppress(RuntimeError):  # the first process has ended
        while True:
            step()
    os._exit(0)


CASES = [
    Case(
        f"processes/{name}", "tokens", "two threads", partial(threads, network), partial(processes, network), alike=True
    )
    for name, network in NETWORKS.items()
]
