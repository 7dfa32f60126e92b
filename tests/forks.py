"""lmkit in a child of the process that runs the tests: a program of its own, without the seconds that imports take.

One thread only: those that a product begins in the parent are not there in the child, and it would wait for them.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from lmkit.cli import main

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def start(
    program: Sequence[str] | Callable[[], object],
    folder: Path,
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    before: Callable[[], None] = lambda: None,
) -> int:
    """Begin ``lmkit PROGRAM``, or call it, in a folder; the child's process number. Streams are open files, by default
    those that hold and keep nothing. before: called in the child, when its streams are in place.
    """
    import torch._dynamo  # noqa: F401  slow, and torch does it behind the scenes: once here, not in each child

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that the process has threads
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        gc.freeze()  # what is shared with the parent is not tidied up
        os.chdir(folder)
        _direct(stdin, stdout, stderr)
        _as_at_the_start()
        os.environ["OMP_NUM_THREADS"] = "1"  # unless a program says otherwise
        before()
        program() if callable(program) else main(program, prog_name="lmkit")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            code = _flushed(code)
        finally:
            os._exit(code)


def ended(child: int) -> int:
    """Wait for the end of a child: its exit code, or minus the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _direct(*handles: int | None) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number, handle in enumerate(handles):
        os.dup2(null if handle is None else handle, number)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout, sys.stderr = map(writer, (1, 2))


def writer(handle: int) -> io.TextIOWrapper:
    """Text that is written to an open file, a line at a time."""
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(handle, "w", closefd=False)), "utf-8", line_buffering=True)


def _as_at_the_start() -> None:
    """Signals and warnings as in an interpreter that has just begun; the tests' process has others."""
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def _flushed(code: int) -> int:
    """As an interpreter does at its end: what is left is written, and where that is refused the exit code is 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except Exception as error:
                with contextlib.suppress(OSError):
                    os.write(2, f"Exception ignored: {error!r}\n".encode())
                code = 120
    return code
