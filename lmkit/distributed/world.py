"""The processes of one training or measurement, and what they do together. One process alone is a world, too, where all
of it is nothing, so that there is one path.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmkit.distributed.launch import Launch
from lmkit.errors import ConfigError, FailedError, LmkitError, LostProcessError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

__all__ = ["ALONE", "Dismissed", "World", "store_of_torchrun"]

# Before they have met: torchrun ends the others where a process ends; without it they wait, and torch tries twice.
STARTING, UNWATCHED = timedelta(seconds=120), timedelta(seconds=20)
# A process that has ended is noticed at once: its connections are closed. These are for machines that vanish: longer
# than a step, and longer than a measurement in the first process or the first reading of a text.
STEPPING = timedelta(minutes=10)
WAITING = timedelta(hours=6)
ASKING = timedelta(seconds=5)
OF_THE_NETWORK = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


class Dismissed(Exception):
    """The first process ends early, has said why, and the others are to end with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class World:
    """The processes that work together. Every method is called by all of them, in the same order.

    launch: which one this is. store: where they find each other. gradients: the group of what a step adds up. control:
    that of all else, where a process may wait long for the first one. stays: whether the processes stay together after
    a training, for the next one.
    """

    launch: Launch = field(default_factory=Launch)
    store: Store | None = None
    control: ProcessGroup | None = None
    gradients: ProcessGroup | None = None
    stays: bool = False

    @classmethod
    def join(cls, launch: Launch, *, stays: bool = False) -> World:
        """Meet the other processes of a launch. Raises ConfigError where the port is in use, FailedError where not all
        come, and LostProcessError where the first one does not.
        """
        if launch.size == 1:
            return cls(launch)
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import _set_pg_timeout
        from torch.distributed.rendezvous import rendezvous

        if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise ConfigError(f"WORLD_SIZE is {launch.size} and there is no MASTER_ADDR and MASTER_PORT: use torchrun.")
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        patience = STARTING if "TORCHELASTIC_RUN_ID" in os.environ else UNWATCHED
        store: Store | None = None
        try:
            store, rank, size = next(rendezvous("env://", timeout=patience))
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=patience)
            has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
            both = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
            control, gradients = (dist.new_group(backend=name, timeout=patience) for name in ("gloo", both))
            _set_pg_timeout(WAITING, control)  # and not before: who dies while a group is made is noticed by this
            _set_pg_timeout(STEPPING, gradients)
        except RuntimeError as error:
            if "EADDRINUSE" in str(error):
                raise ConfigError(
                    f"{address}, where the processes are to meet, is in use: give another port."
                ) from error
            kind = LostProcessError if store is None else FailedError
            raise kind(
                f"The {launch.size} processes have not met at {address} within {patience.seconds} seconds: start all "
                "with torchrun."
            ) from error
        return cls(launch, store, control, gradients, stays)

    @property
    def rank(self) -> int:
        """The number of this process, from 0 on."""
        return self.launch.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.launch.size

    @property
    def alone(self) -> bool:
        """Whether this process is the only one."""
        return self.launch.size == 1

    @property
    def main(self) -> bool:
        """Whether this is the first process, which writes and speaks for all."""
        return self.launch.rank == 0

    def rows(self, number: int) -> slice:
        """Which of so many rows are this process's: parts behind each other, as equal as can be."""
        short, longer = divmod(number, self.size)
        begin = self.rank * short + min(self.rank, longer)
        return slice(begin, begin + short + (self.rank < longer))

    def home(self, row: int, number: int) -> tuple[int, int]:
        """Which process has one of so many rows, and which of that process's own it is."""
        short, longer = divmod(number, self.size)
        if row < longer * (short + 1):
            return divmod(row, short + 1)
        rank, place = divmod(row - longer * (short + 1), short)
        return longer + rank, place

    def sum(self, *values: Tensor | float) -> tuple[Any, ...]:
        """Each of the values added up over the processes: 0-d tensors, in float64; alone the values as they are."""
        if self.alone:
            return values
        import torch.distributed as dist

        device = next((value.device for value in values if isinstance(value, Tensor)), torch.device("cpu"))
        total = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values])
        dist.all_reduce(total, group=self.gradients)
        return tuple(total)

    def largest(self, *values: int) -> tuple[int, ...]:
        """The largest of each value over the processes."""
        if self.alone:
            return values
        import torch.distributed as dist

        found = torch.tensor(values)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return tuple(found.tolist())

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in each of them. Raises Dismissed where the first one dismisses the others."""
        if self.alone:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.control)
        if isinstance(found[0], Dismissed):
            raise found[0]
        return found

    def dismiss(self, code: int) -> None:
        """The first process ends early, and the others with this exit code. It calls this alone, where they gather next
        or have ended.
        """
        with contextlib.suppress(Dismissed, RuntimeError):
            self.gather(Dismissed(code))

    def broadcast(self, value: Any) -> Any:
        """The first process's value; what the others give does not count."""
        if self.alone:
            return value
        import torch.distributed as dist

        found = [value if self.main else None]
        dist.broadcast_object_list(found, group=self.control)
        return found[0]

    def all_rows(self, own: Tensor) -> Tensor:
        """The rows of all processes (B, ...), of each one's own."""
        return own if self.alone else torch.cat(self.gather(own.cpu())).to(own.device)

    def own_rows(self, rows: Tensor) -> Tensor:
        """This process's rows of all (B, ...)."""
        return rows if self.alone else rows[self.rows(len(rows))].clone()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What one process cannot do inside, all have not done: an LmkitError of one is raised in each of them."""
        error: LmkitError | None = None
        try:
            yield
        except LmkitError as caught:
            if self.alone:
                raise
            error = caught
        if not self.alone:
            found = [one for one in self.gather(error) if one is not None]
            if found:
                raise found[0]

    def check_readable_by_all(self, *names: str) -> None:
        """Raise ConfigError where one of the texts, ``-``, is standard input and there are several processes."""
        if "-" in names and not self.alone:
            raise ConfigError("Several processes cannot share standard input: give the text as a file.")

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Raise ConfigError where a process has another value under one of the names than the first one."""
        first, *others = self.gather(dict(values))
        for rank, other in enumerate(others, 1):
            for name in first:
                if other[name] != first[name]:
                    raise ConfigError(
                        f"The {name} of process {rank} differs from that of process 0: all processes need the same."
                    )

    @contextlib.contextmanager
    def watched(self, lost: str) -> Iterator[None]:
        """Raises LostProcessError with a sentence where another process ends while this one waits for it inside."""
        try:
            yield
        except RuntimeError as error:
            if self.alone or not _is_of_the_network(error):
                raise
            raise LostProcessError(lost) from error

    def is_first_to(self, name: str) -> bool:
        """Whether no other process has asked this under the name before; also where that cannot be found out."""
        if self.store is None:
            return True
        try:
            self.store.set_timeout(ASKING)
            return self.store.add(f"lmkit/{name}", 1) == 1
        except RuntimeError:
            return True

    def part(self) -> None:
        """A training is over in this process: leave, unless the processes stay together."""
        if not self.stays:
            self.leave()

    def leave(self) -> None:
        """Close the connections; more than once does no harm."""
        if not self.alone:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.destroy_process_group()


def store_of_torchrun() -> Store | None:
    """What torchrun keeps for its processes, also before they have met; None where there is none."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch._C._distributed_c10d import TCPStore

    try:
        return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=ASKING)
    except RuntimeError:
        return None


def _is_of_the_network(error: RuntimeError) -> bool:
    import torch.distributed as dist

    named: Sequence[type[Exception]] = (dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError)
    return isinstance(error, tuple(named)) or any(word in str(error) for word in OF_THE_NETWORK)


ALONE = World()
