"""Everything that training changes, in one value that belongs to the caller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lmkit.distributed.world import World
from lmkit.model.encoder import Encoder
from lmkit.model.state import State, map_state
from lmkit.training.average import Average
from lmkit.training.generators import Generators
from lmkit.training.graphs import StepGraphs
from lmkit.training.guard import Guard
from lmkit.training.mismatch import Mismatch
from lmkit.training.optimizers import memory_names

__all__ = ["TrainState", "ValidationHistory"]


@dataclass
class ValidationHistory:
    """Memory of the validations: for the plateau schedule, for early stopping, and for the best model. best: its nats
    per target; rank: what made it the best, ``Validated.rank``.
    """

    best: float = math.inf
    best_step: int = 0
    factor: float = 1.0
    bad_validations: int = 0
    validated_at: int = 0
    rank: tuple[float, ...] = (math.inf,)

    def update(self, nats_per_target: float, rank: tuple[float, ...], step: int, lr_decay: float) -> bool:
        """Take note of a validation; return whether it is the best. Each one that is not divides the learning rate."""
        self.validated_at = step
        if rank < self.rank:
            self.best, self.rank, self.best_step, self.bad_validations = nats_per_target, rank, step, 0
            return True
        self.factor /= lr_decay
        self.bad_validations += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the rank only where it is more than the nats, which earlier checkpoints have alone."""
        return {name: value for name, value in vars(self).items() if name != "rank" or value != (self.best,)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ValidationHistory:
        """The memory that ``state_dict`` is of."""
        kinds = {name: type(value) for name, value in vars(cls()).items()}
        found = cls(**{name: kinds[name](value) for name, value in values.items()})
        return found if "rank" in values else replace(found, rank=(found.best,))


@dataclass
class TrainState:
    """The whole state of a training run, between two steps.

    carried: the recurrent state that the next window continues (None at the start of an epoch). epoch, index: the
    position in the data: the next window to train on. elapsed: seconds inside the loop, without set-up and evaluation.
    scaler: of float16's gradients; switched off for all other precisions. stopped: on a device that is read now and
    then, whether a step since the last reading must not be followed by another; None where every step is read. graphs:
    the steps that are recorded for a CUDA device, made anew after each loading. average: the mean of the weights, None
    in a training without one. In a world of several processes each has its own
    rows of the carried state.
    """

    model: Encoder
    optimizer: Optimizer
    carried: State | None = None
    epoch: int = 0
    index: int = 0
    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0
    validations: ValidationHistory = field(default_factory=ValidationHistory)
    guard: Guard = field(default_factory=Guard)
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    stopped: Tensor | None = None
    graphs: StepGraphs = field(default_factory=StepGraphs)
    average: Average | None = None
    generators: Generators = field(default_factory=Generators)

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.generators.world

    @property
    def measured(self) -> Encoder:
        """The network that is validated, kept and sampled: the mean where one has begun, else the one in training."""
        mean = None if self.average is None else self.average.model
        return self.model if mean is None else mean

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, nested: what ``lmkit.run.checkpoints.packing`` takes; of all rows and processes,
        which come together here.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "carried": None if self.carried is None else map_state(self.world.all_rows, self.carried),
            "place": (self.epoch, self.index, self.step, self.tokens),
            "elapsed": self.elapsed,
            "annealing": self.validations.state_dict(),
            "guard": self.guard.state_dict(),
            "scaler": self.scaler.state_dict(),
            **self.generators.state_dict(),
            **({} if self.average is None else {"average": self.average.state_dict()}),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Continue from ``state_dict``: model and optimiser are filled in place, torch's generators are set.

        Raises Mismatch for values of another training.
        """
        self.load_weights(values)
        if self.average is not None:
            self.average.losses = list(map(float, values["average"]["losses"]))
        self.carried = self._checked(values["carried"])
        self.epoch, self.index, self.step, self.tokens = position = tuple(map(int, values["place"]))
        if min(position) < 0:
            raise Mismatch(f"its position in the data is {position}")
        self.elapsed = values["elapsed"]
        self.validations = ValidationHistory.of(values["annealing"])
        self.guard.load_state_dict(values["guard"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(values["scaler"])
        self.stopped = None
        self.generators.load_state_dict(values)

    def load_weights(self, values: Mapping[str, Any]) -> None:
        """Of ``state_dict`` only what is trained: fill model and optimiser in place, take over the mean. Second names
        of tied weights may be absent. Raises Mismatch where something does not fit.
        """
        weights, optimizer = values["model"], values["optimizer"]
        if unknown := sorted(weights.keys() - self.model.state_dict().keys()):
            raise Mismatch(f"the model has no weights {unknown[0]}")
        self._check_memory(optimizer["state"])
        try:
            self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise Mismatch(str(error)) from error
        self.optimizer.load_state_dict(optimizer)
        if self.average is not None:
            self.average.load_mean(values["average"], self.model)
        self.graphs.clear()

    def go_back(self, values: Mapping[str, Any]) -> None:
        """Weights, their mean and optimiser of an earlier ``state_dict``; the position in the data stays. Raises
        Mismatch where something does not fit.
        """
        self.load_weights(values)
        self.carried = None
        self.guard.rollbacks += 1

    def _check_memory(self, memories: dict[int, dict[str, Any]]) -> None:
        """Raise Mismatch where what an optimiser remembers of the parameters, by their number, is not this one's."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        names = [memory_names(self.optimizer, group) for group in self.optimizer.param_groups for _ in group["params"]]
        for number, memory in memories.items():
            if set(memory) != names[number]:
                raise Mismatch("it holds the memory of another optimiser")
            for name, value in memory.items():
                shape = tuple(value.shape) if isinstance(value, Tensor) else ()
                if shape not in ((), tuple(parameters[number].shape)):
                    raise Mismatch(f"the optimiser's {name} of parameter {number} has shape {list(shape)}")

    def _checked(self, carried: State | None) -> State | None:
        """A carried state of the model's own shape, on the model's device."""
        if carried is None:
            return None
        own = self.model.initial_state(len(carried[0][0]))
        if [[one.shape for one in layer] for layer in own] != [[one.shape for one in layer] for layer in carried]:
            raise Mismatch("the carried state has another shape than the model's")
        device = own[0][0].device
        return map_state(lambda tensor: self.world.own_rows(tensor).to(device), carried)
