"""The corpora that every CPython carries: its language reference as prose, its standard library as code."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lmkit.errors import CorpusError
from lmkit.text.sources.reading import looks_like_text, read_text, read_utf8
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["BUILT_IN"]

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__"}


def open_pydoc() -> Source:
    """The topics of ``pydoc_data.topics``, sorted by name and joined by one blank line, as one document."""
    document = Document("pydoc_data.topics", _topics)
    _topics()
    description = "the Python language reference as pydoc carries it"
    return Source("pydoc", description, {WHOLE: [document]}, info={"python": platform.python_version()})


def open_standard_library() -> Source:
    """The modules of the standard library in the order of their paths, each a document; no packages, no tests."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts[:-1])]
    paths = sorted(paths, key=lambda path: path.relative_to(root).as_posix())
    paths = [path for path in paths if looks_like_text(path)]
    if not paths:
        raise CorpusError("This Python has no source files of its standard library: use --corpus pydoc or a file.")
    documents = [
        Document(path.relative_to(root).as_posix(), partial(read_text, path), partial(read_utf8, path))
        for path in paths
    ]
    info = {"python": platform.python_version(), "files": len(paths)}
    description = "the modules of Python's standard library"
    return Source("python-stdlib", description, {WHOLE: documents}, paths, info=info)


def _topics() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CorpusError("This Python does not carry pydoc_data.topics: give --corpus a file instead.") from None
    text = "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
    return iter([text])


BUILT_IN: dict[str, Callable[[], Source]] = {"pydoc": open_pydoc, "python-stdlib": open_standard_library}
