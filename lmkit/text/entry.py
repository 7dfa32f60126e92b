"""An entry of the cache: the splits of one corpus as token files, with their counts."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lmkit.errors import DataError
from lmkit.text.cache import Cache, content_key
from lmkit.text.counts import Counts
from lmkit.text.source import WHOLE, Piece, Slice
from lmkit.text.token_file import START_DTYPE, TokenFile, map_ids, write_tokens
from lmkit.text.tokenizer import Tokenizer

__all__ = ["encode_slices", "watched"]


def encode_slices(
    tokenizer: Tokenizer,
    slices: Mapping[str, Slice],
    documents: str,
    key: str,
    cache: Cache,
    report: Callable[[float], None],
    check_source: Callable[[], None],
) -> dict[str, TokenFile]:
    """Each slice as a token file of the cache, written if it is not there.

    ``key`` stands for the text and its cuts; ``check_source`` raises where the text changed while it was read.
    """

    def build(folder: Path) -> None:
        texts = zip(slices, watched(slices.values(), report), strict=True)
        meta = {name: _write(folder, name, tokenizer, pieces, documents) for name, pieces in texts}
        check_source()
        with open(folder / "meta.json", "w", encoding="utf-8") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())

    def check(folder: Path) -> bool:
        try:
            return bool(_open(folder, slices, tokenizer, documents))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    entry = content_key(key, documents, tokenizer.to_json(), sys.byteorder, list(slices))
    splits = _open(cache.entry(entry, build, check), slices, tokenizer, documents)
    for name, split in splits.items():
        if not len(split):
            what = "text" if name == WHOLE else f"{name} split"
            raise DataError(f"The {what} has no tokens: it is only white space, which the model does not read.")
    return splits


def watched(slices: Iterable[Slice], report: Callable[[float], None]) -> list[Iterator[Piece]]:
    """The pieces of each slice, to be taken in this order; ``report`` hears which share of all is done."""
    slices = list(slices)
    total = sum(slice_.chars for slice_ in slices)
    done = 0

    def watch(slice_: Slice) -> Iterator[Piece]:
        nonlocal done
        for number, text in slice_.pieces():
            yield number, text
            done += len(text)
            report(done / total)

    return [watch(slice_) for slice_ in slices]


def _write(folder: Path, name: str, tokenizer: Tokenizer, texts: Iterable[Piece], documents: str) -> dict[str, object]:
    with open(folder / f"{name}.ids", "wb") as ids_file, open(folder / f"{name}.starts", "wb") as starts_file:
        counts, sha256 = write_tokens(tokenizer, texts, documents, ids_file, starts_file)
        os.fsync(ids_file.fileno())
        os.fsync(starts_file.fileno())
    return {"counts": dataclasses.asdict(counts), "sha256": sha256}


def _open(folder: Path, slices: Mapping[str, Slice], tokenizer: Tokenizer, documents: str) -> dict[str, TokenFile]:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    splits = {}
    for name in slices:
        counts = Counts(**meta[name]["counts"])
        path = folder / f"{name}.ids"
        ids = map_ids(path, tokenizer.id_dtype, counts.tokens)
        starts = map_ids(folder / f"{name}.starts", START_DTYPE, counts.documents)
        splits[name] = TokenFile(ids, starts, counts, meta[name]["sha256"], path, documents)
    return splits
