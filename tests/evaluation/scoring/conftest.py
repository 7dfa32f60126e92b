"""What the tests of scoring share: a tokenizer of each kind, and a small network over its tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text import TOKENIZERS, Tokenizer

TRAINING = "the cat sat on the mat .\nit's 12 o'clock , a bad cab\n\n" * 20


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[[str], Tokenizer]:
    """The tokenizer of a kind, trained on a few words."""

    @functools.cache
    def train(kind: str) -> Tokenizer:
        return TOKENIZERS[kind].train([TRAINING], vocab_size=290 if kind == "bpe" else None)

    return train


@pytest.fixture(scope="session")
def get(
    make_model: Callable[..., Any], tokenizer_of: Callable[[str], Tokenizer]
) -> Callable[[str], tuple[NetworkPredictor, Tokenizer]]:
    """A network with the tokenizer of a kind."""

    def make(kind: str) -> tuple[NetworkPredictor, Tokenizer]:
        tokenizer = tokenizer_of(kind)
        return NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size)), tokenizer

    return make
