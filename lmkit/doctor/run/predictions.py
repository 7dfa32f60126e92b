"""Self-tests of a predictor: what any set of weights must satisfy if its numbers are to mean anything.

They guard against mistakes that other toolkits have made: a layer that sees the future (lucidrains/minGRU-pytorch#3), a
state that is lost or kept where it must not be (karpathy/char-rnn#78, facebookresearch/fairseq#501), probabilities
that do not sum to one (faster-rnnlm with noise-contrastive estimation).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.doctor.check import Check, judged
from lmkit.evaluation.perplexity import token_scores
from lmkit.evaluation.predictor import Predictor
from lmkit.samplers import stream_windows

__all__ = ["PROBE_TOKENS", "check_predictor"]

S = TypeVar("S")
PROBE_TOKENS = 96
ROWS = 4
NATS = " nats"


def check_predictor(
    predictor: Predictor[S], ids: NDArray[np.int64], *, vocab_size: int, eos_id: int, tolerance: float
) -> Iterator[Check]:
    """All self-tests on a stream of tokens, at least ``ROWS`` * 2 of them; ``tolerance`` is in nats."""
    stream = torch.from_numpy(np.asarray(ids, dtype=np.int64))
    inputs = torch.cat([torch.tensor([eos_id]), stream[:-1]])
    checks = (
        (
            "causality",
            causality(predictor, inputs, stream, vocab_size),
            "A prediction changes with a later token: the model sees the future.",
        ),
        (
            "carried windows = one pass",
            carried_windows(predictor, np.asarray(ids), eos_id),
            "The loss depends on how the text is cut into windows: not all of the state is carried.",
        ),
        (
            "rows are independent",
            independent_rows(predictor, inputs, stream),
            "A row's loss depends on the rows beside it: rows are mixed up somewhere.",
        ),
        (
            "reset touches only its rows",
            reset_rows(predictor, inputs, stream),
            "A row that is reset does not start from the initial state, or another row does.",
        ),
        (
            "scores = distribution",
            scores_are_the_distribution(predictor, inputs, stream),
            "The score of a token is not its entry in the whole distribution.",
        ),
    )
    for name, error, advice in checks:
        yield judged(name, error, tolerance, NATS, advice)
    missing = probability_mass(predictor, inputs)
    advice = "Probabilities that do not sum to one make every perplexity wrong."
    yield judged("probabilities sum to one", missing, tolerance, "", advice)


def causality(predictor: Predictor[S], inputs: Tensor, stream: Tensor, vocab_size: int) -> float:
    """How far changing the tokens from t + 1 on moves what was predicted up to t, for several t."""
    scores, whole = _whole(predictor, inputs, stream)
    worst = 0.0
    for position in sorted({1, 2, len(stream) // 4, len(stream) // 2, len(stream) - 1}):
        changed = torch.cat([stream[:position], (stream[position:] + 1) % vocab_size])
        changed_inputs = torch.cat([inputs[:1], changed[:-1]])
        other_scores, other = _whole(predictor, changed_inputs, changed)
        worst = _worst(worst, whole[:, : position + 1], other[:, : position + 1])
        worst = _worst(worst, scores[:, :position], other_scores[:, :position])
    return worst


def carried_windows(predictor: Predictor[S], ids: NDArray[np.int64], eos_id: int) -> float:
    """How far the scores of windows of 1, 7 and 32 tokens with a carried state are from those of one pass."""

    def scores(window: int) -> Tensor:
        windows = stream_windows(ids, eos_id=eos_id, window=window)
        return torch.cat([part.log_probs[0] for part in token_scores(predictor, windows)])

    whole = scores(len(ids))
    worst = 0.0
    for window in (1, 7, 32):
        worst = _worst(worst, whole, scores(window))
    return worst


def independent_rows(predictor: Predictor[S], inputs: Tensor, stream: Tensor) -> float:
    """How far the scores of rows computed side by side, in two orders, are from those of each row alone."""
    rows_in, rows_out = _rows(inputs), _rows(stream)
    together = _two_windows(predictor, rows_in, rows_out)
    turned = _two_windows(predictor, rows_in.flip(0), rows_out.flip(0)).flip(0)
    alone = [_two_windows(predictor, rows_in[row, None], rows_out[row, None]) for row in range(len(rows_in))]
    return _worst(_worst(0.0, together, torch.cat(alone)), turned, torch.cat(alone))


def reset_rows(predictor: Predictor[S], inputs: Tensor, stream: Tensor) -> float:
    """How far rows that are reset between two windows are from a fresh start, and the others from continuing."""
    rows_in, rows_out = _rows(inputs), _rows(stream)
    half = rows_in.shape[1] // 2
    second = rows_in[:, half:], rows_out[:, half:]
    chosen = torch.arange(len(rows_in)) % 2 == 0
    _, state = predictor.score(rows_in[:, :half], rows_out[:, :half], predictor.initial_state(len(rows_in)))
    mixed, _ = predictor.score(*second, predictor.reset(state, chosen))
    fresh, _ = predictor.score(*second, predictor.initial_state(len(rows_in)))
    going_on = _two_windows(predictor, rows_in, rows_out)[:, half:]
    return _worst(0.0, mixed.cpu(), torch.where(chosen[:, None], fresh.cpu(), going_on))


def scores_are_the_distribution(predictor: Predictor[S], inputs: Tensor, stream: Tensor) -> float:
    """How far the targets' scores are from their entries among the log-probabilities of all tokens."""
    scores, whole = _whole(predictor, inputs, stream)
    return _worst(0.0, scores, whole.gather(2, stream[None, :, None])[..., 0])


def probability_mass(predictor: Predictor[S], inputs: Tensor) -> float:
    """How far the sum of all probabilities is from one, in float64, at the worst position."""
    whole, _ = predictor.distribution(inputs[None], predictor.initial_state(1))
    sums = whole.double().exp().sum(dim=-1).cpu()
    return _worst(0.0, sums, torch.ones_like(sums))


def _whole(predictor: Predictor[S], inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    scores, _ = predictor.score(inputs[None], targets[None], predictor.initial_state(1))
    whole, _ = predictor.distribution(inputs[None], predictor.initial_state(1))
    return scores.cpu(), whole.cpu()


def _two_windows(predictor: Predictor[S], inputs: Tensor, targets: Tensor) -> Tensor:
    """Scores (B, T) of rows in two windows, the state carried from the first to the second."""
    half = inputs.shape[1] // 2
    first, state = predictor.score(inputs[:, :half], targets[:, :half], predictor.initial_state(len(inputs)))
    second, _ = predictor.score(inputs[:, half:], targets[:, half:], state)
    return torch.cat([first, second], dim=1).cpu()


def _rows(stream: Tensor) -> Tensor:
    length = len(stream) // ROWS
    return stream[: ROWS * length].view(ROWS, length)


def _worst(known: float, one: Tensor, other: Tensor) -> float:
    """The larger of ``known`` and the largest difference; equal infinities differ by nothing, nan stays."""
    difference = (one.double() - other.double()).abs().masked_fill(one == other, 0.0)
    return float(torch.cat([difference.flatten(), torch.tensor([known], dtype=torch.float64)]).max())
