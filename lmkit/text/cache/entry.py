"""An entry of the cache: the splits of one corpus as token files, with their counts."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lmkit.errors import DataError
from lmkit.text.cache.sealed import DamagedError, HashedFile, OutdatedError, check_file, seal, unseal, warn_of_damage
from lmkit.text.cache.store import Cache, content_key
from lmkit.text.cache.survey import Survey
from lmkit.text.counts import Counts
from lmkit.text.sources.source import WHOLE, ChunkPiece, Reading, Slice
from lmkit.text.token_file import START_DTYPE, TokenFile, map_ids, write_tokens
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["encode_slices", "watched"]

META = "meta.json"
META_FORMAT = 3  # a field of Counts that an older entry lacks needs another


def encode_slices(
    tokenizer: Tokenizer,
    slices: Mapping[str, Slice],
    documents: str,
    key: str,
    cache: Cache,
    report: Callable[[float], None],
    survey: Survey,
) -> dict[str, TokenFile]:
    """Each slice as a token file of the cache, written if it is not there.

    ``key`` stands for the text and its cuts; ``survey`` knows whether the text changed while it was read. A damaged
    entry is written again, with an LmkitWarning.
    """

    def build(folder: Path) -> None:
        texts = zip(slices, watched(slices.values(), report), strict=True)
        meta = {name: _write(folder, name, tokenizer, pieces, documents) for name, pieces in texts}
        survey.check()
        with open(folder / META, "w", encoding="utf-8") as file:
            file.write(seal(META_FORMAT, {"splits": meta}))
            file.flush()
            os.fsync(file.fileno())

    def check(folder: Path) -> bool:
        try:
            return folder.exists() and bool(_open(folder, slices, tokenizer, documents))
        except OutdatedError:
            return False
        except (OSError, DamagedError):
            warn_of_damage(survey.source.name)
            return False

    entry = content_key(key, documents, tokenizer.to_json(), sys.byteorder, list(slices))
    splits = _open(cache.entry(entry, build, check), slices, tokenizer, documents)
    for name, split in splits.items():
        if not len(split):
            what = "text" if name == WHOLE else f"{name} split"
            raise DataError(f"The {what} has no tokens: it is only white space, which the model does not read.")
    return splits


def watched(slices: Iterable[Slice], report: Callable[[float], None]) -> list[Iterator[ChunkPiece]]:
    """The pieces of each slice, to be taken in this order; ``report`` hears which share of all is done.

    Slices of the same documents, one behind the other, are taken in one reading.
    """
    slices = list(slices)
    total = sum(slice_.chars for slice_ in slices)
    done = 0
    reading = Reading([])

    def watch(slice_: Slice) -> Iterator[ChunkPiece]:
        nonlocal done, reading
        if reading.documents is not slice_.documents or reading.position > slice_.begin:
            reading = Reading(slice_.documents)
        for number, chunk in reading.take(slice_.begin, slice_.end):
            yield number, chunk
            done += chunk.chars
            report(done / total)

    return [watch(slice_) for slice_ in slices]


def _write(
    folder: Path, name: str, tokenizer: Tokenizer, pieces: Iterable[ChunkPiece], documents: str
) -> dict[str, Any]:
    with HashedFile(folder / f"{name}.ids") as ids_file, HashedFile(folder / f"{name}.starts") as starts_file:
        counts, sha256 = write_tokens(tokenizer, pieces, documents, ids_file, starts_file)
        files = {"ids": ids_file.finish(), "starts": starts_file.finish()}
    return {"counts": dataclasses.asdict(counts), "sha256": sha256, "files": files}


def _open(folder: Path, slices: Mapping[str, Slice], tokenizer: Tokenizer, documents: str) -> dict[str, TokenFile]:
    """The entry's splits. Raises OutdatedError, and DamagedError or OSError where it is not what was written."""
    meta = unseal((folder / META).read_bytes(), META_FORMAT)["splits"]
    splits = {}
    for name in slices:
        for kind, recorded in meta[name]["files"].items():
            check_file(folder / f"{name}.{kind}", recorded)
        counts = Counts(**meta[name]["counts"])
        path = folder / f"{name}.ids"
        ids = map_ids(path, tokenizer.id_dtype, counts.tokens)
        starts = map_ids(folder / f"{name}.starts", START_DTYPE, counts.documents)
        splits[name] = TokenFile(ids, starts, counts, meta[name]["sha256"], path, documents)
    return splits
