"""Corpus: a text cut into train, valid and test, and tokenised once into files that are memory-mapped."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from lmkit.config import DataConfig
from lmkit.errors import ConfigError, DataError
from lmkit.text.cache.entry import encode_slices, watched
from lmkit.text.cache.sealed import DamagedError, OutdatedError, seal, unseal, warn_of_damage
from lmkit.text.cache.store import Cache, content_key
from lmkit.text.cache.survey import Survey, survey_source
from lmkit.text.sources.opening import local_path, open_local, open_source
from lmkit.text.sources.source import WHOLE, Piece, Slice, Source, line_cut
from lmkit.text.token_file import START_DTYPE, TokenFile, write_tokens
from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer, tokenizer_from_json
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.text.traits import Traits, text_notes

__all__ = ["Corpus", "Progress", "build_corpus", "encode_path", "encode_split", "encode_text"]

# Changes when the same text would be cut, trained on or stored in another way.
FORMAT = 1
TOKENIZER_FORMAT = 2
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Corpus:
    """A tokenizer and the splits it was applied to: train and, unless their share is 0, valid and test.

    ``info`` holds what a run records: the source, sizes, sha256, the range of each split in characters. ``traits`` are
    those of a text of the user's own.
    """

    name: str
    tokenizer: Tokenizer
    splits: dict[str, TokenFile]
    info: dict[str, Any] = field(default_factory=dict)
    traits: Traits = field(default_factory=Traits)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know before a model is trained on it, one line each."""
        return text_notes(self.traits, self.tokenizer)


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
    report = progress or _say_nothing
    cache = Cache()
    with open_source(config.corpus, stdin=stdin) as source:
        survey = survey_source(source, cache, partial(report, "reading"), verify=verify)
        slices = _cut(source, survey, config)
        ranges = {name: [slice_.begin, slice_.end] for name, slice_ in slices.items()}
        key = content_key(FORMAT, survey.key, ranges)
        if tokenizer is None:
            tokenizer = _tokenizer(config, key, slices["train"], cache, report, source.name)
        splits = encode_slices(tokenizer, slices, config.documents, key, cache, partial(report, "encoding"), survey)
    info = {**source.info, **survey.info(), "source": source.description, "ranges": ranges}
    # the text of a corpus with a name does not change
    own = config.corpus == "-" or local_path(config.corpus) is not None
    return Corpus(source.name, tokenizer, splits, info, survey.traits if own else Traits())


def encode_split(
    config: DataConfig, tokenizer: Tokenizer, split: str, *, documents: str, progress: Progress | None = None
) -> TokenFile:
    """One split of a corpus as tokens, its documents cut by another rule than the configuration's.

    split: a name that ``build_corpus`` gives for this configuration. Raises what ``build_corpus`` raises.
    """
    report = progress or _say_nothing
    cache = Cache()
    with open_source(config.corpus) as source:
        survey = survey_source(source, cache, partial(report, "reading"))
        slices = {split: _cut(source, survey, config)[split]}
        key = content_key(FORMAT, survey.key, [slices[split].begin, slices[split].end])
        return encode_slices(tokenizer, slices, documents, key, cache, partial(report, "encoding"), survey)[split]


def encode_text(tokenizer: Tokenizer, text: str, *, documents: str = "file") -> TokenFile:
    """A text as tokens, in memory. documents: file, line, blank-line, or EACH_LINE for the state policy ``line``."""
    if not text:
        raise DataError("The text is empty: there is nothing to encode.")
    ids_file, starts_file = io.BytesIO(), io.BytesIO()
    counts, sha256 = write_tokens(tokenizer, [(0, text)], documents, ids_file, starts_file)
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
    report = progress or _say_nothing
    cache = Cache()
    with open_local(path, stdin=stdin) as source:
        survey = survey_source(source, cache, partial(report, "reading"), verify=verify)
        whole = [document for part in source.parts.values() for document in part]
        slices = {WHOLE: Slice(whole, 0, survey.chars)}
        key = content_key(FORMAT, survey.key)
        encoding = partial(report, "encoding")
        return encode_slices(tokenizer, slices, documents, key, cache, encoding, survey)[WHOLE]


def _say_nothing(stage: str, share: float) -> None:
    """No progress is shown."""


def _cut(source: Source, survey: Survey, config: DataConfig) -> dict[str, Slice]:
    """The range of each split, in characters."""
    if WHOLE not in source.parts:
        sizes = {name: int(part["chars"]) for name, part in survey.parts.items()}
        return {name: Slice(documents, 0, sizes[name]) for name, documents in source.parts.items()}
    documents = source.parts[WHOLE]
    total = survey.chars
    valid, test = Fraction(str(config.valid_fraction)), Fraction(str(config.test_fraction))
    cuts = [int((1 - valid - test) * total), int((1 - test) * total)]
    if config.split_at == "line":
        cuts = [line_cut(documents, cut) for cut in cuts]
    shares = {"train": 1 - valid - test, "valid": valid, "test": test}
    borders = [0, *cuts, total]
    slices = {}
    for number, (name, share) in enumerate(shares.items()):
        begin, end = borders[number], borders[number + 1]
        if share and begin == end:
            raise DataError(
                f"The {name} split is empty: its share of {total} characters is {float(share):g}; "
                f"give a longer text or other fractions (0 for no such split)."
            )
        if share:
            slices[name] = Slice(documents, begin, end)
    return slices


def _tokenizer(config: DataConfig, key: str, train: Slice, cache: Cache, progress: Progress, name: str) -> Tokenizer:
    if config.tokenizer not in TOKENIZERS:
        if config.vocab_size is not None or config.min_count != 1:
            raise ConfigError("--vocab-size and --min-count do not go with a tokenizer file: leave them out.")
        return load_tokenizer(config.tokenizer)
    kind = TOKENIZERS[config.tokenizer]
    path = cache.tokenizer_path(
        content_key(key, kind.kind, kind.training_version(), config.vocab_size, config.min_count)
    )
    try:
        return tokenizer_from_json(unseal(path.read_bytes(), TOKENIZER_FORMAT)["tokenizer"], str(path))
    except (OSError, OutdatedError):
        pass
    except DamagedError:
        warn_of_damage(name)
    (pieces,) = watched([train], partial(progress, "training the tokenizer"))
    texts = _then_build(_training_texts(pieces, separate=kind.joins_chunks), progress)
    tokenizer = kind.train(texts, vocab_size=config.vocab_size, min_count=config.min_count)
    cache.store_text(path, seal(TOKENIZER_FORMAT, {"tokenizer": tokenizer.to_json()}))
    return tokenizer


def _then_build(texts: Iterable[str], progress: Progress) -> Iterator[str]:
    """The texts; what a tokenizer does once it has them all, BPE's merges, can take long and says nothing."""
    yield from texts
    progress("building the vocabulary", math.nan)


def _training_texts(texts: Iterable[Piece], *, separate: bool) -> Iterator[str]:
    """The texts alone; ``separate`` ends each document with a line end, so that no word reaches over two of them."""
    last: Piece | None = None
    for number, text in texts:
        if separate and last and last[0] != number and not last[1].endswith("\n"):
            yield "\n"
        yield text
        last = number, text
