"""Measuring in several processes: each computes some rows of every batch, and all have the log-probabilities of all.

What is done with those, as proving the seams between rows, is done by every process alike, so it is the code of one
process. The states stay where their rows are computed; where a row is read on by another process, its state is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.distributed.world import World
from lmkit.errors import ConfigError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State, map_state
from lmkit.text.token_file import TokenFile

__all__ = ["SharedNetwork", "SharedState", "check_can_share", "check_same_model"]


class SharedState(NamedTuple):
    """The state of a batch: own, of the rows that this process computes; rows, how many all have."""

    own: State
    rows: int


class SharedNetwork:
    """A network whose rows several processes compute. All call it alike: the same tokens, in the same order."""

    def __init__(self, network: NetworkPredictor, world: World) -> None:
        self._network, self._world = network, world

    @property
    def tolerance(self) -> float:
        return self._network.tolerance

    def initial_state(self, batch_size: int) -> SharedState:
        own = self._world.rows(batch_size)
        return SharedState(self._network.initial_state(own.stop - own.start), batch_size)

    def reset(self, state: SharedState, rows: Tensor) -> SharedState:
        return state._replace(own=self._network.reset(state.own, rows[self._world.rows(len(rows))]))

    def gather(self, rows: Sequence[tuple[SharedState, int]]) -> SharedState:
        here, homes = self._world.rows(len(rows)), [self._world.home(row, state.rows) for state, row in rows]
        found = self._brought([state.own for state, _ in rows], homes)
        chosen = [found.get(place, (rows[place][0].own, homes[place][1])) for place in range(here.start, here.stop)]
        return SharedState(self._network.gather(chosen) if chosen else self._network.initial_state(0), len(rows))

    def score(self, tokens: Tensor, targets: Tensor, state: SharedState) -> tuple[Tensor, SharedState]:
        own = self._world.rows(len(tokens))
        log_probs, after = torch.zeros(0, tokens.shape[1]), state.own
        if own.start < own.stop:
            log_probs, after = self._network.score(tokens[own], targets[own], state.own)
        parts = [part for part in self._world.gather(log_probs.cpu()) if len(part)]
        return torch.cat(parts), SharedState(after, len(tokens))

    def _brought(self, states: Sequence[State], homes: Sequence[tuple[int, int]]) -> dict[int, tuple[State, int]]:
        """By their places in a new batch, the rows that do not stay in the process which has them."""
        moved = [place for place, (rank, _) in enumerate(homes) if rank != self._world.home(place, len(homes))[0]]
        if not moved:
            return {}
        sent = {
            place: map_state(Tensor.cpu, self._network.gather([(states[place], homes[place][1])]))
            for place in moved
            if homes[place][0] == self._world.rank
        }
        device = self._network.device
        return {
            place: (map_state(lambda tensor: tensor.to(device), state), 0)
            for part in self._world.gather(sent)
            for place, state in part.items()
        }


def check_can_share(model: LanguageModel, tokens: TokenFile, rows: int, world: World) -> None:
    """Raise ConfigError where not every process has a row of the text, or not all have the same text and model."""
    check_same_model(model, world)
    world.check_same({"text": (tokens.sha256, len(tokens))})
    if rows < world.size:
        raise ConfigError(
            f"{world.size} processes need a row each, and the text is read in {rows}: give --rows {world.size} or "
            "more, or leave torchrun out where the text is too short."
        )


def check_same_model(model: LanguageModel, world: World) -> None:
    """Raise ConfigError where a process has other weights than the first one."""
    if not world.alone:
        world.check_same({"model": _sha256(model)})


def _sha256(model: LanguageModel) -> str:
    """Of all weights, in their order."""
    digest = hashlib.sha256()
    for weights in model.state_dict().values():
        digest.update(weights.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
