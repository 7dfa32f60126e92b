"""Hugging Face ``tokenizers``, imported when it is needed, with its threads switched on only inside our own calls."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.text.tokenizers.tokenizer import Ids, join_ids, no_surrogates

__all__ = ["encode_parts", "import_tokenizers", "parallel"]

SWITCH = "TOKENIZERS_PARALLELISM"
USERS_SETTING = os.environ.get(SWITCH)
PROCESS = os.getpid()


def import_tokenizers() -> Any:
    """The package. The switch is set, so a later fork neither warns nor hangs; a user's own setting is kept."""
    os.environ.setdefault(SWITCH, "false")
    import tokenizers

    return tokenizers


@contextlib.contextmanager
def parallel() -> Iterator[None]:
    """Threads for a long training or encoding, where the user has not chosen otherwise.

    Never in a forked process: the library's threads stay behind in the parent, and a call that waits for them hangs.
    """
    if USERS_SETTING is not None or os.getpid() != PROCESS:
        yield
        return
    os.environ[SWITCH] = "true"
    try:
        yield
    finally:
        os.environ[SWITCH] = "false"


def encode_parts(rust: Any, texts: Sequence[Sequence[str]], dtype: np.dtype[Any]) -> tuple[Ids, NDArray[np.int64]]:
    """Ids of texts that come in parts: one array of all ids, and the number of ids of each text."""
    try:
        found = rust.encode_batch_fast(list(chain.from_iterable(texts)), add_special_tokens=False)
    except TypeError:
        _find_surrogate(texts)
        raise
    ids, lengths = join_ids([encoding.ids for encoding in found], dtype)
    borders = np.cumsum([0, *map(len, texts)])
    totals = np.concatenate([[0], np.cumsum(lengths)])
    return ids, np.diff(totals[borders])


def _find_surrogate(texts: Sequence[Sequence[str]]) -> None:
    for part in chain.from_iterable(texts):
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise no_surrogates(error) from error
