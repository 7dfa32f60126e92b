"""What training adds to its loss for large and for quickly changing activations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lmkit.model.softmax_loss import IGNORE
from lmkit.model.widened import widened

__all__ = ["ActivationPenalty"]


@dataclass(frozen=True)
class ActivationPenalty:
    """alpha * mean(h'^2) + beta * mean((h_t - h_{t-1})^2) for each target: activation regularisation (AR) and temporal
    activation regularisation (TAR).

    Merity, McCann & Socher (2017), arXiv 1708.01009. h are the outputs of the last layer, h' the same after dropout.
    The paper's means are over all numbers of a window and stand beside the mean nll of its tokens; here all three are
    sums over the targets, which a step divides by the same number, so alpha and beta are the paper's, and a target
    weighs the same in a short window. Steps without a target are left out. In TAR each target of a row has the mean
    over the row's pairs of successive steps inside the window; one that is alone in it has none.
    """

    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, outputs: Tensor, dropped: Tensor, targets: Tensor) -> Tensor:
        """The penalty, a 0-d tensor, for outputs h and h' (T, B, D) and targets (T, B)."""
        outputs, dropped, is_target = widened(outputs), widened(dropped), targets != IGNORE
        penalty = outputs.new_zeros(())
        if self.alpha:
            penalty = penalty + self.alpha * _square_means(dropped, is_target).sum()
        if self.beta:
            pairs = is_target[1:] & is_target[:-1]
            of_rows = _square_means(outputs[1:] - outputs[:-1], pairs).sum(0)
            penalty = penalty + self.beta * (of_rows * is_target.sum(0) / pairs.sum(0).clamp_min(1)).sum()
        return penalty


def _square_means(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean square of each vector of (T, B, D), 0 where it is not chosen: (T, B)."""
    return values.square().mean(-1).masked_fill(~chosen, 0)
