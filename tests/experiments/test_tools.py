"""What experiments measure with: answers to items, and a layer on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmkit.api import TrainedModel
from lmkit.config import Config
from lmkit.experiments.tools.items import answer_log_probs, swapped_effect
from lmkit.experiments.tools.one_layer import contributions
from lmkit.text.sources.generated import Agreement
from lmkit.text.tokenizers.character import CharacterTokenizer
from lmkit.text.tokenizers.word import WordTokenizer


@pytest.fixture(params=["char", "word"])
def model(request, random_model) -> TrainedModel:
    texts = [Agreement(5).sample(4000)]
    tokenizer = {"char": CharacterTokenizer, "word": WordTokenizer}[request.param].train(texts)
    return TrainedModel(random_model("lstm", tokenizer.vocab_size), tokenizer, Config())


def test_the_log_probability_of_an_answer_is_that_of_the_text_with_it_less_that_without(model):
    item = next(iter(Agreement(5).items(3)))
    found = answer_log_probs(model, item)
    without = sum(token.log_prob for token in model.score(item.context))
    for answer, log_prob in zip((item.right, *item.wrong), found, strict=True):
        whole = sum(token.log_prob for token in model.score(item.context + answer))
        assert log_prob == pytest.approx(whole - without, abs=1e-4)


def test_the_effect_of_a_swapped_cue_is_one_answer_by_its_own_cue_less_by_the_others(model, monkeypatch):
    items = list(Agreement(5).items(2))[:3]
    table = {
        item.right: np.log(row)
        for item, row in zip(items, [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], strict=True)
    }
    monkeypatch.setattr(
        "lmkit.experiments.tools.items.answer_log_probs", lambda model, item, answers: table[item.right] - 5.0
    )
    assert swapped_effect(model, items) == pytest.approx(0.6 - 0.2)


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_in_a_linear_layer_a_word_contributes_the_scale_to_the_power_of_its_age(scale):
    found = contributions("linear", scale, size=8, length=6, generator=drawn(), rows=3)
    assert found == pytest.approx([scale**age for age in range(6)], rel=1e-9)


def test_squashing_makes_a_word_contribute_less_where_the_matrix_keeps_all():
    found = contributions("tanh", 1.0, size=8, length=6, generator=drawn())
    assert found[0] == 1.0
    assert found[-1] < 0.7
    assert all(math.isfinite(one) for one in found)
