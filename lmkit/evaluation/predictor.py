"""Predictors: whatever gives probabilities to tokens. The network is one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from lmkit.model import state as states
from lmkit.model.head import IGNORE
from lmkit.model.inference import inference
from lmkit.model.int8 import is_quantized
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["TOLERANCE", "NetworkPredictor", "Predictor", "Scorer", "Stateful"]

S = TypeVar("S")
TOLERANCE = 1e-4  # nats; float32 in another order of sums moves a log-probability by about 1e-6
TOLERANCE_ON_GPU = 1e-2  # where cuDNN and matrix products may round their inputs to TF32
TOLERANCE_INT8 = 1e-2  # another last bit can round to another integer, 1/127 of the largest number of its row
TOLERANCE_BFLOAT16 = 1e-1  # a last bit is 2^-8 of the value, and another order of sums moves some
LOGITS_AT_ONCE = 2**23  # 32 MiB in float32: fits caches of the last level, and no text makes memory grow


class Stateful(Protocol[S]):
    """Whatever carries a state S along a stream of tokens, in rows that are independent."""

    def initial_state(self, batch_size: int) -> S:
        """The state before any token."""

    def reset(self, state: S, rows: Tensor) -> S:
        """The state with the given rows ((B,) bool) as at the beginning."""

    def gather(self, rows: Sequence[tuple[S, int]]) -> S:
        """A state whose row i is the given row of the i-th given state."""


class Scorer(Stateful[S], Protocol[S]):
    """Gives log-probabilities in nats to the tokens of a stream; nothing may depend on how it is cut into windows.

    tolerance: by how many nats a log-probability may move when the same is computed in a batch of another shape.
    """

    @property
    def tolerance(self) -> float: ...

    def score(self, tokens: Tensor, targets: Tensor, state: S) -> tuple[Tensor, S]:
        """Log-probabilities (B, T) of the targets after the tokens, 0 where a target is IGNORE; and the new state.

        Several sets of them, (..., B, T), where the scorer computes several side by side.
        """


class Predictor(Scorer[S], Protocol[S]):
    """A scorer of one set of log-probabilities that also knows the whole distribution."""

    def distribution(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """Log-probabilities (B, T, V) of every token after each of the tokens; and the new state."""


class NetworkPredictor:
    """A language model as a predictor: no dropout, no gradient, its parameters' precision (float32 by
    default).
    """

    def __init__(self, model: LanguageModel, precision: torch.dtype = torch.float32) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.precision = precision

    @property
    def tolerance(self) -> float:
        if self.precision != torch.float32:
            return TOLERANCE_BFLOAT16
        if is_quantized(self.model):
            return TOLERANCE_INT8
        return TOLERANCE if self.device.type == "cpu" else TOLERANCE_ON_GPU

    @torch.no_grad()
    def initial_state(self, batch_size: int) -> State:
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def reset(self, state: State, rows: Tensor) -> State:
        return self.model.reset(state, rows.to(self.device))

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return states.gather(rows)

    def score(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        _, scores, state = self.hidden_and_scores(tokens, targets, state)
        return scores, state

    def distribution(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        _, log_probs, state = self.hidden_and_distribution(tokens, state)
        return log_probs, state

    def features(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden vectors (B, T, D) after each of the tokens (B, T), and the new state."""
        with self._inference():
            return self.model.features(tokens.to(self.device), state)

    def hidden_and_scores(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """``score`` with the hidden vectors (B, T, D) that it comes from."""
        with self._inference():
            hidden, state = self.model.features(tokens.to(self.device), state)
            targets = targets.to(self.device)
            wanted = targets != IGNORE
            flat, flat_targets = hidden[wanted], targets[wanted]
            chunk = max(1, LOGITS_AT_ONCE // self.model.vocab_size)
            parts = [
                -self.model.head.nll(flat[start : start + chunk], flat_targets[start : start + chunk])
                for start in range(0, len(flat), chunk)
            ]
            scores = torch.zeros(targets.shape, dtype=parts[0].dtype if parts else None, device=self.device)
            if parts:
                scores[wanted] = torch.cat(parts)
            return hidden, scores, state

    def hidden_and_distribution(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """``distribution`` with the hidden vectors (B, T, D) that it comes from."""
        with self._inference():
            hidden, state = self.model.features(tokens.to(self.device), state)
            flat = self.model.head.log_probs(hidden.reshape(-1, hidden.shape[-1]))
            return hidden, flat.view(*tokens.shape, -1), state

    @contextmanager
    def _inference(self) -> Iterator[None]:
        lower = self.precision != torch.float32
        with inference(self.model), torch.autocast(self.device.type, self.precision, enabled=lower):
            yield
