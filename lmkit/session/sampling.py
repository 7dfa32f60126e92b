"""The sampler of a training, and how long its windows are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lmkit.config import TrainingConfig
from lmkit.samplers import (
    SAMPLERS,
    MakeBorders,
    OverlappingBorders,
    RandomCuts,
    Sampler,
    StateDropping,
    WholeRows,
    longest_segment,
    window_lengths,
)

__all__ = ["Documents", "WindowSizes", "training_sampler", "window_sizes"]


Documents = np.ndarray | Sequence[int]


class WindowSizes(NamedTuple):
    """Steps of a training's windows: of the longest (of random cuts all but one in a million are shorter), and from
    update to update in the mean.
    """

    longest: int
    mean: float


def training_sampler(
    training: TrainingConfig, ids: np.ndarray, documents: np.ndarray, *, eos_id: int, seed: int
) -> Sampler:
    """The sampler of a configuration over token ids (N,). documents (D,): where each begins. Raises DataError where
    there are fewer tokens than rows.
    """
    window = training.window
    own: dict[str, Any] = {
        "sequential": {"state": training.state_policy, "jitter": training.jitter, "borders": _borders(training)},
        "random": {"burn_in": training.burn_in},
        "document": {"documents": documents},
    }
    if training.sampler == "document" and training.truncation == "none":
        window = longest_document(documents, len(ids))
    sampler = SAMPLERS[training.sampler](
        ids, eos_id=eos_id, batch_size=training.batch_size, window=window, seed=seed, **own[training.sampler]
    )
    return StateDropping(sampler, training.drop_state) if training.drop_state else sampler


def window_sizes(training: TrainingConfig, num_tokens: int, documents: Documents) -> WindowSizes:
    """The windows of a training on a text of so many tokens, whose documents (D,) begin there."""
    by_document = training.sampler == "document"
    row = longest_document(documents, num_tokens) if by_document else -(-num_tokens // training.batch_size)
    options = training.truncation_options
    if training.truncation == "none":
        mean = num_tokens / len(documents) if by_document else row
        return WindowSizes(row, mean)
    if training.truncation == "k1k2":
        return WindowSizes(min(row, options["k2"]), options["k1"])
    if training.truncation == "artbp":
        cut, chunk = options["artbp_cut"], options["artbp_chunk"]
        return WindowSizes(min(row, longest_segment(chunk, cut)), chunk / cut)
    return WindowSizes(training.burn_in + max(window_lengths(training.window, training.jitter)), training.window)


def longest_document(documents: Documents, num_tokens: int) -> int:
    """Tokens of the longest document; documents (D,): where each begins in so many tokens."""
    return int(np.diff(documents, append=num_tokens).max(initial=1))


def _borders(training: TrainingConfig) -> MakeBorders | None:
    """How rows are cut, None for windows behind each other."""
    options = training.truncation_options
    if training.truncation == "none":
        return WholeRows
    if training.truncation == "k1k2":
        return partial(OverlappingBorders, k1=options["k1"], k2=options["k2"])
    if training.truncation == "artbp":
        return partial(RandomCuts, chunk=options["artbp_chunk"], probability=options["artbp_cut"])
    return None
