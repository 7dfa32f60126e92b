"""What the tests of the model share: small models with parameters of a size at which every part matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.model.language_model import LanguageModel

MakeModel = Callable[..., LanguageModel]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A model over ``vocab_size`` tokens, all of whose parameters are normal with deviation ``spread`` (as initialised
    where it is None)."""

    def make(cell: str = "lstm", *, vocab_size: int = 12, spread: float | None = 0.4, **options: Any) -> LanguageModel:
        torch.manual_seed(5)
        order = options.pop("frequency_order", None)
        config = ModelConfig(**{"cell": cell, "hidden_size": 6, "dropout": 0.0, **options})
        model = LanguageModel(config, vocab_size, order)
        if spread is not None:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=spread)
        return model

    return make
