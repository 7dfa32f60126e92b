"""How much memory a model takes, from fixed formulas: what cannot fit is refused before anything is allocated.

Expect the estimates within a factor of three, and rather too low than too high: what might fit is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lmkit.errors import ConfigError
from lmkit.hardware import memory_size
from lmkit.model.encoder import Encoder

__all__ = ["check_evaluation_memory", "evaluation_bytes", "largest", "training_bytes"]

PROGRAM_BYTES = 450e6  # Python and torch themselves
LOGITS_AT_ONCE = 2**23  # numbers; on a CPU the output layer works in blocks of this size, of 64 rows at least
LEAST_ROWS = 64
TOKEN_BYTES = 40  # of a window: input, target and score, and the positions they were cut from


def training_bytes(
    model: Encoder,
    *,
    moments: int,
    rows: int,
    steps: int,
    device: torch.device,
    parts: int = 1,
    penalised: bool = False,
) -> float:
    """Bytes that training takes, with windows of ``steps`` in ``rows``. moments: tensors that are kept for each
    parameter, by the optimiser and for a mean. parts: in which the rows are computed, one after the other. penalised:
    whether outputs are, which keeps their squares and differences. The model may be on the device ``meta``.

    Weights, gradients and moments; a copy of weights, moments and states while a checkpoint is written; states before
    and after a window; what its steps keep for their gradients; what is dropped, with its masks; the logits; the
    program.
    """
    kept, tokens = 1 + moments, math.ceil(rows / parts) * steps
    parameters = sum(parameter.numel() for parameter in model.parameters())
    at_once = min(tokens, max(LEAST_ROWS, LOGITS_AT_ONCE // model.vocab_size)) if device.type == "cpu" else tokens
    numbers = (kept + 1 + kept) * parameters + 2 * tokens * _numbers_a_token(model) + 3 * at_once * model.vocab_size
    numbers += (2 + 1) * rows * _numbers_a_state(model) + _numbers_dropped(model, tokens)
    numbers += 4 * tokens * model.recurrent.output_size if penalised else 0
    return 4.0 * numbers + PROGRAM_BYTES


def evaluation_bytes(model: Encoder, *, rows: int, steps: int) -> float:
    """Bytes that a model takes to read ``rows`` in parallel, ``steps`` at a time."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    states = 2 * _numbers_a_state(model)  # before and after
    logits = 2 * min(rows * steps * model.vocab_size, max(LOGITS_AT_ONCE, model.vocab_size))
    numbers = parameters + rows * (states + steps * _numbers_a_token(model)) + logits
    return 4.0 * numbers + TOKEN_BYTES * rows * steps + PROGRAM_BYTES


def check_evaluation_memory(model: Encoder, *, rows: int, steps: int) -> None:
    """Raise ConfigError where reading ``rows`` in parallel, ``steps`` at a time, exceeds the machine's memory."""
    present = memory_size(next(model.parameters()).device)
    needed = evaluation_bytes(model, rows=rows, steps=steps)
    if present is None or needed <= present:
        return
    fitting = largest(lambda number: evaluation_bytes(model, rows=number, steps=steps) <= present, rows)
    option = f"--rows {fitting}"
    if not fitting:  # one row is too much already
        option = f"--window {largest(lambda number: evaluation_bytes(model, rows=1, steps=number) <= present, steps)}"
    raise ConfigError(
        f"Reading {rows:,} rows of {steps:,} tokens at a time takes about {needed / 2**30:,.1f} GiB, and this machine "
        f"has {present / 2**30:,.1f} GiB: {option} would fit."
    )


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to ``most`` that fits, 0 where even 1 does not. What fits a number fits all below it."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _numbers_a_token(model: Encoder) -> int:
    return model.embedding.embedding_dim + sum(cell.kept_size for cell in model.cells)


def _numbers_a_state(model: Encoder) -> int:
    """Of one row."""
    return sum(tensor.numel() for layer in model.initial_state(1) for tensor in layer)


def _numbers_dropped(model: Encoder, tokens: int) -> int:
    """Matrices and embeddings of which some are dropped, and their masks."""
    matrices = sum(cell.get_parameter(name).numel() for cell in model.cells for name in cell.recurrent_matrices)
    types = model.vocab_size + tokens * model.embedding.embedding_dim
    return (2 * matrices if model.config.weight_drop else 0) + (types if model.config.embedding_type_dropout else 0)
