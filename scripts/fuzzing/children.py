"""One lmkit command in a forked child: its own folder, limits on time, memory and disk, and everything it said."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Outcome", "files_under", "fork", "run_command"]

MEMORY = 4 << 30  # bytes of data: generous, the texts and models are tiny
ADDRESSES = 16 << 30
LARGEST_FILE = 1 << 29
NOISE = ("out", "err", "in", "cache", "tmp")  # beside the folder that the command works in


class Outcome(NamedTuple):
    """What a child did. code: None where it had to be killed, negative for a signal of its own. blamed: the exit code
    1 came with a FailedError, or from a check of the doctor's.
    """

    code: int | None
    stdout: bytes
    stderr: str
    seconds: float
    blamed: bool


def fork(work: Callable[[], int], seconds: float) -> int | None:
    """Run ``work`` in a forked child and give its exit code; None where it took longer, and was killed."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    handle = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def run_command(arguments: Sequence[str], folder: Path, stdin: bytes | None, seconds: float) -> Outcome:
    """Run ``lmkit arguments`` in ``folder/work``."""
    for name in ("cache", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "in").write_bytes(stdin or b"")
    start = time.monotonic()
    code = fork(lambda: _command(arguments, folder), seconds)
    blamed = (folder / "blamed").exists()
    out, err = (folder / "out").read_bytes(), (folder / "err").read_text(encoding="utf-8", errors="replace")
    return Outcome(code, out, err, time.monotonic() - start, blamed)


def _command(arguments: Sequence[str], folder: Path) -> int:
    for number, name, mode in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        handle = os.open(folder / name, mode | (os.O_CREAT | os.O_TRUNC if number else 0))
        os.dup2(handle, number)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), encoding="utf-8")
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w"))) for number in (1, 2))
    os.environ |= {"LMKIT_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    tempfile.tempdir = None
    os.chdir(folder / "work")
    for limit, size in (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_AS, ADDRESSES),
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
    ):
        resource.setrlimit(limit, (size, size))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _note_blame(folder / "blamed")
    try:
        code = _call(arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    return code


def _call(arguments: Sequence[str]) -> int:
    from lmkit.cli import main

    try:
        main.main(list(arguments), prog_name="lmkit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _note_blame(path: Path) -> None:
    """A FailedError, or a doctor's check that failed, leaves a file: exit code 1 is theirs alone."""
    import lmkit.doctor.check as check
    from lmkit.errors import FailedError

    def watch(kind: Any) -> None:
        plain = kind.__init__

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            plain(self, *args, **kwargs)
            if not isinstance(self, check.Check) or self.status == check.FAILED:
                path.touch()

        kind.__init__ = init

    watch(FailedError)
    watch(check.Check)


def files_under(folder: Path) -> dict[str, Any]:
    """Everything below a folder by its relative path: content of files, targets of links, kind of all else."""
    return {path.relative_to(folder).as_posix(): _look(path) for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            yield Path(place, name)


def _look(path: Path) -> Any:
    if path.is_symlink():
        return ("link", os.readlink(path))
    if path.is_file():
        return path.read_bytes() if path.stat().st_size < 1 << 22 else path.stat().st_size
    return "folder" if path.is_dir() else "special"


def clear(folder: Path) -> None:
    """Remove a case's folder, whatever its permissions."""
    shutil.rmtree(folder, ignore_errors=True)
