"""From what a person types after ``--corpus`` to a Source."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from lmkit.errors import CorpusError, DataError
from lmkit.files import expanded, is_folder
from lmkit.text.sources.builtin import BUILT_IN
from lmkit.text.sources.generated import GENERATED
from lmkit.text.sources.reading import looks_like_text, read_text, read_utf8
from lmkit.text.sources.registry import load_registry
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["is_at_hand", "local_path", "open_local", "open_source", "spool"]

SPLIT_NAMES = {
    "train": ("train", "wiki.train", "ptb.train"),
    "valid": ("valid", "val", "validation", "wiki.valid", "ptb.valid"),
    "test": ("test", "wiki.test", "ptb.test"),
}
SPLIT_SUFFIXES = (".txt", ".txt.gz", ".txt.zst", ".tokens")
ALWAYS_TEXT = (".txt", ".txt.gz", ".txt.zst")
FILE_SUFFIX = re.compile(r"\.(txt|text|md|rst|csv|tsv|json|jsonl|tokens|raw|py|gz|zst|zip|html?|tex|log)(:|$)", re.I)
OWN_PIPE = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")  # what a shell names for <(command)
HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(:[\w.-]+)?")


@contextlib.contextmanager
def open_source(name: str, *, stdin: BinaryIO | None = None) -> Iterator[Source]:
    """The source that a name stands for; standard input is kept in a temporary file while the context is open.

    In this order: ``-``; a name of the registry (write ./NAME for a file that is called so); a file or folder; a data
    set of the Hugging Face hub, as owner/name or owner/name:config. Raises DataError or CorpusError.
    """
    registry = load_registry()
    kind, _, setting = name.partition(":")
    if kind in GENERATED:
        yield GENERATED[kind](setting)
    elif name in BUILT_IN:
        yield BUILT_IN[name]()
    elif name in registry:
        from lmkit.text.sources.hub import open_dataset

        yield open_dataset(registry[name].source, name=name)
    elif name == "-":
        with open_local(name, stdin=stdin) as source:
            yield source
    elif _exists(name):
        yield _open_path(name)
    else:
        yield _open_remote(name, list(registry))


def is_at_hand(name: str) -> bool:
    """Whether ``open_source`` finds the text of a name again without a network."""
    return name.partition(":")[0] in GENERATED or name in BUILT_IN or local_path(name) is not None


def local_path(name: str) -> Path | None:
    """The file or folder that ``open_source`` would take for a name; None for other names, -, and what is not there."""
    kind = name.partition(":")[0]
    if kind in GENERATED or name in BUILT_IN or name in load_registry() or name == "-" or not _exists(name):
        return None
    return expanded(name)


@contextlib.contextmanager
def open_local(name: str | os.PathLike[str], *, stdin: BinaryIO | None = None) -> Iterator[Source]:
    """The source behind a file, a folder or ``-``, standard input; a pipe that the shell made is read once and kept."""
    if name == "-":
        with spool(stdin) as path:
            yield Source("stdin", "standard input", {WHOLE: [_document("standard input", path)]})
        return
    if OWN_PIPE.fullmatch(str(name)) and Path(name).is_fifo():
        with open(name, "rb") as pipe, spool(pipe) as path:  # zcat text.gz | lmkit ... /dev/stdin, or <(zcat text.gz)
            yield Source("pipe", str(name), {WHOLE: [_document(str(name), path)]})
        return
    yield _open_path(str(name))


def _open_path(name: str) -> Source:
    try:
        path = expanded(name)
        if path.is_dir():
            return _open_folder(path)
        if path.exists():
            return _open_file(path)
    except PermissionError as error:
        raise DataError(f"{error.filename or name} is not readable: check its permissions.") from None
    except (OSError, RuntimeError, ValueError):
        raise DataError(_missing(name)) from None
    raise DataError(_missing(name))


def _open_file(path: Path) -> Source:
    name = path.name.split(".")[0] or path.name
    files = _documents([path], path.parent)
    return Source(name, f"file {path.name}", {WHOLE: files}, [path])


def _open_folder(folder: Path) -> Source:
    name = folder.resolve().name or "folder"
    named = {split: path for split, names in SPLIT_NAMES.items() if (path := _find_split(folder, names))}
    if "train" in named:
        parts = {split: _documents([path], folder) for split, path in named.items()}
        return Source(name, f"folder {name} with {', '.join(named)}", parts, list(named.values()))
    if named:
        found = ", ".join(path.name for path in named.values())
        raise DataError(f"{folder} has {found} but no train.txt: add it, or give one file to be cut into splits.")
    kept, skipped = _find_texts(folder)
    if not kept:
        raise DataError(f"{folder} holds no text files: give a file, or a folder with *.txt files.")
    info = {"files": len(kept), "skipped": [path.relative_to(folder).as_posix() for path in skipped]}
    return Source(name, f"folder {name}, {len(kept)} files", {WHOLE: _documents(kept, folder)}, kept, info=info)


def _find_split(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = [path for name in names for suffix in SPLIT_SUFFIXES if (path := folder / (name + suffix)).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name} for one split: keep one of them.")
    return found[0] if found else None


def _find_texts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files in the order of their relative names: *.txt always, others if they look like text, hidden ones never."""
    files = []
    for directory, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_run(Path(directory, name)))
        files += [Path(directory, name) for name in names if not name.startswith(".")]
    files = sorted((path for path in files if path.is_file()), key=lambda path: path.relative_to(folder).as_posix())
    kept: list[Path] = []
    skipped: list[Path] = []
    for path in files:
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, "not readable", str(path))
        is_text = path.name.endswith(ALWAYS_TEXT) or looks_like_text(path)
        (kept if is_text else skipped).append(path)
    return kept, skipped


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a trained model: what training leaves behind beside its text is no text to train on."""
    return (folder / "tokenizer.json").is_file() and (folder / "config.json").is_file()


def _raise(error: OSError) -> None:
    """A folder that cannot be listed is an error: nothing is skipped silently."""
    raise error


def _documents(paths: list[Path], folder: Path) -> list[Document]:
    return [_document(path.relative_to(folder).as_posix(), path) for path in paths]


def _document(name: str, path: Path) -> Document:
    return Document(name, partial(read_text, path), partial(read_utf8, path))


@contextlib.contextmanager
def spool(stream: BinaryIO | None = None) -> Iterator[Path]:
    """Keep a stream, or else standard input, in a temporary file, so that it can be read more than once."""
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
        path = Path(folder, "standard input")
        with open(path, "wb") as file:
            shutil.copyfileobj(stream or sys.stdin.buffer, file, 1 << 20)
        yield path


def _exists(name: str) -> bool:
    try:
        return expanded(name).exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _open_remote(name: str, known: list[str]) -> Source:
    looks_like_path = name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or "\\" in name
    owner = name.partition("/")[0]
    if looks_like_path or FILE_SUFFIX.search(name) or is_folder(Path(owner)):
        raise DataError(_missing(name))
    if HUB_NAME.fullmatch(name):
        from lmkit.text.sources.hub import open_dataset

        try:
            return open_dataset(name)
        except CorpusError as error:
            raise CorpusError(f"There is no file or folder {name}, and t{str(error)[1:]}") from error
    close = _close(name, [*known, *_beside(Path(name))])
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}."
    raise CorpusError(f"There is no corpus, file or folder called {_short(name)!r}: {hint}")


def _close(name: str, known: list[str]) -> list[str]:
    """Names that may be meant, at most two: this one with an ending, or one that is nearly the same."""
    ended = [one for one in known if one.startswith(f"{name}.")]
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    return list(dict.fromkeys([*ended, *near]))[:2]


def _short(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."


def _beside(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in path.parent.iterdir())
    except (OSError, ValueError):
        return []


def _missing(name: str) -> str:
    if len(name) > 255 or "\0" in name:
        return f"There is no file or folder {_short(name)!r}: this is not a valid name."
    try:
        path = expanded(name)
    except RuntimeError:
        return f"There is no file or folder {name}: there is no such user here."
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"There is no file or folder {name}: the folder {path.parent} does not exist or cannot be read."
    close = _close(path.name, beside)
    hint = f"did you mean {' or '.join(str(path.with_name(one)) for one in close)}?" if close else "check its name."
    return f"There is no file or folder {name}: {hint}"
