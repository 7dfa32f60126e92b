"""The arithmetic that a network is computed in: what is asked for, and what this processor can do."""

from __future__ import annotations

import dataclasses
import functools

import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.hardware import has_fast_bfloat16
from lmkit.model.language_model import LanguageModel, SequenceLoss

__all__ = ["choose_precision", "computes_in"]


def choose_precision(name: str, device: torch.device, config: ModelConfig) -> torch.dtype:
    """The arithmetic of a network of this configuration. auto is bfloat16 where the processor has instructions for it
    and the cell's kernels take it, else float32.

    Raises ConfigError for one that cannot be computed on the device.
    """
    if name == "auto":
        fast = has_fast_bfloat16(device) and computes_in(torch.bfloat16, device, config)
        return torch.bfloat16 if fast else torch.float32
    if name == "float16" and device.type != "cuda":
        raise ConfigError("--precision float16 needs --device cuda; on other devices use bfloat16 or float32.")
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if not computes_in(precision, device, config):
        raise ConfigError(
            f"--precision {name} does not work on this processor: torch has no {name} kernel for --cell {config.cell} "
            "here. Use --precision float32."
        )
    return precision


def computes_in(precision: torch.dtype, device: torch.device, config: ModelConfig) -> bool:
    """Whether a network with this configuration's cell can be computed in a precision, forwards and backwards.

    It is tried with a tiny network, once a process: what flags of the processor and limits of the environment
    (``ONEDNN_MAX_CPU_ISA``) mean for a kernel, the kernel alone knows.
    """
    tiny = dataclasses.replace(
        config,
        num_layers=1,
        hidden_size=16,
        embedding_size=16,
        tie_embeddings=False,
        head="full",
        cutoffs=None,
        heads=None,
        projection_size=None if config.projection_size is None else 8,
        context=None if config.context is None else 4,
        attention=None if config.attention is None else 4,
    )
    return precision == torch.float32 or _try(precision, device, tiny)


@functools.cache
def _try(precision: torch.dtype, device: torch.device, config: ModelConfig) -> bool:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        loss = SequenceLoss(LanguageModel(config, vocab_size=16).to(device))
        tokens = torch.zeros(2, 3, dtype=torch.long, device=device)
        try:
            with torch.autocast(device.type, precision):
                nll = loss(tokens, tokens, loss.model.initial_state(2)).nll
            nll.backward()
        except RuntimeError:  # "could not create a primitive descriptor", "not implemented for"
            return False
    return True
