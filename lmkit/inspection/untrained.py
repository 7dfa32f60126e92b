"""The network as it was before its training: what a trained one is compared with."""

from __future__ import annotations

import torch

from lmkit.model.head import AdaptiveSoftmax
from lmkit.model.language_model import LanguageModel

__all__ = ["untrained_twin"]


def untrained_twin(model: LanguageModel, seed: int) -> LanguageModel:
    """A network of the same configuration with the start values that a training with this seed begins from."""
    order = model.head.order.cpu() if isinstance(model.head, AdaptiveSoftmax) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = LanguageModel(model.config, model.vocab_size, order)
    first = next(model.parameters())
    return twin.to(device=first.device, dtype=first.dtype).eval()
