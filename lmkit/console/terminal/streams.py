"""Standard output and standard error that may refuse: a message that cannot be shown is dropped and ends no work, a
result that cannot be printed is an error.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from lmkit.errors import FailedError

__all__ = ["messages", "standard_streams"]


class Messages:
    """A stream for messages. What a full disk, a closed terminal or a closed pipe refuses is dropped: the work that the
    message speaks of continues.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As a file's."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: somebody has closed it
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As a file's."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Results:
    """A stream for results. A refusal raises FailedError, or BrokenPipeError where the reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As a file's."""
        if text == "":  # click looks so whether it may write text; a full disk refuses even this
            return 0
        with _refusals():
            return self._stream.write(text)

    def flush(self) -> None:
        """As a file's."""
        with _refusals():
            self._stream.flush()

    def end(self) -> None:
        """Write what is left, or drop it where it is refused: the end of the program would complain of it again."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror or error
        raise FailedError(f"Standard output cannot be written: {reason}.") from error


def messages(stream: TextIO) -> TextIO:
    """The stream as one for messages, which never raises."""
    return cast(TextIO, stream if isinstance(stream, Messages) else Messages(stream))


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """For a program: standard error never raises, a refusal of standard output is one sentence, closed streams are
    opened. Text goes out as UTF-8 whatever the system's encoding is, the names of files as the bytes that they are;
    messages never fail for a character.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _stand_in(mode))
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    results, sys.stderr = Results(sys.stdout), messages(sys.stderr)
    sys.stdout = cast(TextIO, results)
    try:
        yield
    finally:
        results.end()


def _stand_in(mode: str) -> TextIO:
    """A stream that replaces one that was closed before the program began: reading finds nothing, writing is refused.
    It takes the free number, which else the next file would get, and with it what libraries write to standard error.
    """
    return cast(TextIO, open(os.open(os.devnull, os.O_RDONLY), mode, encoding="utf-8", closefd=False))
