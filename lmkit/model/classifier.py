"""A classifier of documents: an encoder, one vector for its outputs, a linear output."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.config import ModelConfig
from lmkit.model import state as states
from lmkit.model.encoder import Encoder, WindowLoss
from lmkit.model.head import IGNORE, FullSoftmax
from lmkit.model.pooling import POOLINGS, Running, pooled, pooled_at_each, running
from lmkit.model.state import State
from lmkit.model.widened import widened

__all__ = ["Classifier", "ClassifierLoss"]


class Classifier(Encoder):
    """Documents in, log-probabilities of ``num_classes`` classes out.

    A document is read in windows of at most ``window`` steps, so memory does not grow with its length, and the gradient
    goes back to the beginning of the window that it ends in, as in the training of language models. pooling: what is
    made of the encoder's outputs, a name of ``POOLINGS``. resets: whether each window begins in the state that the
    document begins in, else in the one that the window before it has left.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, num_classes: int, pooling: str, window: int, *, resets: bool = False
    ) -> None:
        super().__init__(config, vocab_size)
        self.pooling, self.window, self.resets = pooling, window, resets
        self.head: FullSoftmax = FullSoftmax(len(POOLINGS[pooling]) * self.recurrent.output_size, num_classes)

    @property
    def has_fixed_shapes(self) -> bool:
        return False

    def forward(self, tokens: Tensor, lengths: Tensor, state: State) -> Tensor:
        """Logits (B, C), equal to log-probabilities up to a constant, of the documents that are the first ``lengths``
        (B,) of the tokens (B, T) and begin in a state. Tokens behind them change nothing.
        """
        vectors_BP = self._vectors(tokens, lengths, state)
        return self.head.logits(F.dropout(vectors_BP, self.output_dropout, self.training))

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities (B, C) in nats of documents from their beginning."""
        logits = self(tokens, lengths, self.initial_state(len(tokens)))
        return F.log_softmax(widened(logits), dim=-1)

    def prefix_log_probs(self, tokens: Tensor) -> Iterator[Tensor]:
        """Log-probabilities (T, C) after each token of a document (N,), window by window."""
        state, before = self.initial_state(1), None
        for part in tokens.split(self.window):
            outputs_TBD, left = self.outputs(part[None], state)
            yield self.head.log_probs(pooled_at_each(self.pooling, outputs_TBD, before)[:, 0])
            before, state = running(outputs_TBD, before), state if self.resets else left

    def _vectors(self, tokens: Tensor, lengths: Tensor, state: State) -> Tensor:
        """One vector (B, P) for each document. Only the window that a row ends in is kept for the gradient."""
        rows, lengths = torch.arange(len(tokens)), lengths.cpu()
        before: Running | None = None
        found, order = [], []
        while True:
            ends = lengths <= self.window
            if ends.all():
                found.append(self._ending(tokens, lengths, state, before))
                order.append(rows)
                break
            if ends.any():
                chosen = ends.nonzero()[:, 0]
                found.append(self._ending(*_rows(chosen, tokens, lengths, state, before)))
                order.append(rows[chosen])
                chosen = (~ends).nonzero()[:, 0]
                rows = rows[chosen]
                tokens, lengths, state, before = _rows(chosen, tokens, lengths, state, before)
            with torch.no_grad():
                outputs_TBD, left = self.outputs(tokens[:, : self.window], state)
                before, state = running(outputs_TBD, before), state if self.resets else left
            tokens, lengths = tokens[:, self.window :], lengths - self.window
        if len(found) == 1:
            return found[0]
        return torch.cat(found)[torch.cat(order).argsort().to(tokens.device)]

    def _ending(self, tokens: Tensor, lengths: Tensor, state: State, before: Running | None) -> Tensor:
        outputs_TBD, _ = self.outputs(tokens[:, : int(lengths.max())], state)
        return pooled(self.pooling, outputs_TBD, lengths, before)


def _rows(
    chosen: Tensor, tokens: Tensor, lengths: Tensor, state: State, before: Running | None
) -> tuple[Tensor, Tensor, State, Running | None]:
    """Some rows of what a classifier reads."""
    there = chosen.to(tokens.device)
    if before is not None:
        before = Running(before.total[there], before.largest[there], before.steps)
    return tokens[there], lengths[chosen], states.select(state, there), before


class ClassifierLoss(nn.Module):
    """What training calls for documents with labels. class_weights: (C,) by which the loss of a document is multiplied,
    None for equal ones.
    """

    class_weights: Tensor | None

    def __init__(self, model: Classifier, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("class_weights", class_weights)

    def forward(self, inputs: Tensor, targets: Tensor, state: State) -> WindowLoss:
        """Documents (B, T); a row's target stands at its last token and is IGNORE elsewhere. The state is handed back:
        the next documents begin from their own.
        """
        labels, last = targets.max(dim=1)
        logits = widened(self.model(inputs, last + 1, state))
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        nll = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
        return WindowLoss(nll, torch.zeros_like(nll), (labels != IGNORE).sum(), state)
