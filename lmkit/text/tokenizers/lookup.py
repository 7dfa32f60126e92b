"""What the character and the word tokenizer share: a plain list of tokens, the most frequent first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmkit.errors import ConfigError, TokenizerError
from lmkit.text.tokenizers.tokenizer import EOS, UNK

__all__ = ["rank_tokens", "read_vocabulary", "tokens_in_order", "word_level_document"]

SPECIALS = (UNK, EOS)


def rank_tokens(counts: Iterable[tuple[str, int]], *, vocab_size: int | None, min_count: int) -> list[str]:
    """The special tokens, then the counted ones by falling count; ties in the order of their code points."""
    if vocab_size is not None and vocab_size < len(SPECIALS) + 1:
        raise TokenizerError(f"A vocabulary of {vocab_size} holds no token beside <unk> and <eos>: give at least 3.")
    counts = list(counts)
    kept = [(token, count) for token, count in counts if count >= min_count and token not in SPECIALS]
    if counts and not kept and min_count > 1:
        raise ConfigError(f"--min-count {min_count} leaves no token: nothing occurs so often in the training text.")
    kept.sort(key=lambda pair: (-pair[1], pair[0]))
    tokens = [*SPECIALS, *(token for token, _ in kept)]
    return tokens[:vocab_size]


def word_level_document(
    vocabulary: list[str],
    *,
    normalizer: Mapping[str, Any] | None,
    pre_tokenizer: Mapping[str, Any],
    decoder: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A tokenizer.json whose model is a look-up; special tokens are plain entries, so raw text never matches them."""
    model = {
        "type": "WordLevel",
        "vocab": {token: index for index, token in enumerate(vocabulary)},
        "unk_token": UNK,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def read_vocabulary(document: Mapping[str, Any], pattern: Mapping[str, Any]) -> list[str] | None:
    """The tokens of a tokenizer.json in the order of their ids, None unless it has the pattern's structure."""
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    if any(document.get(part) != pattern[part] for part in parts) or document.get("added_tokens"):
        return None
    model = document["model"]
    if model.get("type") != "WordLevel" or model.get("unk_token") != UNK:
        return None
    tokens = tokens_in_order(model.get("vocab"))
    return tokens if tokens and tuple(tokens[:2]) == SPECIALS else None


def tokens_in_order(vocab: Any) -> list[str] | None:
    """The tokens of a table from token to id, None unless the ids are 0, 1, 2 and so on."""
    if not isinstance(vocab, dict) or not all(type(index) is int for index in vocab.values()):
        return None
    tokens = sorted(vocab, key=vocab.__getitem__)
    return tokens if [vocab[token] for token in tokens] == list(range(len(tokens))) else None
