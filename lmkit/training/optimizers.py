"""Optimisers, most of them from ``torch.optim``, and learning rates as pure functions of progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from lmkit.config import TrainingConfig
from lmkit.model.cells import Cell
from lmkit.model.parts import parts_by_depth
from lmkit.training.muon import MOMENTUM, Muon

__all__ = ["can_run_ahead", "learning_rate", "make_optimizer", "memory_names", "num_moments", "set_learning_rate"]


class Kind(NamedTuple):
    """An optimiser. moments: what it keeps of each parameter, in its shape, besides momentum. fused: the devices on
    which it has a fused kernel.
    """

    make: Callable[..., Optimizer]
    moments: tuple[str, ...]
    fused: tuple[str, ...] = ()


KINDS = {
    "sgd": Kind(SGD, (), ("cpu", "cuda")),
    "adamw": Kind(AdamW, ("exp_avg", "exp_avg_sq"), ("cpu", "cuda")),
    "adam": Kind(Adam, ("exp_avg", "exp_avg_sq"), ("cpu", "cuda")),
    "rmsprop": Kind(RMSprop, ("square_avg",)),
    "adagrad": Kind(Adagrad, ("sum",), ("cpu",)),  # that for CUDA is younger than the oldest torch that lmkit takes
    "muon": Kind(Muon, ("exp_avg", "exp_avg_sq"), ("cpu", "cuda")),
}


def make_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """The optimiser of a configuration, of the parameters that require a gradient; weight decay falls on matrices only,
    not on biases.

    Weight decay is decoupled in AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101); for all others it is a part of the
    gradient, as torch has it. RMSprop: Tieleman & Hinton 2012, Adagrad: Duchi et al. 2011, Adam: Kingma & Ba 2015,
    arXiv 1412.6980.
    """
    kind, options = KINDS[config.optimizer], dict(config.optimizer_options)
    options.pop("muon_lr", None)
    device = next(model.parameters()).device.type
    if device in kind.fused:
        options["fused"] = True
    optimizer = kind.make(_groups(model, config), lr=config.lr, **options)
    for group in optimizer.param_groups:
        if "capturable" in group:  # a CUDA graph counts its steps on the device
            group["capturable"] = device == "cuda"
    if config.optimizer == "sgd" and options["momentum"]:
        for group in optimizer.param_groups:  # the fused kernel fills a buffer on its first step only if that is taken
            for parameter in group["params"]:
                optimizer.state[parameter][MOMENTUM] = torch.zeros_like(parameter)
    return optimizer


def _groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """The parameters that are trained, in groups: matrices, vectors, and for Muon the matrices of the recurrent layers
    by themselves; for each depth where rates differ. Groups without parameters are left out.
    """
    rows = _gate_rows(model) if config.optimizer == "muon" else {}
    groups = []
    for ratio, parameters in _by_rate(model, config):
        rate = {} if ratio == 1 else {"lr_ratio": ratio}
        matrices = [parameter for parameter in parameters if parameter.dim() > 1 and parameter not in rows]
        vectors = [parameter for parameter in parameters if parameter.dim() <= 1 and parameter not in rows]
        groups += [
            {"params": matrices, "weight_decay": config.weight_decay, **rate},
            {"params": vectors, "weight_decay": 0.0, **rate},
        ]
        if config.optimizer == "muon":
            own = [parameter for parameter in parameters if parameter in rows]
            gates = {"gate_rows": [rows[parameter] for parameter in own]}
            rate = {"lr_ratio": ratio * config.optimizer_options["muon_lr"] / config.lr}
            groups.append({"params": own, "weight_decay": config.weight_decay, **gates, **rate})
    return [group for group in groups if group["params"]]


def _by_rate(model: nn.Module, config: TrainingConfig) -> Iterator[tuple[float, list[Tensor]]]:
    """The parameters that are trained, with what their learning rate is multiplied by.

    Discriminative rates (Howard & Ruder 2018, arXiv 1801.06146, section 3.1): the head has the rate itself, and each
    part below it that of the one above divided by ``lr_decay_per_layer``.
    """
    everything: list[list[nn.Parameter]] = [list(model.parameters())]
    groups = everything if config.lr_decay_per_layer == 1 else parts_by_depth(model)
    for depth, group in enumerate(groups):
        yield config.lr_decay_per_layer**-depth, [parameter for parameter in group if parameter.requires_grad]


def _gate_rows(model: nn.Module) -> dict[Tensor, tuple[int, ...]]:
    """The matrices of all cells, with the rows of each of their gates."""
    cells = [module for module in model.modules() if isinstance(module, Cell)]
    return {parameter: rows for cell in cells for parameter, rows in cell.gate_rows()}


def num_moments(config: TrainingConfig) -> int:
    """How many numbers the optimiser of a configuration keeps of each parameter."""
    own = len(KINDS[config.optimizer].moments)
    if config.optimizer == "muon":  # of matrices of recurrent layers it keeps one number only
        return own
    return own + (1 if config.optimizer_options.get("momentum") else 0)


def memory_names(optimizer: Optimizer, group: Mapping[str, Any]) -> set[str]:
    """The names of what an optimiser remembers of each parameter of a group."""
    if "gate_rows" in group:
        return {MOMENTUM}
    own = next(kind.moments for kind in KINDS.values() if kind.make is type(optimizer))
    return {*own, *(["step"] if own else []), *([MOMENTUM] if group.get("momentum") else [])}


def can_run_ahead(optimizer: Optimizer) -> bool:
    """Whether a flag on the device can turn an update into none, so that steps need not be read one by one: torch's
    fused kernels look at ``found_inf``.
    """
    return all(group.get("fused") for group in optimizer.param_groups)


def set_learning_rate(optimizer: Optimizer, lr: float | Tensor) -> None:
    """Set the rate of every group; a group whose rate is another has ``lr_ratio``, by which it is multiplied."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_ratio", 1.0)


def learning_rate(config: TrainingConfig, progress: float, annealing: float = 1.0, epoch: int = 0) -> float:
    """The learning rate at a progress in [0, 1], in an epoch counted from 0.

    constant: lr. plateau: lr * annealing, the product of all divisions by ``lr_decay`` so far. epochs: lr in the first
    ``decay_after`` epochs, divided by ``lr_decay`` at the beginning of each one after them (Zaremba et al. 2014, arXiv
    1409.2329). cosine: a linear rise over the share ``warmup``, then half a cosine down to zero (Loshchilov & Hutter
    2017, arXiv 1608.03983, without restarts).
    """
    if config.schedule_name == "constant":
        return config.lr
    if config.schedule_name == "plateau":
        return config.lr * annealing
    if config.schedule_name == "epochs":
        return float(config.lr / config.lr_decay ** max(0, epoch + 1 - (config.decay_after or 1)))
    if progress < config.warmup:
        return config.lr * max(progress / config.warmup, 0.01)
    fall = (min(progress, 1.0) - config.warmup) / (1.0 - config.warmup)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * fall))
