"""Optimisers from ``torch.optim`` and learning rates as pure functions of progress."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from lmkit.config import TrainingConfig

__all__ = ["ADAM_BETAS", "NUM_MOMENTS", "learning_rate", "make_optimizer"]

NUM_MOMENTS = {"sgd": 0, "adamw": 2}  # numbers that an optimiser keeps of each parameter
ADAM_BETAS = (0.9, 0.99)  # a shorter memory of squares than torch's default: runs of minutes have few steps


def make_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """SGD or AdamW; weight decay falls on matrices only, not on biases."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, fused=_can_fuse(matrices[0]))
    return AdamW(groups, lr=config.lr, betas=ADAM_BETAS, fused=_can_fuse(matrices[0]))


def learning_rate(config: TrainingConfig, progress: float, annealing: float = 1.0) -> float:
    """The learning rate at a progress in [0, 1].

    constant: lr. plateau: lr * annealing, the product of all divisions by ``lr_decay`` so far. cosine: a linear rise
    over the share ``warmup``, then half a cosine down to zero (Loshchilov & Hutter 2017, arXiv 1608.03983, without
    restarts).
    """
    if config.schedule_name == "constant":
        return config.lr
    if config.schedule_name == "plateau":
        return config.lr * annealing
    if progress < config.warmup:
        return config.lr * max(progress / config.warmup, 0.01)
    fall = (min(progress, 1.0) - config.warmup) / (1.0 - config.warmup)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * fall))


def _can_fuse(parameter: torch.Tensor) -> bool:
    return parameter.device.type in ("cpu", "cuda")
