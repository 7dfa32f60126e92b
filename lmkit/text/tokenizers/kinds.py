"""The kinds of tokenizer: those that can be trained, by the name that ``--tokenizer`` takes, and what a file holds."""

from __future__ import annotations

import json
import os
import re

from lmkit.errors import TokenizerError
from lmkit.files import read_regular
from lmkit.text.tokenizers.bpe import BPETokenizer
from lmkit.text.tokenizers.character import CharacterTokenizer
from lmkit.text.tokenizers.foreign import ForeignTokenizer
from lmkit.text.tokenizers.tokenizer import LARGEST_FILE, Tokenizer
from lmkit.text.tokenizers.word import WordTokenizer

__all__ = ["TOKENIZERS", "load_tokenizer", "tokenizer_from_json"]

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

TOKENIZERS: dict[str, type[Tokenizer]] = {"char": CharacterTokenizer, "word": WordTokenizer, "bpe": BPETokenizer}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer.json: lmkit's own kinds by their structure, any other as a foreign tokenizer.

    Raises TokenizerError where the file is missing, is no tokenizer, or has no end-of-text token.
    """
    try:
        text = read_regular(path, LARGEST_FILE).decode("utf-8")
    except FileNotFoundError:
        raise TokenizerError(f"There is no tokenizer file {path}: give char, word, bpe or a tokenizer.json.") from None
    except (OSError, ValueError) as error:
        shown = getattr(error, "strerror", None) or error
        raise TokenizerError(f"--tokenizer {path} cannot be read: {shown}.") from error
    return tokenizer_from_json(text, str(path))


def tokenizer_from_json(text: str, name: str) -> Tokenizer:
    """The tokenizer that the text of a tokenizer.json describes; ``name`` is what error messages call it."""
    try:
        document = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{name} is not a tokenizer.json: it is not valid JSON ({error}).") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TokenizerError(f"{name} is not a tokenizer.json: it has no table named model.")
    for kind in (CharacterTokenizer, WordTokenizer, BPETokenizer):
        tokenizer = kind.from_document(document)
        if tokenizer is not None:
            return tokenizer
    return ForeignTokenizer.from_json(text, name)
