"""Parameters that are not trained: for good (``--freeze``), or until their turn comes (``--unfreeze-every``)."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.config import TrainingConfig
from lmkit.errors import ConfigError
from lmkit.model.encoder import Encoder
from lmkit.model.parts import named_parts, parts_by_depth
from lmkit.training.state import TrainState

__all__ = ["freeze", "num_open", "unfreeze"]


def freeze(model: Encoder, names: Sequence[str]) -> None:
    """Take the parameters of some parts out of the training, before an optimiser is made: they get no gradient, so they
    keep their bits. A tied matrix stands still with the embedding or with the head. Raises ConfigError where the
    network has no such part, or nothing would be left to train.
    """
    parts = named_parts(model)
    for name in names:
        if name not in parts:
            raise ConfigError(f"--freeze {name}: the network has {', '.join(parts)}, and no {name}.")
        for parameter in parts[name]:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"--freeze {','.join(names)} leaves nothing to train: leave one of them out.")


def num_open(config: TrainingConfig, step: int, epoch: int) -> int | None:
    """How many groups of ``parts_by_depth`` are trained in the step after ``step``, from the top down, frozen ones not
    counted; None where all are from the beginning.

    Gradual unfreezing (Howard & Ruder 2018, arXiv 1801.06146, section 3.3): first the last group alone, then one more
    below it after every N steps or every epoch.
    """
    if config.unfreeze_every is None:
        return None
    return 1 + (epoch if isinstance(config.unfreeze_every, str) else step // config.unfreeze_every)


def unfreeze(train: TrainState, config: TrainingConfig) -> None:
    """Open the groups whose turn has come before the next step and close those below: a function of the position alone,
    so a resume need not know of it. What the optimiser does not train stays closed.
    """
    number = num_open(config, train.step, train.epoch)
    if number is None:
        return
    trained = {parameter for group in train.optimizer.param_groups for parameter in group["params"]}
    groups = [[one for one in group if one in trained] for group in parts_by_depth(train.model)]
    for position, group in enumerate(filter(None, groups)):
        for parameter in group:
            if parameter.requires_grad != (position < number):
                parameter.requires_grad_(position < number)
                train.graphs.clear()  # they update what was open when they were recorded
