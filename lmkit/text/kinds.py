"""The kinds of tokenizer that can be trained, by the name that ``--tokenizer`` takes."""

from __future__ import annotations

from lmkit.text.bpe import BPETokenizer
from lmkit.text.character import CharacterTokenizer
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.word import WordTokenizer

__all__ = ["TOKENIZERS"]

TOKENIZERS: dict[str, type[Tokenizer]] = {"char": CharacterTokenizer, "word": WordTokenizer, "bpe": BPETokenizer}
