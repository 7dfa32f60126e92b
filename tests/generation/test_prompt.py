"""A long prompt read in rows gives the state of one row: what a warm-up does not tell is read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lmkit.generation import prompt
from lmkit.generation.prompt import read_prompt
from lmkit.model.cells import CELLS
from lmkit.model.language_model import LanguageModel

ROWS, WARM_UP = 4, 6
ROW = 9  # tokens

Make = Callable[..., LanguageModel]


@pytest.fixture(autouse=True)
def _short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "ROWS", ROWS)
    monkeypatch.setattr(prompt, "WARM_UP", WARM_UP)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Of what is read, in its order."""
    read, seen = prompt._read, list[tuple[int, ...]]()

    def seeing(model: LanguageModel, tokens: Tensor, state: Any) -> Any:
        seen.append(tuple(tokens.shape))
        return read(model, tokens, state)

    monkeypatch.setattr(prompt, "_read", seeing)
    return seen


def assert_one_rows_state(model: LanguageModel, tokens: Tensor) -> None:
    """After some tokens that come before."""
    _, start = model.features(torch.tensor([[3, 1, 4]]), model.initial_state(1))
    _, expected = model.features(tokens[None], start)
    for layer, other in zip(read_prompt(model, tokens, start), expected, strict=True):
        torch.testing.assert_close(layer, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_rows_give_the_state_of_one_row(make_model: Make, shapes: list[tuple[int, ...]], cell: str):
    """Nothing has forgotten its past after six tokens, so each row but the first is read again."""
    assert_one_rows_state(make_model(cell, num_layers=2).double(), torch.randint(12, (ROWS * ROW + 3,)))
    assert shapes[:2] == [(ROWS - 1, WARM_UP), (ROWS, ROW)]
    assert shapes[2:] == [(1, ROW)] * (ROWS - 1) + [(1, 3)]


@torch.no_grad()
def test_a_row_whose_warm_up_tells_its_state_is_read_once(make_model: Make, shapes: list[tuple[int, ...]]):
    model = make_model("rnn").double()
    for matrix in model.cells[0].parameters():
        matrix.mul_(1e-3)  # six steps are enough for the last bit
    assert_one_rows_state(model, torch.randint(12, (ROWS * ROW,)))
    assert shapes == [(ROWS - 1, WARM_UP), (ROWS, ROW), (1, 0)]


@torch.no_grad()
def test_a_prompt_whose_rows_would_be_shorter_than_their_warm_up_is_one_row(
    make_model: Make, shapes: list[tuple[int, ...]]
):
    assert_one_rows_state(make_model().double(), torch.randint(12, (ROWS * WARM_UP - 1,)))
    assert shapes == [(1, ROWS * WARM_UP - 1)]
