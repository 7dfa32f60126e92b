"""How characters, words and BPE cut the same text: what each granularity costs and what it cannot say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lmkit.config import DataConfig
from lmkit.text.counts import Counts
from lmkit.text.cut_text import CutText, Progress, open_cut
from lmkit.text.sources.opening import spool
from lmkit.text.tokenizers.kinds import TOKENIZERS
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Count", "TokenizerStatistics", "counts_of", "tokenizer_statistics"]

Count = Callable[[CutText, str, Tokenizer], Counts]


@dataclass(frozen=True)
class TokenizerStatistics:
    """A tokenizer trained on the first part of a text, counted on the rest. ``words`` has the line ends with it."""

    kind: str
    vocab_size: int
    tokens: int
    words: int
    chars: int
    oov: int

    @property
    def tokens_per_word(self) -> float:
        """How many steps a word (or line end) takes."""
        return self.tokens / self.words if self.words else float("nan")

    @property
    def chars_per_token(self) -> float:
        """How many characters a step covers."""
        return self.chars / self.tokens

    @property
    def oov_rate(self) -> float:
        """Share of the tokens that are ``<unk>``."""
        return self.oov / self.tokens


def counts_of(text: CutText, split: str, tokenizer: Tokenizer) -> Counts:
    """The counts of a split."""
    return text.encode(tokenizer)[split].counts


def tokenizer_statistics(
    corpus: str,
    *,
    vocab_size: int | None = None,
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
    count: Count = counts_of,
) -> list[TokenizerStatistics]:
    """Train each kind on the first 90 % of a corpus and count its tokens on the last 10 %.

    A folder with splits of its own is counted on its valid.txt, or else its test.txt; ``vocab_size`` is that of BPE
    (default 4096). count: how a split is counted. Raises DataError or CorpusError.
    """
    rows = []
    with _readable_again(corpus, stdin) as name:
        for kind in TOKENIZERS:
            size = vocab_size if kind == "bpe" else None
            config = DataConfig(corpus=name, tokenizer=kind, vocab_size=size, valid_fraction=0.1, test_fraction=0)
            with open_cut(config, progress=progress) as text:
                tokenizer = text.tokenizer()
                split = next(part for part in ("valid", "test", "train") if part in text.slices)
                counts = count(text, split, tokenizer)
            words = counts.words + counts.line_ends
            rows.append(TokenizerStatistics(kind, tokenizer.vocab_size, counts.tokens, words, counts.chars, counts.oov))
    return rows


@contextlib.contextmanager
def _readable_again(corpus: str, stdin: BinaryIO | None) -> Iterator[str]:
    if corpus != "-":
        yield corpus
        return
    with spool(stdin) as path:
        yield str(path)
