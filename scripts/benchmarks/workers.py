"""Workers: a process for each side, which stays alive and works when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.case import Settings

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Worker:
    """A side in a process of its own, ready when it is made; as a context manager it ends with the block."""

    def __init__(self, script: Path, case: str, side: str, settings: Settings, clock: str) -> None:
        task = json.dumps({"case": case, "side": side, "clock": clock, "settings": asdict(settings)}, default=str)
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--worker", task], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._name = f"{case}, side {side}"
        try:
            self._answer()  # it is set up, and warm
        except SystemExit:
            self.__exit__()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, seconds: float) -> float:
        """Work for about so long; units of work a second."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer is missing then, too
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        answer = self._answer()
        return answer["work"] / answer["seconds"]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The worker of {self._name} ended with {self._process.wait()}: see its error above.")
        return json.loads(line)


def serve(task: str) -> None:
    """The life of a worker: set up, warm up, then a slice of work for each line on standard input."""
    from benchmarks.registry import case_of

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the work prints is no answer
    given = json.loads(task)
    settings = Settings(**given["settings"])
    with tempfile.TemporaryDirectory() as folder:
        case, side = case_of(given["case"]), given["side"]
        prepare(settings, as_lmkit=case.alike or side == "own")
        step = case.side(side, replace(settings, folder=Path(folder)))
        clock = CLOCKS[given["clock"]]
        step()
        print("{}", file=answers, flush=True)
        for line in sys.stdin:
            started, work = clock(), 0.0
            while (seconds := clock() - started) < float(line) or not work:
                work += step()
            print(json.dumps({"work": work, "seconds": seconds}), file=answers, flush=True)


def prepare(settings: Settings, *, as_lmkit: bool) -> None:
    """Before torch is loaded: the threads, and for lmkit what its command line does."""
    from lmkit.hardware import keep_freed_memory, wait_politely

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(settings.threads)
    if as_lmkit:
        keep_freed_memory()
        wait_politely()
