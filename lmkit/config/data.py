"""The section of the data: which text, cut how, in which tokens."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.errors import ConfigError
from lmkit.fields import Section, option

__all__ = ["DOCUMENTS", "DataConfig"]

DOCUMENTS = ("file", "line", "blank-line")


@dataclass(frozen=True)
class DataConfig(Section):
    """Which text, cut how, in which tokens."""

    corpus: str = option(
        "pydoc",
        "Corpus: a name from `lmkit corpora`, a file, a folder, - for standard input, or a Hugging Face dataset.",
        flags=("--corpus", "--data", "--input-txt"),
    )
    tokenizer: str = option("char", "Tokenizer: char, word, bpe, or the path of a tokenizer.json.")
    vocab_size: int | None = option(
        None, "Largest vocabulary (default: all characters; all words; 4096 BPE tokens).", minimum=4
    )
    min_count: int = option(1, "Characters or words seen fewer times become <unk>.", minimum=1)
    documents: str = option("file", "What a document is; several are closed by <eos> each.", choices=DOCUMENTS)
    valid_fraction: float = option(
        0.1, "Share of the text kept for validation.", flags=("--valid-fraction", "--val-frac"), minimum=0, below=1
    )
    test_fraction: float = option(
        0.1, "Share of the text kept for the test.", flags=("--test-fraction", "--test-frac"), minimum=0, below=1
    )
    split_at: str = option(
        "char",
        "Where splits may be cut: anywhere, after white space, or after a line.",
        choices=("char", "space", "line"),
    )

    def check(self) -> None:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"--valid-fraction {self.valid_fraction:g} and --test-fraction {self.test_fraction:g} leave nothing to "
                "train on: their sum must stay below 1."
            )
        if not self.corpus:
            raise ConfigError("--corpus is empty: give a name from `lmkit corpora`, a file or a folder.")
        if not self.tokenizer:
            raise ConfigError("--tokenizer is empty: give char, word, bpe, or the path of a tokenizer.json.")
