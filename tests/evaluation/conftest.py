"""What the tests of evaluation share: a small network whose predictions differ from token to token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmkit.model.language_model import LanguageModel

MakeModel = Callable[..., LanguageModel]


@pytest.fixture(scope="session")
def make_model(random_model: MakeModel) -> MakeModel:
    def make(cell: str = "lstm", *, vocab_size: int = 11, **options: Any) -> LanguageModel:
        return random_model(cell, vocab_size, **options)

    return make
