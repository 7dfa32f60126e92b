"""A recurrent layer on paper: an orthogonal matrix, a nonlinearity, and nothing that is trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

__all__ = ["NONLINEARITIES", "contributions"]

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda values: values,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def contributions(
    nonlinearity: str,
    scale: float,
    *,
    size: int,
    length: int,
    generator: torch.Generator,
    deviation: float = 0.5,
    rows: int = 64,
) -> list[float]:
    """How far the last state moves when one of ``length`` words is replaced, by how many steps ago it was read, the
    newest first, over that of the newest.

    h' = f(s Q h + x) from a state of zero, with Q orthogonal and ``size`` units; words x are normal with this
    deviation. In a linear layer the contribution is s to the power of the steps, exactly. Computed in float64.
    """
    draw = partial(torch.randn, dtype=torch.float64, generator=generator)
    matrix_HH = scale * torch.linalg.qr(draw(size, size)).Q
    words_TBH, others_TBH = deviation * draw(2, length, rows, size)
    step = NONLINEARITIES[nonlinearity]

    def last_state(inputs_TBH: Tensor) -> Tensor:
        state_BH = torch.zeros_like(inputs_TBH[0])
        for word_BH in inputs_TBH:
            state_BH = step(state_BH @ matrix_HH.T + word_BH)
        return state_BH

    read = last_state(words_TBH)
    moved = []
    for position in reversed(range(length)):
        changed_TBH = words_TBH.clone()
        changed_TBH[position] = others_TBH[position]
        distance = (last_state(changed_TBH) - read).norm(dim=1)
        moved.append((distance / (others_TBH[position] - words_TBH[position]).norm(dim=1)).mean().item())
    return [one / moved[0] for one in moved]
