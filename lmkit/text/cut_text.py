"""A text that is cut into splits, and the tokenizer that its training split makes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import BinaryIO

from lmkit.config import DataConfig
from lmkit.errors import ConfigError, DataError
from lmkit.text.cache.entry import encode_slices, watched
from lmkit.text.cache.sealed import DamagedError, OutdatedError, seal, unseal, warn_of_damage
from lmkit.text.cache.store import Cache, content_key
from lmkit.text.cache.survey import Survey, survey_source
from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.opening import open_source
from lmkit.text.sources.source import WHOLE, ChunkPiece, Slice, Source, is_within_word, line_cut, space_cut
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer, tokenizer_from_json
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["FORMAT", "CutText", "Progress", "open_cut", "say_nothing"]

# Changes when the same text would be cut, trained on or stored in another way.
FORMAT = 1
TOKENIZER_FORMAT = 2
Progress = Callable[[str, float], None]
CUTS = {"space": space_cut, "line": line_cut}
LONG = 1 << 24  # characters of a text in which half a word is nothing, and looking for it takes time


def say_nothing(stage: str, share: float) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class CutText:
    """A text that is open and cut into splits, before a tokenizer is applied to it: ``slices`` in characters."""

    config: DataConfig
    source: Source
    survey: Survey
    slices: dict[str, Slice]
    cache: Cache
    report: Progress

    @property
    def ranges(self) -> dict[str, list[int]]:
        """The characters of each split."""
        return {name: [slice_.begin, slice_.end] for name, slice_ in self.slices.items()}

    @property
    def key(self) -> str:
        """Equal for equal texts that are cut alike."""
        return content_key(FORMAT, self.survey.key, self.ranges)

    @property
    def cuts_a_word(self) -> bool:
        """Whether a split begins in the middle of a word, if the text is not long."""
        slices = self.slices.values() if self.survey.chars < LONG else ()
        return any(one.begin and is_within_word(one.documents, one.begin) for one in slices)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the configuration asks for: trained on the training split alone, or read from a file."""
        config = self.config
        if config.tokenizer not in TOKENIZERS:
            if config.vocab_size is not None or config.min_count != 1:
                raise ConfigError("--vocab-size and --min-count do not go with a tokenizer file: leave them out.")
            return load_tokenizer(config.tokenizer)
        kind = TOKENIZERS[config.tokenizer]
        path = self.cache.tokenizer_path(
            content_key(self.key, kind.kind, kind.training_version(), config.vocab_size, config.min_count)
        )
        with self.cache.turn(f"tokenizer-{path.stem}"):
            try:
                return tokenizer_from_json(unseal(path.read_bytes(), TOKENIZER_FORMAT)["tokenizer"], str(path))
            except (OSError, OutdatedError):
                pass
            except DamagedError:
                warn_of_damage(self.source.name)
            texts = _then_build(self.training_texts("training the tokenizer", separate=kind.joins_chunks), self.report)
            tokenizer = kind.train_chunks(texts, vocab_size=config.vocab_size, min_count=config.min_count)
            self.cache.store_text(path, seal(TOKENIZER_FORMAT, {"tokenizer": tokenizer.to_json()}))
            return tokenizer

    def new_tokens(self, tokenizer: Tokenizer, min_count: int) -> list[str]:
        """What the training split has at least ``min_count`` times and a tokenizer with a ``unit`` does not know, the
        most frequent first.
        """
        texts = self.training_texts("looking for new tokens", separate=tokenizer.joins_chunks)
        found = tokenizer.train_chunks(texts, min_count=min_count).vocabulary
        return [token for token in found if tokenizer.token_to_id(token) is None]

    def training_texts(self, stage: str, *, separate: bool) -> Iterator[Chunk]:
        """The training split in chunks; ``separate`` ends each document with a line end, so that no word reaches over
        two of them.
        """
        (pieces,) = watched([self.slices["train"]], partial(self.report, stage))
        return _training_texts(pieces, separate=separate)

    def encode(self, tokenizer: Tokenizer) -> dict[str, TokenFile]:
        """The splits as tokens, from the cache where it has them."""
        slices, rule = self.slices, self.config.documents
        return encode_slices(
            tokenizer, slices, rule, self.key, self.cache, partial(self.report, "encoding"), self.survey
        )


@contextlib.contextmanager
def open_cut(
    config: DataConfig,
    *,
    progress: Progress | None = None,
    stdin: BinaryIO | None = None,
    verify: bool = False,
) -> Iterator[CutText]:
    """Open the text of a configuration and cut it; standard input is kept while the context is open. The arguments are
    those of ``lmkit.build_corpus``.
    """
    report = progress or say_nothing
    cache = Cache()
    with open_source(config.corpus, stdin=stdin) as source:
        survey = survey_source(source, cache, partial(report, "reading"), verify=verify)
        yield CutText(config, source, survey, _cut(source, survey, config), cache, report)


def _cut(source: Source, survey: Survey, config: DataConfig) -> dict[str, Slice]:
    """The range of each split, in characters."""
    if WHOLE not in source.parts:
        sizes = {name: int(part["chars"]) for name, part in survey.parts.items()}
        return {name: Slice(documents, 0, sizes[name]) for name, documents in source.parts.items()}
    documents = source.parts[WHOLE]
    total = survey.chars
    valid, test = Fraction(str(config.valid_fraction)), Fraction(str(config.test_fraction))
    cuts = [int((1 - valid - test) * total), int((1 - test) * total)]
    if config.split_at in CUTS:
        cuts = [CUTS[config.split_at](documents, cut) for cut in cuts]
    shares = {"train": 1 - valid - test, "valid": valid, "test": test}
    borders = [0, *cuts, total]
    slices = {}
    for number, (name, share) in enumerate(shares.items()):
        begin, end = borders[number], borders[number + 1]
        if share and begin == end:
            lines = config.split_at == "line"
            raise DataError(
                f"The {name} split is empty: its share of {total} characters is {float(share):g}; "
                + ("there is no line to give it: use --split-at space, or " if lines else "")
                + "give a longer text or other fractions (0 for no such split)."
            )
        if share:
            slices[name] = Slice(documents, begin, end)
    return slices


def _then_build(texts: Iterable[Chunk], progress: Progress) -> Iterator[Chunk]:
    """The texts; what a tokenizer does once it has them all, BPE's merges, can take long and says nothing."""
    yield from texts
    progress("building the vocabulary", math.nan)


def _training_texts(pieces: Iterable[ChunkPiece], *, separate: bool) -> Iterator[Chunk]:
    """The texts alone; ``separate`` ends each document with a line end, so that no word reaches over two of them."""
    last: ChunkPiece | None = None
    for number, chunk in pieces:
        if separate and last and last[0] != number and not last[1].data.endswith(b"\n"):
            yield Chunk(b"\n")
        yield chunk
        last = number, chunk
