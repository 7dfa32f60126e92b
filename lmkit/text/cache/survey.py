"""Survey: what a first reading of a source finds, so that it can be cut and recognised again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmkit.errors import DataError
from lmkit.text.cache.sealed import DamagedError, warn_of_damage
from lmkit.text.cache.store import Cache, content_key
from lmkit.text.sources.source import WHOLE, Source
from lmkit.text.traits import TraitMeter, Traits

__all__ = ["Survey", "survey_source"]


@dataclass(frozen=True)
class Survey:
    """For each part its characters, bytes and documents, the sha256 of its text, and a hash of its documents' sizes.

    ``traits`` are those of the text before it is cut, or of the part train.
    """

    source: Source
    stamp: list[list[Any]]
    parts: dict[str, dict[str, Any]]
    traits: Traits

    @property
    def chars(self) -> int:
        """Characters of all parts."""
        return sum(int(part["chars"]) for part in self.parts.values())

    @property
    def key(self) -> str:
        """Equal for equal texts in equal documents."""
        return content_key(self.parts)

    def check(self) -> None:
        """Raise DataError if a file changed since it was surveyed."""
        if self.source.stamp() != self.stamp:
            raise DataError(f"{self.source.name} changed while it was read: start again when it is complete.")

    def info(self) -> dict[str, Any]:
        """What a run records of its text; ``sha256`` is a text where there is one part, else one for each part."""
        hashes = {name: part["sha256"] for name, part in self.parts.items()}
        sha256 = next(iter(hashes.values())) if len(hashes) == 1 else hashes
        return {"chars": self.chars, "bytes": sum(int(part["bytes"]) for part in self.parts.values()), "sha256": sha256}


def survey_source(source: Source, cache: Cache, report: Callable[[float], None], *, verify: bool = False) -> Survey:
    """Read a source once, or take what the index knows of its files unless ``verify``; an empty text is a DataError."""
    stamp = source.stamp()
    with cache.turn(content_key("survey", stamp)) if stamp else contextlib.nullcontext():
        found = None if verify else _known(source, stamp, cache)
        if found is None:
            found = _read(source, sum(entry[1] for entry in stamp), report)
            cache.store_survey(stamp, found)
    parts = found["parts"]
    for name, part in parts.items():
        if not part["chars"]:
            whole = source.description[:1].upper() + source.description[1:]
            which = f"{whole} is empty" if len(parts) == 1 else f"The {name} file of {source.name} is empty"
            raise DataError(f"{which}: give a text with at least one character.")
    return Survey(source, stamp, parts, Traits(**found["traits"]))


def _known(source: Source, stamp: list[list[Any]], cache: Cache) -> Any:
    try:
        return cache.find_survey(stamp)
    except DamagedError:
        warn_of_damage(source.name)
        return None


def _read(source: Source, expected: int, report: Callable[[float], None]) -> dict[str, dict[str, Any]]:
    parts = {}
    meter = TraitMeter()
    done = 0
    for name, documents in source.parts.items():
        text_hash, shape_hash = hashlib.sha256(), hashlib.sha256()
        chars = size = number = 0
        for document in documents:
            length = 0
            chunks = document.encoded()
            for chunk in meter.watch(document.name, chunks) if name in (WHOLE, "train") else chunks:
                text_hash.update(chunk.data)
                length += chunk.chars
                size += len(chunk.data)
                done += len(chunk.data)
                report(min(1.0, done / expected) if expected else 0.0)
            shape_hash.update(b"%d\n" % length if length else b"")
            chars += length
            number += length > 0
        parts[name] = {
            "chars": chars,
            "bytes": size,
            "documents": number,
            "sha256": text_hash.hexdigest(),
            "shape": shape_hash.hexdigest(),
        }
    report(1.0)
    return {"parts": parts, "traits": dataclasses.asdict(meter.traits)}
