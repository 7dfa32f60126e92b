"""Reading a prompt with the kernels that train: a long one in rows side by side, whose joints are checked."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State, concatenate, split

__all__ = ["read_prompt"]

WINDOW = 512  # tokens that are read at a time
ROWS, WARM_UP = 16, 512  # after 256 tokens trained networks differ in the third to sixth digit, after 512 in none
ROUNDINGS = 64  # by which two states may differ, at the size of their largest number: other kernels make up to 20


def read_prompt(model: LanguageModel, prompt: Tensor, state: State) -> State:
    """The state after a prompt (T,), from a state of one row.

    A step of one row waits for the matrices to come from memory, and a step of 16 hardly takes longer. So a prompt of
    at least 16 x 512 tokens is cut into 16 rows, each but the first with the 512 tokens before it as a warm-up. From
    left to right, a row whose warm-up has come to the state that the rows before it give, to rounding, is taken as it
    was read; any other is read again from that state. The result is that of one row, to rounding; how it is read
    depends on model, prompt and state alone.
    """
    with inference(model):
        length = len(prompt) // ROWS
        if length < WARM_UP:
            return _read(model, prompt[None], state)
        rows = prompt[: ROWS * length].view(ROWS, length)
        guessed = _read(model, rows[:-1, -WARM_UP:], model.initial_state(ROWS - 1))
        starts = concatenate([state, guessed])
        ends = _read(model, rows, starts)
        for tokens, start, end in zip(rows, split(starts, ROWS), split(ends, ROWS), strict=True):
            state = end if _same(state, start) else _read(model, tokens[None], state)
        return _read(model, prompt[None, ROWS * length :], state)


def _read(model: LanguageModel, tokens: Tensor, state: State) -> State:
    """The state after rows (B, T) of tokens."""
    for window in tokens.split(WINDOW, dim=1) if tokens.numel() else ():
        _, state = model.features(window, state)
    return state


def _same(state: State, other: State) -> bool:
    """Whether two states are equal to rounding, and counts exactly."""
    return all(_close(*pair) for pair in zip(chain(*state), chain(*other), strict=True))


def _close(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return one.equal(other)
    most = ROUNDINGS * torch.finfo(one.dtype).eps * max(1.0, float(one.abs().max()))
    return bool((one - other).abs().max() <= most)
