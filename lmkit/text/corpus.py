"""Corpus: a text cut into train, valid and test, and tokenised once into files that are memory-mapped."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from lmkit.config import DataConfig
from lmkit.errors import DataError
from lmkit.text.cache.entry import encode_slices
from lmkit.text.cache.store import Cache, content_key
from lmkit.text.cache.survey import survey_source
from lmkit.text.cut_text import FORMAT, CutText, Progress, open_cut, say_nothing
from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.opening import local_path, open_local
from lmkit.text.sources.source import WHOLE, Slice
from lmkit.text.token_file import START_DTYPE, TokenFile, write_tokens
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.text.traits import Traits, text_notes

__all__ = [
    "Corpus",
    "Progress",
    "build_corpus",
    "corpus_of",
    "encode_path",
    "encode_split",
    "encode_text",
]

CUT_WORD = "A split begins in the middle of a word, whose halves count as two: --split-at space cuts between words."


@dataclass(frozen=True)
class Corpus:
    """A tokenizer and the splits it was applied to: train and, unless their share is 0, valid and test.

    ``info`` holds what a run records: the source, sizes, sha256, the range of each split in characters. ``traits`` are
    those of a text of the user's own; cuts_a_word: whether a split begins in the middle of a word of it.
    """

    name: str
    tokenizer: Tokenizer
    splits: dict[str, TokenFile]
    info: dict[str, Any] = field(default_factory=dict)
    traits: Traits = field(default_factory=Traits)
    cuts_a_word: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know before a model is trained on it, one line each."""
        cut = (CUT_WORD,) if self.cuts_a_word and self.tokenizer.unit == "words" else ()
        return (*text_notes(self.traits, self.tokenizer), *cut)


def build_corpus(
    config: DataConfig,
    *,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
    stdin: BinaryIO | None = None,
    verify: bool = False,
) -> Corpus:
    """Read, cut and tokenise a corpus, or take it from the cache.

    A tokenizer that is not given is trained on the training split alone, or read from the file that
    ``config.tokenizer`` names. ``progress(stage, share)`` is called now and then, with a share of nan where it is not
    known. ``verify`` reads the text again even where its files look unchanged. Memory does not grow with the text.

    Raises DataError, CorpusError, TokenizerError, and FailedError where the disk is full.
    """
    with open_cut(config, progress=progress, stdin=stdin, verify=verify) as text:
        return corpus_of(text, text.tokenizer() if tokenizer is None else tokenizer)


def corpus_of(text: CutText, tokenizer: Tokenizer) -> Corpus:
    """An open text as tokens."""
    info = {**text.source.info, **text.survey.info(), "source": text.source.description, "ranges": text.ranges}
    # the text of a corpus with a name does not change
    own = text.config.corpus == "-" or local_path(text.config.corpus) is not None
    found = Corpus(text.source.name, tokenizer, text.encode(tokenizer), info)
    return replace(found, traits=text.survey.traits, cuts_a_word=text.cuts_a_word) if own else found


def encode_split(
    config: DataConfig, tokenizer: Tokenizer, split: str, *, documents: str, progress: Progress | None = None
) -> TokenFile:
    """One split of a corpus as tokens, its documents cut by another rule than the configuration's.

    split: a name that ``build_corpus`` gives for this configuration. Raises what ``build_corpus`` raises.
    """
    with open_cut(config, progress=progress) as text:
        slices = {split: text.slices[split]}
        key = content_key(FORMAT, text.survey.key, text.ranges[split])
        encoding = partial(text.report, "encoding")
        return encode_slices(tokenizer, slices, documents, key, text.cache, encoding, text.survey)[split]


def encode_text(tokenizer: Tokenizer, text: str, *, documents: str = "file") -> TokenFile:
    """A text as tokens, in memory. documents: file, line, blank-line, or EACH_LINE for the state policy ``line``."""
    if not text:
        raise DataError("The text is empty: there is nothing to encode.")
    ids_file, starts_file = io.BytesIO(), io.BytesIO()
    counts, sha256 = write_tokens(tokenizer, [(0, Chunk.of(text))], documents, ids_file, starts_file)
    ids = np.frombuffer(ids_file.getvalue(), dtype=tokenizer.id_dtype)
    starts = np.frombuffer(starts_file.getvalue(), dtype=START_DTYPE)
    return TokenFile(ids, starts, counts, sha256, documents=documents)


def encode_path(
    tokenizer: Tokenizer,
    path: str | os.PathLike[str],
    *,
    documents: str = "file",
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
    verify: bool = False,
) -> TokenFile:
    """A file, .gz, folder (all its files in order) or ``-`` as tokens, memory-mapped from the cache.

    The arguments are those of ``build_corpus``. Raises DataError, and FailedError where the disk is full.
    """
    report = progress or say_nothing
    cache = Cache()
    with open_local(path, stdin=stdin) as source:
        survey = survey_source(source, cache, partial(report, "reading"), verify=verify)
        whole = [document for part in source.parts.values() for document in part]
        slices = {WHOLE: Slice(whole, 0, survey.chars)}
        key = content_key(FORMAT, survey.key)
        encoding = partial(report, "encoding")
        return encode_slices(tokenizer, slices, documents, key, cache, encoding, survey)[WHOLE]
