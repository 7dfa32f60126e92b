"""Dynamic evaluation: a network that keeps training on the text that it has just scored.

Krause, Kahembwe, Murray & Renals (2018), "Dynamic evaluation of neural sequence models", arXiv 1709.07432, the update
of their section 4 (RMS with decay towards the trained weights).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model import state as states
from lmkit.model.head import IGNORE
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State
from lmkit.samplers import Window

__all__ = ["ONE_STREAM", "DynamicPredictor", "DynamicState", "gradient_squares"]

ONE_STREAM = "Dynamic evaluation learns along one stream: use --rows 1."
NOTHING_READ = torch.empty(1, 0, dtype=torch.long)
EPSILON = 1.0  # added to the root mean square of a gradient, in units of its mean


class DynamicState(NamedTuple):
    """weights: those that the next token is scored with. began: the network's state where the unfinished span began;
    read: the inputs since then (1, k); current: the network's state now.
    """

    weights: tuple[Tensor, ...]
    began: State
    read: Tensor
    current: State


class DynamicPredictor:
    """Scores one stream and takes a step of gradient descent on a copy of the weights after every ``span`` tokens.

    Each weight moves by -lr * gradient / (rms + mean rms) + decay * (trained weight - weight) * rms / mean rms, the
    rms being the root of ``squares``, the mean squares of the gradient on training text. Spans are counted from the
    stream's beginning, so no window changes the result; a token is always scored before it is trained on. The
    precision is that of scoring; gradients are in that of the parameters.
    """

    def __init__(
        self,
        model: LanguageModel,
        squares: Iterable[Tensor],
        *,
        span: int,
        lr: float,
        decay: float,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        self.parameters = list(self.model.parameters())
        self.trained = tuple(parameter.detach().clone() for parameter in self.parameters)
        self.predictor = NetworkPredictor(self.model, precision)
        self.span, self.lr = span, lr
        roots = [square.sqrt() for square in squares]
        mean = sum(float(root.sum()) for root in roots) / sum(root.numel() for root in roots)
        self.scales = [lr / (root + EPSILON * mean) for root in roots]
        self.pulls = [(decay * root / mean).clamp_max(1.0) for root in roots]

    @property
    def tolerance(self) -> float:
        return self.predictor.tolerance

    def initial_state(self, batch_size: int) -> DynamicState:
        if batch_size != 1:
            raise ConfigError(ONE_STREAM)
        first = self.predictor.initial_state(1)
        return DynamicState(self.trained, first, NOTHING_READ, first)

    def reset(self, state: DynamicState, rows: Tensor) -> DynamicState:
        return self.initial_state(1) if bool(rows[0]) else state

    def gather(self, rows: Sequence[tuple[DynamicState, int]]) -> DynamicState:
        ((state, _),) = rows
        return state

    def score(self, tokens: Tensor, targets: Tensor, state: DynamicState) -> tuple[Tensor, DynamicState]:
        _, scores, state = self.hidden_and_scores(tokens, targets, state)
        return scores, state

    def distribution(self, tokens: Tensor, state: DynamicState) -> tuple[Tensor, DynamicState]:
        _, log_probs, state = self.hidden_and_distribution(tokens, state)
        return log_probs, state

    def hidden_and_scores(
        self, tokens: Tensor, targets: Tensor, state: DynamicState
    ) -> tuple[Tensor, Tensor, DynamicState]:
        """``score`` with the hidden vectors (1, T, D) that it comes from."""

        def score(part: slice, current: State) -> tuple[Tensor, Tensor, State]:
            return self.predictor.hidden_and_scores(tokens[:, part], targets[:, part], current)

        return self._walk(tokens, state, score)

    def hidden_and_distribution(self, tokens: Tensor, state: DynamicState) -> tuple[Tensor, Tensor, DynamicState]:
        """``distribution`` with the hidden vectors (1, T, D) that it comes from."""

        def distribution(part: slice, current: State) -> tuple[Tensor, Tensor, State]:
            return self.predictor.hidden_and_distribution(tokens[:, part], current)

        return self._walk(tokens, state, distribution)

    def _walk(
        self, tokens: Tensor, state: DynamicState, read: Callable[[slice, State], tuple[Tensor, Tensor, State]]
    ) -> tuple[Tensor, Tensor, DynamicState]:
        """Read a window piece by piece, cut where spans end, and learn in between.

        The last target of a span is the input after it, so a span is trained on when that input has come: before it is
        read.
        """
        hidden, results, start = [], [], 0
        while start < tokens.shape[1]:
            if state.read.shape[1] == self.span:
                state = self._learn(state, tokens[:, start : start + 1].cpu())
            part = slice(start, start + self.span - state.read.shape[1])
            self._use(state.weights)
            vectors, result, current = read(part, state.current)
            hidden.append(vectors)
            results.append(result)
            state = state._replace(read=torch.cat([state.read, tokens[:, part].cpu()], dim=1), current=current)
            start = part.stop
        return torch.cat(hidden, dim=1), torch.cat(results, dim=1), state

    def _learn(self, state: DynamicState, following: Tensor) -> DynamicState:
        """One step on the finished span, whose last target is ``following`` (1, 1)."""
        device = self.predictor.device
        targets = torch.cat([state.read[:, 1:], following], dim=1)
        began = states.cast(states.detach(state.began), self.trained[0].dtype)
        self._use(state.weights)
        with torch.enable_grad():
            nll, _ = self.model.nll_sum(state.read.to(device), targets.to(device), began)
            gradients = torch.autograd.grad(nll / self.span, self.parameters, materialize_grads=True)
        updated = []
        for weight, gradient, trained, scale, pull in zip(
            state.weights, gradients, self.trained, self.scales, self.pulls, strict=True
        ):
            updated.append(torch.lerp(weight, trained, pull).addcmul_(gradient, scale, value=-1))
        self._use(tuple(updated))
        self.model.constrain()
        return DynamicState(tuple(updated), state.current, NOTHING_READ, state.current)

    def _use(self, weights: tuple[Tensor, ...]) -> None:
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.data = weight


def gradient_squares(model: LanguageModel, windows: Iterable[Window]) -> list[Tensor]:
    """Mean squares of the gradient of the mean nll over windows of training text, one tensor for each parameter."""
    model = copy.deepcopy(model).eval()
    parameters = list(model.parameters())
    device = parameters[0].device
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    count = 0
    for window in windows:
        state = model.initial_state(len(window.reset))
        known = int((window.targets != IGNORE).sum())
        nll, _ = model.nll_sum(window.inputs.to(device), window.targets.to(device), state)
        for square, gradient in zip(
            squares, torch.autograd.grad(nll / known, parameters, allow_unused=True), strict=True
        ):
            if gradient is not None:
                square.addcmul_(gradient, gradient)
        count += 1
    return [square / max(1, count) for square in squares]
