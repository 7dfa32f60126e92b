"""What the tests of generation share: a small network whose predictions differ from token to token."""

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
    def make(cell: str = "lstm", *, vocab_size: int = 12, **options: Any) -> LanguageModel:
        torch.manual_seed(5)
        order = options.pop("frequency_order", None)
        config = ModelConfig(**{"cell": cell, "hidden_size": 8, "dropout": 0.0, **options})
        model = LanguageModel(config, vocab_size, order)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.5)
            for name, parameter in model.named_parameters():
                if cell == "irnn" and "weight_hh" in name:
                    parameter.mul_(0.4)  # a rectifier's state must not grow without end
        return model.eval()

    return make
