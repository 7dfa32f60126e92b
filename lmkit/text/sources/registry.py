"""The registry of corpora that have a name, read from ``registry.toml``."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from lmkit.errors import CorpusError

__all__ = ["CorpusEntry", "load_registry"]

FILE = "registry.toml"


@dataclass(frozen=True)
class CorpusEntry:
    """One line of ``lmkit corpora``. ``kind`` is built-in, generated or datasets; ``size`` is in bytes of text."""

    name: str
    title: str
    description: str
    kind: str
    source: str
    licence: str
    size: int
    sha256: str | None = None


@functools.cache
def load_registry() -> MappingProxyType[str, CorpusEntry]:
    """All entries by name, in the order of the file."""
    tables = tomllib.loads(_read())
    return MappingProxyType({name: CorpusEntry(name=name, **table) for name, table in tables.items()})


def _read() -> str:
    """An installed lmkit has the registry inside its package, a checkout beside it."""
    package = resources.files("lmkit")
    for path in (package / "corpora" / FILE, Path(str(package)).parent / "corpora" / FILE):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise CorpusError("The registry of corpora is missing: install lmkit again.")
