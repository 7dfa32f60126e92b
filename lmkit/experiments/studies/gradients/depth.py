"""Experiment: gradients through the layers of a deep feed-forward network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, together
from lmkit.experiments.tasks.deep_network import (
    DeepOptions,
    DeepRecord,
    layer_gradients,
    new_network,
    teacher_batch,
    train_deep,
)
from lmkit.experiments.tools.bounds import below, corrected_mean
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.plots.charts import Chart, Line, Lines

__all__ = ["Depth"]

LEAST = 0.05  # of the factor a layer, from 1
LEARNS_LITTLE = 0.1  # of what the last layer changes
FLOOR = -10  # as a power of 10: what float32 takes for no change of a matrix
TAUGHT = ("sigmoid", "tanh")
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "sigmoid": {"nonlinearity": "sigmoid"},
    "tanh": {"nonlinearity": "tanh"},
    "relu": {"nonlinearity": "relu"},
    "relu, scaled start": {"nonlinearity": "relu", "start": "scaled"},
    "tanh, orthogonal": {"nonlinearity": "tanh", "start": "orthogonal"},
    "tanh, residual": {"nonlinearity": "tanh", "residual": True},
}


class Depth(Experiment):
    name = "depth"
    title = "Depth: gradients through the layers of a feed-forward network"
    claims = (15,)
    question = "Do gradients shrink exponentially through layers, so that the earlier layers fail to learn?"
    rule = (
        "Networks of 16 hidden layers of 32 units are trained by plain gradient descent, 1,000 updates of 64, on "
        "classes that a fixed shallow network gives to random vectors; each takes its rate from one grid. The "
        "gradient shrinks if its norm at the start falls, from a layer to the one below, by a factor below 0.95 "
        "(least squares of the logarithm); the first layer fails to learn if its matrix changes, relative to its "
        "norm, less than a tenth as much as the last one's. Both are judged by the whole interval over seeds, "
        "corrected for the number of judgements (Bonferroni), for sigmoid and tanh units from torch's own start, "
        "which is what is taught. Claim 15 holds if all four do. Rectified units, other starts and residual layers "
        "stand beside them and decide nothing."
    )
    minutes = 5
    equal: ClassVar[Mapping[str, float]] = {"targets": 0.0, "targets_per_update": 0.0}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(0.01, 0.03, 0.1, 0.3)), grid(lr=(0.1,)))
        return [Arm(name, options, rates) for name, options in NETWORKS.items()]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        size: dict[str, Any] = {"num_layers": trial.scale.pick(16, 4), "max_steps": trial.scale.pick(1000, 5)}
        options = DeepOptions(**trial.options, **size, seed=trial.seed)
        inputs, targets = teacher_batch(256, torch.Generator().manual_seed(trial.seed))
        gradients = np.log10(np.maximum(layer_gradients(new_network(options), inputs, targets), 1e-300))
        record = _trained(trial, options)
        layers = np.arange(len(gradients))
        return {
            "valid": record.loss,
            "factor": float(10 ** -np.polyfit(layers, gradients, 1)[0]),
            "share": record.changes[0] / record.changes[-1] if record.changes[-1] else None,
            "logarithms": gradients.tolist(),
            "changes": np.log10(np.maximum(record.changes, 1e-300)).tolist(),
            "targets": options.max_steps * options.batch_size,
            "targets_per_update": options.batch_size,
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        number = 2 * len(TAUGHT)
        found = {
            (name, what): corrected_mean(outcomes.values(name, what), number)
            for name in TAUGHT
            for what in ("factor", "share")
        }
        words = [
            below(found[name, what], border)
            for name in TAUGHT
            for what, border in (("factor", 1 - LEAST), ("share", LEARNS_LITTLE))
        ]
        parts = [
            f"{name}: a layer multiplies the gradient by {shown(found[name, 'factor'], '.3f')}, and the first layer "
            f"changes {shown(found[name, 'share'], '.3f')} times as much as the last"
            for name in TAUGHT
        ]
        others = [name for name in NETWORKS if name not in TAUGHT]
        beside = ", ".join(f"{name} {outcomes.mean(name, 'factor').value:.3f}" for name in others)
        return [Verdict(15, together(words), f"{'; '.join(parts)}. Factor a layer of others: {beside}.")]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("factor a layer down", "factor", ".3f"),
            ("change of the first over that of the last layer", "share", ".3f"),
            ("loss at the end, nats", "valid", ".4f"),
        ]
        return [arms_table(outcomes, columns)]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        return {
            "gradients": _chart(outcomes, "logarithms", "Gradient by layer, before training", "norm, as a power of 10"),
            "changes": _chart(
                outcomes,
                "changes",
                "What training changes",
                f"relative change, as a power of 10 ({FLOOR}: none)",
                FLOOR,
            ),
        }


def _trained(trial: Trial, options: DeepOptions) -> DeepRecord:
    for record in train_deep(options):
        trial.interruption.check()
        if record is not None:
            return record
    raise AssertionError("a training ends with a record")


def _chart(outcomes: Outcomes, values: str, title: str, label: str, floor: float = -math.inf) -> Chart:
    raised = replace(outcomes, runs=tuple(_raised(run, values, floor) for run in outcomes.runs))
    lines = []
    for name in NETWORKS:
        curve = raised.curve(name, values)
        lines.append(Line(name, list(range(1, 1 + len(curve.mean))), curve.mean, curve.low, curve.high))
    return Lines(title, "layer, the first below", label, lines)


def _raised(run: Run, name: str, floor: float) -> Run:
    """A run with a list in which nothing is below a floor."""
    values = [None if one is None else max(one, floor) for one in run.values.get(name) or ()]
    return replace(run, values={**run.values, name: values or None})
