"""Deep feed-forward networks, for what gradients do from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DeepNetwork", "DeepOptions", "DeepRecord", "layer_gradients", "teacher_batch", "train_deep"]

NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
GAINS = {"tanh": 1.0, "relu": 2.0**0.5, "sigmoid": 1.0}
FEATURES, CLASSES, TEACHER_SEED = 16, 8, 2**40


@dataclass(frozen=True)
class DeepOptions:
    """A training of a deep network on a task that one hidden layer made.

    start: ``uniform`` within 1 / sqrt(width), as torch draws it; ``scaled``, normal with variance gain^2 / width (He et
    al. 2015, arXiv 1502.01852); ``orthogonal`` times the gain (Saxe, McClelland & Ganguli 2014, arXiv 1312.6120).
    residual: whether each layer adds to what it gets (He et al. 2016, arXiv 1512.03385).
    """

    num_layers: int
    nonlinearity: str = "tanh"
    start: str = "uniform"
    residual: bool = False
    width: int = 32
    lr: float = 0.1
    batch_size: int = 64
    max_steps: int = 400
    seed: int = 0


class DeepRecord(NamedTuple):
    """The network after all updates, its loss on fresh data in nats, and how much each hidden layer's matrix has
    changed, relative to its norm at the start, the first layer first.
    """

    model: DeepNetwork
    loss: float
    changes: list[float]


class DeepNetwork(nn.Module):
    """Hidden layers of one width between two linear maps: vectors (B, 16) in, logits (B, 8) out."""

    def __init__(self, options: DeepOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.enter, self.leave = nn.Linear(FEATURES, width), nn.Linear(width, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(options.num_layers))
        gain = GAINS[options.nonlinearity]
        for layer in self.matrices():
            if options.start == "scaled":
                nn.init.normal_(layer, std=gain * width**-0.5)
            elif options.start == "orthogonal":
                nn.init.orthogonal_(layer, gain)

    def matrices(self) -> Iterator[nn.Parameter]:
        """Those of the hidden layers, the first first."""
        for layer in self.layers:
            yield layer.get_parameter("weight")

    def hidden(self, inputs: Tensor) -> list[Tensor]:
        """What goes into the first hidden layer, and what each one gives: (B, width) each."""
        values = [self.enter(inputs)]
        for layer in self.layers:
            change = NONLINEARITIES[self.options.nonlinearity](layer(values[-1]))
            values.append(values[-1] + change if self.options.residual else change)
        return values

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, 16) to logits (B, 8)."""
        logits: Tensor = self.leave(self.hidden(inputs)[-1])
        return logits


def teacher_batch(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normal vectors (B, 16) and the class (B,) that a fixed network of one hidden layer gives each."""
    fixed = torch.Generator().manual_seed(TEACHER_SEED)
    first, second = torch.randn(FEATURES, 32, generator=fixed), torch.randn(32, CLASSES, generator=fixed)
    inputs = torch.randn(rows, FEATURES, generator=generator)
    return inputs, (torch.tanh(inputs @ first) @ second).argmax(1)


def layer_gradients(model: DeepNetwork, inputs: Tensor, targets: Tensor) -> list[float]:
    """Norms of the gradient of the mean loss with respect to what goes into the hidden layers and what each gives, the
    first first.
    """
    values = model.hidden(inputs)
    loss = F.cross_entropy(model.leave(values[-1]), targets)
    return [float(one.norm()) for one in torch.autograd.grad(loss, values)]


def new_network(options: DeepOptions) -> DeepNetwork:
    """As a training with these options begins; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return DeepNetwork(options)


def train_deep(options: DeepOptions) -> Iterator[DeepRecord | None]:
    """Train by plain gradient descent on fresh batches; yields None after each update, and a record at the end. A
    function of the options.
    """
    model, generator = new_network(options), torch.Generator().manual_seed(options.seed)
    before = [matrix.detach().clone() for matrix in model.matrices()]
    for _ in range(options.max_steps):
        inputs, targets = teacher_batch(options.batch_size, generator)
        gradients = torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=options.lr)
        yield None
    with torch.no_grad():
        pairs = zip(model.matrices(), before, strict=True)
        changes = [float((now - then).norm() / then.norm()) for now, then in pairs]
        inputs, targets = teacher_batch(1000, torch.Generator().manual_seed(TEACHER_SEED + 1))
        yield DeepRecord(model, float(F.cross_entropy(model(inputs), targets)), changes)
