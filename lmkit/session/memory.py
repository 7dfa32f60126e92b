"""Whether the memory is enough for a training, and what would fit."""

from __future__ import annotations

import contextlib
import math
from functools import partial

import torch

from lmkit.config import OF_WINDOWS, Config
from lmkit.errors import ConfigError
from lmkit.hardware import memory_size
from lmkit.model.memory import largest, training_bytes
from lmkit.model.shapes import shape_model
from lmkit.session.placement import Placement
from lmkit.training.optimizers import num_moments

__all__ = ["bytes_to_train", "check_memory"]

SIZES = ("hidden_size", "context", "attention")  # of a network that are suggested smaller
LEAST_VOCABULARY = 100  # a smaller one is not suggested


def bytes_to_train(config: Config, vocab_size: int, device: torch.device, steps: int, processes: int = 1) -> float:
    """An estimate of the memory that a training takes with windows of up to so many steps, in each of its processes,
    from fixed formulas: ``lmkit.model.memory``.
    """
    training = config.training
    model = shape_model(config.model, vocab_size)
    penalised = training.ar_alpha > 0 or training.tar_beta > 0
    return training_bytes(
        model,
        moments=num_moments(training) + (training.average != "none"),
        rows=-(-training.batch_size // processes),
        steps=steps,
        device=device,
        parts=training.accumulate,
        penalised=penalised,
    )


def check_memory(config: Config, vocab_size: int, placement: Placement, steps: int) -> None:
    """Raise ConfigError where a training takes more memory than there is; it says what would fit."""
    device, launch = placement.device, placement.world.launch
    needed, present = bytes_to_train(config, vocab_size, device, steps, launch.size), memory_size(device)
    if present is not None and device.type == "cpu":
        present //= launch.local_size
    if present is None or needed <= present:
        return
    style = config.training.truncation
    windows = "" if style in OF_WINDOWS else f" and --truncation {style}, in windows of {steps:,} steps,"
    raise ConfigError(
        f"To train this model with a vocabulary of {vocab_size:,}{windows} takes about {needed / 2**30:,.1f} GiB, and "
        f"{'this machine has' if launch.size == 1 else 'there are for each process'} {present / 2**30:,.1f} GiB: "
        f"{_what_fits(config, vocab_size, placement, steps, present)}."
    )


def _what_fits(config: Config, vocab_size: int, placement: Placement, steps: int, present: int) -> str:
    device, processes = placement.device, placement.world.size

    def fits(config: Config, vocab_size: int, steps: int = steps) -> bool:
        return bytes_to_train(config, vocab_size, device, steps, processes) <= present

    def fitting(name: str) -> int:
        most = getattr(config.model, name) or 0
        return largest(lambda number: fits(config.override({name: number}), vocab_size), most)

    options = []
    for name in SIZES:
        with contextlib.suppress(ConfigError):  # of options that do not go with a smaller size
            size = fitting(name)
            options += [f"--{name.replace('_', '-')} {size}"] if size else []
    batch_size = config.training.batch_size
    rows = largest(
        lambda number: fits(config.override({"accumulate": math.ceil(batch_size / number)}), vocab_size), batch_size
    )
    options += [f"--accumulate {math.ceil(batch_size / rows)}"] if rows else []
    if config.data.tokenizer in ("word", "bpe"):
        with contextlib.suppress(ConfigError):
            size = largest(lambda number: fits(config, number + LEAST_VOCABULARY), vocab_size - LEAST_VOCABULARY)
            options += [f"--vocab-size {size + LEAST_VOCABULARY}"] if size else []
    if config.training.truncation not in OF_WINDOWS:
        size = largest(partial(fits, config, vocab_size), steps)
        flag = "--k2" if config.training.truncation == "k1k2" else "--truncation fixed --window"
        options += [f"{flag} {size}"] if size else []
    return f"{' or '.join(options)} would fit" if options else "choose a smaller --batch-size, --window or --layers"
