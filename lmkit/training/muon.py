"""Muon: momentum whose updates are orthogonalised, gate by gate; AdamW for what is no matrix of a recurrent layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

__all__ = ["MOMENTUM", "Muon", "orthogonalised"]

MOMENTUM = "momentum_buffer"
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, by Jordan et al.
ITERATIONS = 5
SMALLEST_NORM = 1e-7
ROOT_MEAN_SQUARE = 0.2  # of AdamW's updates, as Liu et al. measured them


class Muon(Optimizer):
    """Muon for the groups that have ``gate_rows``, AdamW for the others (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon).

    gate_rows: for each parameter of the group the rows of its gates, (rows, columns) each: the momentum of a gate is
    orthogonalised by itself, because to orthogonalise a stack of matrices is another thing. A gate moves by
    lr * 0.2 * sqrt(max(rows, columns)) times that, so that its updates are as large as AdamW's and one rate serves both
    (Liu et al. 2025, arXiv 2502.16982, section 2.2). With one gate it is ``torch.optim.Muon`` with Nesterov's momentum
    and ``adjust_lr_fn="match_rms_adamw"``.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        momentum: float,
        fused: bool = False,
    ) -> None:
        own = [group | ({"momentum": momentum} if "gate_rows" in group else {"fused": fused}) for group in groups]
        super().__init__(own, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing is computed twice here
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            if "gate_rows" in group:
                self._muon_step(group)
            else:
                self._adamw_step(group)

    def _muon_step(self, group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        for parameter, rows in zip(group["params"], group["gate_rows"], strict=True):
            if parameter.grad is None:
                continue
            if not self.state[parameter]:
                self.state[parameter][MOMENTUM] = torch.zeros_like(parameter)
            buffer = self.state[parameter][MOMENTUM]
            buffer.lerp_(parameter.grad, 1 - momentum)
            update = parameter.grad.lerp(buffer, momentum)
            parameter.mul_(1 - lr * group["weight_decay"])
            gates = zip(_gates(parameter, rows), _gates(update, rows), strict=True)
            for (height, width), pairs in itertools.groupby(gates, lambda pair: pair[0].shape):
                matrices, updates = zip(*pairs, strict=True)
                rate = lr * ROOT_MEAN_SQUARE * math.sqrt(max(height, width))
                for matrix, move in zip(matrices, orthogonalised(torch.stack(updates)), strict=True):
                    matrix.add_(move, alpha=-rate)

    def _adamw_step(self, group: dict[str, Any]) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                device = parameter.device if group["fused"] else "cpu"
                self.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=device)
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        means, squares, steps = (
            [self.state[parameter][name] for parameter in parameters] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            means,
            squares,
            [],
            steps,
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (N, rows, columns) with their singular vectors and singular values near 1, by Newton-Schulz iterations.

    On a GPU in bfloat16, as torch does it; elsewhere in their own type, which is quicker there.
    """
    a, b, c = COEFFICIENTS
    values = matrices.to(torch.bfloat16) if matrices.device.type == "cuda" else matrices
    tall = values.shape[1] > values.shape[2]
    values = values.mT if tall else values
    values = values / torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True).clamp_min(SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = values @ values.mT
        values = torch.baddbmm(values, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), values, beta=a)
    return (values.mT if tall else values).to(matrices.dtype)


def _gates(tensor: Tensor, rows: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tensor.flatten(0, -2).split(list(rows))
