"""Shapes that are known without making a model are those of the model."""

from __future__ import annotations

import itertools

import pytest

from lmkit.config import ModelConfig
from lmkit.model.language_model import LanguageModel, stored_shapes


@pytest.mark.parametrize("cell", ["rnn", "irnn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 3])
def test_stored_shapes_are_those_of_the_model(cell: str, layers: int):
    for tied, head, embedding in itertools.product((True, False), ("full", "adaptive"), (None, 5, 12)):
        config = ModelConfig(
            cell=cell, num_layers=layers, hidden_size=12, embedding_size=embedding, tie_embeddings=tied, head=head
        )
        model = LanguageModel(config, 50)
        first = {name for name, _ in model.named_parameters()} | {"head.order"}
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items() if name in first}
        assert stored_shapes(config, 50) == expected
