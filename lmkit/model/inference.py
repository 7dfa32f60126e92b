"""Using a network without training it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["inference"]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients for the moment: a model in training is handed back as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
