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

Join = Callable[[], World]


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells process ``rank`` of so many on one machine."""
    values = {"rank": rank, "size": size, "local_rank": rank, "local_size": size}
    told = {VARIABLES[name]: str(value) for name, value in values.items()}
    return {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at."""
    found = [socket.socket() for _ in range(number)]
    try:
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in found]
    finally:
        for one in found:
            one.close()


def in_processes(size: int, work: Callable[[Join], Any], folder: Path, *, worlds: int = 1) -> list[Any]:
    """What ``work`` gives in each of so many processes; it may join a world as often as ``worlds`` says."""
    ports = free_ports(worlds)
    children = []
    for rank in range(size):
        with open(folder / f"{rank}.log", "wb") as log:

            def run(rank: int = rank) -> None:
                coming = iter(ports)
                os.environ.update(variables(rank, size, ports[0]))

                def join() -> World:
                    os.environ.update(variables(rank, size, next(coming)))
                    return World.join(Launch.read())

                torch.save(work(join), folder / f"{rank}.pt")

            children.append(start(run, folder, stdout=log.fileno(), stderr=log.fileno()))
    codes = [ended(child) for child in children]
    logs = "\n".join((folder / f"{rank}.log").read_text() for rank in range(size))
    assert codes == [0] * size, logs
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
