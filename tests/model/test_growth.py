"""A vocabulary that has grown: what the model knew it predicts as before, and new tokens get a little of the rest."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lmkit.model.growth import grown
from lmkit.model.head import AdaptiveSoftmax
from lmkit.model.language_model import LanguageModel, cutoffs_of
from lmkit.model.shapes import stored_tensors

OLD, NEW = 23, 27
TOKENS = torch.arange(OLD).view(1, -1)


def extended(model: LanguageModel) -> LanguageModel:
    """The model with four more tokens, in float64 as it is."""
    config = model.config
    if config.head == "adaptive":
        config = dataclasses.replace(config, cutoffs=cutoffs_of(config, OLD))
    larger = LanguageModel(config, NEW).double().eval()
    larger.load_state_dict(grown(stored_tensors(model), config, NEW), strict=False)
    return larger


def distribution(model: LanguageModel) -> torch.Tensor:
    """Probabilities (T, V) after each of the old tokens."""
    hidden, _ = model.features(TOKENS, model.initial_state(1))
    return model.head.log_probs(hidden[0]).exp()


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": True}, {"tie_embeddings": True, "embedding_size": 5}])
def test_a_new_token_has_at_most_the_mean_probability_and_takes_the_same_share_of_all(random_model, options):
    model = random_model("gru", OLD, **options).double().eval()
    before, after = distribution(model), distribution(extended(model))
    assert torch.allclose(after.sum(1), torch.ones(OLD, dtype=torch.float64))
    shares = after[:, :OLD] / before
    assert torch.allclose(shares, shares[:, :1].expand_as(shares), rtol=1e-9), "the odds of known tokens stay"
    new = after[:, OLD:]
    assert (new <= after[:, :OLD].mean(1, keepdim=True)).all()
    assert torch.allclose(new, new[:, :1].expand_as(new), rtol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_an_adaptive_softmax_keeps_order_and_cutoffs_and_new_tokens_join_its_last_cluster(random_model, tied):
    order = torch.randperm(OLD)
    model = random_model("lstm", OLD, head="adaptive", tie_embeddings=tied, frequency_order=order).double().eval()
    larger = extended(model)
    assert isinstance(model.head, AdaptiveSoftmax) and isinstance(larger.head, AdaptiveSoftmax)
    borders = model.head.borders
    assert larger.head.borders == (*borders[:-1], NEW) and len(borders) == 3
    assert larger.head.order.tolist() == [*order.tolist(), *range(OLD, NEW)]
    before, after = distribution(model), distribution(larger)
    assert torch.allclose(after.sum(1), torch.ones(OLD, dtype=torch.float64))
    outside, last = order[: borders[-2]], order[borders[-2] :]
    assert torch.allclose(after[:, outside], before[:, outside], rtol=1e-9), (
        "clusters that have not grown say what they said"
    )
    ratio = after[:, last] / before[:, last]
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-9)
    assert torch.allclose(after[:, last].sum(1) + after[:, OLD:].sum(1), before[:, last].sum(1))


def test_new_rows_are_the_mean_of_the_known_ones_and_all_else_keeps_its_bits(random_model):
    model = random_model("lstm", OLD)
    before = stored_tensors(model)
    after = grown(before, model.config, NEW)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name][: len(tensor)], tensor), name
    for name in ("embedding.weight", "head.weight", "head.bias"):
        assert torch.equal(after[name][-1], before[name].mean(0)) and len(after[name]) == NEW
