"""Weights of a model for a vocabulary that has grown: further tokens behind those that it had."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lmkit.config import ModelConfig
from lmkit.model.language_model import cutoffs_of
from lmkit.model.shapes import stored_shapes

__all__ = ["grown"]

ORDER, BIAS = "head.order", "head.bias"


def grown(weights: Mapping[str, Tensor], config: ModelConfig, vocab_size: int) -> dict[str, Tensor]:
    """The weights of a model, by their stored names, with rows for all of ``vocab_size`` tokens.

    A new row of the embedding or the output layer is the mean of those that are there. By Jensen's inequality a full
    softmax then gives a new token at most the mean probability of the known ones, whatever the state: what it predicted
    before is hardly disturbed (Hewitt 2021, "Initializing new word embeddings for pretrained language models"). In an
    adaptive softmax, whose cutoffs the configuration must name, new tokens are the last ranks of the last cluster, and
    their biases are that cluster's mean.
    """
    shapes = stored_shapes(config, vocab_size)
    first = cutoffs_of(config, vocab_size)[-1] if config.head == "adaptive" else 0
    return {
        name: tensor if tensor.shape == shapes[name] else _grown(name, tensor, shapes[name][0], first)
        for name, tensor in weights.items()
    }


def _grown(name: str, tensor: Tensor, rows: int, first: int) -> Tensor:
    """A tensor with that many rows. first: of the last cluster among the biases, which stand by rank."""
    old = len(tensor)
    if name == ORDER:
        return torch.cat([tensor, torch.arange(old, rows)])
    mean = tensor[first if name == BIAS else 0 :].mean(dim=0, keepdim=True)
    return torch.cat([tensor, mean.expand(rows - old, *tensor.shape[1:])])
