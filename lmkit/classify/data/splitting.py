"""A part of the training texts for validation: drawn class by class, and the same for any order of the rows."""

from __future__ import annotations

import hashlib
from itertools import groupby

import numpy as np

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.errors import DataError

__all__ = ["split_valid"]


def split_valid(data: LabelledTexts, fraction: float, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    """The texts for training and those for validation, each in the order of the file.

    Every class gives its share, rounded, of at least one of its different texts, and keeps one. Which ones depends on
    the seed and the texts alone, so the order of the rows does not matter, and a text that comes twice in a class is on
    one side. Raises DataError where no class has two different texts.
    """
    chosen = np.zeros(len(data), dtype=bool)
    keys = [_key(text, seed) for text in data.texts]
    for label in range(len(data.classes)):
        rows = sorted(np.flatnonzero(data.labels == label).tolist(), key=keys.__getitem__)
        groups = [list(group) for _, group in groupby(rows, key=keys.__getitem__)]
        wanted, taken = max(1, round(fraction * len(rows))), 0
        for group in groups[:-1]:
            if taken >= wanted:
                break
            chosen[group] = True
            taken += len(group)
    if not chosen.any():
        raise DataError(
            f"{data.name} has no class with two different texts, so none can be kept for validation: give a file with "
            "--valid, or --valid-fraction 0."
        )
    return data.take(np.flatnonzero(~chosen)), data.take(np.flatnonzero(chosen))


def _key(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little")).digest()
