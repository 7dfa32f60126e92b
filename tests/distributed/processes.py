"""Processes that meet as torchrun's do: children of the one that runs the tests, without the seconds of an import."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lmkit.distributed.launch import VARIABLES, Launch
from lmkit.distributed.world import World
from tests.forks import ended, start

WAIT_SECONDS = 60


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells process ``rank`` of so many on one machine."""
    values = {"rank": rank, "size": size, "local_rank": rank, "local_size": size}
    told = {VARIABLES[name]: str(value) for name, value in values.items()}
    return {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def in_processes(size: int, work: Callable[[World], Any], folder: Path) -> list[Any]:
    """What ``work`` gives in each process of a world of so many."""
    port = free_port()
    children = []
    for rank in range(size):
        with open(folder / f"{rank}.log", "wb") as log:

            def run(rank: int = rank) -> None:
                world = World.join(Launch.read())
                torch.save(work(world), folder / f"{rank}.pt")
                world.leave()

            told = variables(rank, size, port)
            children.append(start(run, folder, stdout=log.fileno(), stderr=log.fileno(),
                                  before=lambda told=told: os.environ.update(told)))  # fmt: skip
    codes = [ended(child) for child in children]
    logs = "\n".join((folder / f"{rank}.log").read_text() for rank in range(size))
    assert codes == [0] * size, logs
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
