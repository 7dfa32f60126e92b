"""Runs side by side, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from lmkit.errors import FailedError, LmkitError
from lmkit.experiments.contract.interruption import Interrupted, Interruption
from lmkit.experiments.engine.task import Task

__all__ = ["Perform", "in_this_process", "side_by_side"]


class Perform(Protocol):
    """Makes the run of a task and keeps its result; can be pickled."""

    def __call__(self, task: Task, interruption: Interruption) -> None: ...


def in_this_process(perform: Perform, tasks: Sequence[Task], interruption: Interruption) -> Generator[Task]:
    """The tasks as they are done, one after the other, with one thread as a process of its own would have it."""
    import torch

    threads = torch.get_num_threads()
    try:
        for task in tasks:
            torch.set_num_threads(1)
            perform(task, interruption)
            yield task
    finally:
        torch.set_num_threads(threads)


def side_by_side(perform: Perform, tasks: Sequence[Task], jobs: int) -> Generator[Task]:
    """The tasks as they are done, in spawned processes. Where this is left early, they are asked to end, and save what
    they are at.

    Raises what a run raises, and FailedError where a process was killed: its run is not done.
    """
    workers = [_Worker(perform) for _ in range(min(jobs, len(tasks)))]
    waiting, busy = list(tasks), {}
    try:
        for worker in workers:
            task = waiting.pop(0)
            worker.begin(task)
            busy[worker.connection] = (worker, task)
        while busy:
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                worker, task = busy.pop(connection)
                worker.end()
                yield task
                if waiting:
                    worker.begin(following := waiting.pop(0))
                    busy[worker.connection] = (worker, following)
    finally:
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.join()


class _Worker:
    """A process that makes one run after the other."""

    def __init__(self, perform: Perform) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, perform), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def begin(self, task: Task) -> None:
        self.connection.send(task)

    def end(self) -> None:
        """What has become of the task: nothing, or what its run has raised."""
        try:
            error = self.connection.recv()
        except (EOFError, ConnectionError):
            raise FailedError(
                "A process of this experiment was killed, perhaps for want of memory. What is done is kept: the same "
                "command continues."
            ) from None
        if error is not None:
            raise error

    def dismiss(self) -> None:
        if self._process.is_alive():
            self._process.terminate()

    def join(self) -> None:
        self._process.join()
        self.connection.close()


def _serve(connection: Connection[Any, Any], perform: Perform) -> None:
    """The life of a process: a task comes, and None goes back when it is done, or what was raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent asks once
    interruption = Interruption()
    import torch

    torch.set_num_threads(1)
    try:
        with interruption.listening(signal.SIGTERM):
            while True:
                task = connection.recv()
                connection.send(_error_of(perform, task, interruption))
    except (Interrupted, EOFError, ConnectionError):
        return


def _error_of(perform: Perform, task: Task, interruption: Interruption) -> Exception | None:
    try:
        perform(task, interruption)
    except LmkitError as error:
        return error
    except Exception:  # a bug: its traceback is in this process, and not every exception can be sent
        return RuntimeError(f"in the run {task.name}:\n{traceback.format_exc()}")
    return None
