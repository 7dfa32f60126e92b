"""Texts as tokens that a classifier reads: ``<eos>`` before each, as language models begin a document."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.errors import DataError
from lmkit.text.counts import Counts
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import Ids, Tokenizer

__all__ = ["encode_documents", "encode_labelled"]


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Ids, Ids]:
    """The tokens of all texts, ``<eos>`` before each, one after the other, and where each begins, (D,). Raises
    DataError for a text that is no text.
    """
    try:
        ids, lengths = tokenizer.encode_batch(list(texts))
    except UnicodeEncodeError as error:
        raise DataError(f"A text holds a lone surrogate ({error}): clean it first.") from error
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if len(texts) else np.zeros(0, np.int64)
    return np.insert(ids, begins, tokenizer.eos_id), begins + np.arange(len(texts))


def encode_labelled(tokenizer: Tokenizer, data: LabelledTexts) -> TokenFile:
    """Labelled texts as documents of tokens."""
    ids, starts = encode_documents(tokenizer, data.texts)
    counts = Counts(
        words=sum(len(text.split()) for text in data.texts),
        line_ends=sum(text.count("\n") for text in data.texts),
        chars=sum(map(len, data.texts)),
        bytes=sum(len(text.encode()) for text in data.texts),
        oov=0 if tokenizer.unk_id is None else int(np.count_nonzero(ids == tokenizer.unk_id)),
        tokens=len(ids),
        documents=len(starts),
    )
    return TokenFile(ids, starts, counts, data.sha256)
