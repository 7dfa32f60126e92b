"""How well the tokens that a network has read can be read back from what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import DataError
from lmkit.inspection.finding import Finding, Floats
from lmkit.inspection.memory.probe import fit_probe
from lmkit.inspection.stretches import Ids, before, positions
from lmkit.inspection.walk import Step, walk
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel

__all__ = ["Memory", "Recall", "measure_memory", "read_states", "recall"]

TEST_SHARE = 0.25
LEAST_ROWS = 8
READ = 32  # steps of each row whose states are looked at


@dataclass(frozen=True, eq=False)
class Recall(Finding):
    """How well a probe reads the token ``lags`` (L,) steps back, 0 being the newest, from states that it was not fitted
    to.

    accuracy: share that is read right. nats: mean negative log-probability. shuffled: accuracy of a probe that was
    fitted to shuffled tokens, so that nothing is left but their frequencies. chance: of always the most frequent token.
    """

    lags: tuple[int, ...]
    accuracy: Floats
    nats: Floats
    shuffled: Floats
    chance: Floats


@dataclass(frozen=True, eq=False)
class Memory(Finding):
    """The same of a network and of its untrained twin: what training adds to what any network holds."""

    trained: Recall
    untrained: Recall
    num_classes: int
    num_states: int


def measure_memory(
    model: LanguageModel,
    untrained: LanguageModel,
    ids: Ids,
    *,
    eos_id: int,
    lags: Sequence[int],
    rows: int = 64,
    num_classes: int = 50,
    seed: int = 0,
) -> Memory:
    """Probe the states of two networks that read the same stretches of a text (N,).

    Each row reads ``<eos>``, as many tokens as the largest lag, and 32 more, after each of which its state is taken; a
    quarter of the rows is kept for the test. There are as many rows as the text has such 32 tokens, at most ``rows``:
    a state after a token of the test must not be among those that were fitted to. Words beyond the ``num_classes`` most
    frequent are one class. Raises DataError where the text is too short.
    """
    stretch = max(lags) + READ
    apart = 1 + (len(ids) - 1 - stretch) // READ
    ends = positions(len(ids), first=stretch, number=max(1, min(rows, apart)))
    if len(ends) < LEAST_ROWS:
        raise DataError(
            f"The text has {len(ids):,} tokens, too few for a probe of {max(lags)} steps: give a longer one."
        )
    tokens = before(ids, ends, stretch)
    ranks = most_frequent(tokens, num_classes)
    first = torch.full((len(ends), 1), eos_id)
    trained, control = (
        recall(read_states(one, torch.cat([first, tokens], 1))[:, -READ:], ranks, lags, num_classes + 1, seed=seed)
        for one in (model, untrained)
    )
    return Memory(trained, control, num_classes + 1, len(ends) * READ)


def most_frequent(tokens: Tensor, number: int) -> Tensor:
    """The ranks of tokens by their frequency among these, the rest being one rank: 0..number, in the same shape."""
    ids, places, counts = torch.unique(tokens, return_inverse=True, return_counts=True)
    rank = torch.empty(len(ids), dtype=torch.long)
    rank[counts.argsort(descending=True, stable=True)] = torch.arange(len(ids))
    return rank.clamp_max(number)[places]


def read_states(model: LanguageModel, tokens: Tensor) -> Tensor:
    """What a network holds after each of the tokens (R, T): (R, T, D), outputs and states of all layers side by side.
    Memories that are no vector (attention, matrices) are left out: their layer's outputs stand for them.
    """
    device = next(model.parameters()).device
    with inference(model):
        embedded = model.embedding(tokens.t().to(device))
        steps = walk(model, embedded, model.initial_state(len(tokens)))
        return torch.stack([_vector(model, step) for step in steps], dim=1).cpu()


def _vector(model: LanguageModel, step: Step) -> Tensor:
    values = step.values(model)
    return torch.cat([value for value in values.values() if value.dim() == 2], dim=1)


def recall(states: Tensor, ranks: Tensor, lags: Sequence[int], num_classes: int, *, seed: int = 0) -> Recall:
    """Probe states (R, S, D), taken after the last S of tokens (R, T) whose ``ranks`` are below ``num_classes``."""
    rows, read = states.shape[:2]
    number = max(1, round(TEST_SHARE * rows))
    drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    test, train = drawn[:number], drawn[number:]
    found = [
        _recall_at(states, ranks[:, ranks.shape[1] - read - lag :][:, :read], train, test, num_classes) for lag in lags
    ]
    columns = np.array(found).T
    return Recall(tuple(lags), *columns)


def _recall_at(states: Tensor, ranks: Tensor, train: Tensor, test: Tensor, num_classes: int) -> tuple[float, ...]:
    vectors, classes = states[train].flatten(0, 1), ranks[train].flatten()
    unseen, truth = states[test].flatten(0, 1), ranks[test].flatten()
    probe = fit_probe(vectors, classes, num_classes)
    shuffled = classes[torch.randperm(len(classes), generator=torch.Generator().manual_seed(1))]
    control = fit_probe(vectors, shuffled, num_classes)
    chance = float((truth == classes.bincount().argmax()).double().mean())
    return probe.accuracy(unseen, truth), probe.nats(unseen, truth), control.accuracy(unseen, truth), chance
