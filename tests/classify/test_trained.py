"""A trained classifier gives a text the same probabilities alone and in any company, and those of its prefixes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import lmkit.classify.trained as trained
from lmkit.classify.encoding import encode_documents
from lmkit.classify.trained import TrainedClassifier
from lmkit.classify.training.options import configure
from lmkit.model.classifier import Classifier
from lmkit.text import BPETokenizer, CharacterTokenizer, Tokenizer, WordTokenizer
from tests.runs import make_text

TEXTS = [line for line in make_text().splitlines() if line][:25]
TOKENIZERS: dict[str, type[Tokenizer]] = {"char": CharacterTokenizer, "word": WordTokenizer, "bpe": BPETokenizer}


def make(tokenizer: Tokenizer, pooling: str = "concat") -> TrainedClassifier:
    """One with random weights, in float64."""
    config = configure({"hidden_size": 6, "pooling": pooling, "classes": ("a", "b", "c"), "window": 16})
    torch.manual_seed(4)
    model = Classifier(config.model, tokenizer.vocab_size, 3, pooling, 16).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return TrainedClassifier(model, tokenizer, config)


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param].train([make_text()], vocab_size=280 if request.param == "bpe" else None)


def test_a_text_has_the_same_probabilities_alone_and_in_any_company(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    classifier = make(tokenizer)
    expected = np.concatenate([classifier.classify([text]) for text in TEXTS])
    assert np.exp(expected).sum(axis=1) == pytest.approx(1)
    assert classifier.classify(TEXTS) == pytest.approx(expected, abs=1e-12)
    order = random.Random(2).sample(range(len(TEXTS)), len(TEXTS))
    monkeypatch.setattr(trained, "AT_ONCE", 100)  # tokens: few texts in a batch
    assert classifier.classify([TEXTS[i] for i in order]) == pytest.approx(expected[order], abs=1e-12)
    assert classifier.classify([]).shape == (0, 3)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_the_probabilities_after_a_word_are_those_of_the_text_up_to_it(tokenizer: Tokenizer, pooling: str):
    classifier = make(tokenizer, pooling)
    text = f" {TEXTS[0]}\n  {TEXTS[1]} "
    found = classifier.classify_prefixes(text)
    assert list(found.words) == text.split()
    prefixes, at = [], 0
    for word in found.words:
        at = text.index(word, at) + len(word)
        prefixes.append(text[:at])
    assert found.log_probs == pytest.approx(classifier.classify(prefixes), abs=1e-12)


def test_each_text_begins_with_eos_and_is_cut_off_from_the_others(tokenizer: Tokenizer):
    ids, starts = encode_documents(tokenizer, TEXTS)
    pieces = np.split(ids, starts[1:])
    assert [int(piece[0]) for piece in pieces] == [tokenizer.eos_id] * len(TEXTS)
    assert [piece[1:].tolist() for piece in pieces] == [tokenizer.encode(text).tolist() for text in TEXTS]


def test_texts_are_told_of_as_they_are_read(tokenizer: Tokenizer):
    classifier, shares = make(tokenizer), []
    classifier.progress = lambda stage, share: shares.append((stage, share))
    classifier.classify(TEXTS)
    assert shares[-1] == ("classifying", 1.0)
