"""What a training will need: parameters, memory and time, from fixed formulas and without computing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lmkit.config import Config
from lmkit.doctor.check import NOTE, WARNING, Check
from lmkit.hardware import choose_device, choose_threads
from lmkit.model.precision import choose_precision
from lmkit.model.shapes import shape_model
from lmkit.session.memory import bytes_to_train
from lmkit.session.sampling import Documents, window_sizes

__all__ = ["Estimate", "estimate", "estimate_checks"]

# Multiplications and additions a second. On a CPU, of one thread in float32: measured with lmkit's own training on a
# Xeon with AVX-512, 33 to 50 billion for hidden sizes from 64 to 512 and vocabularies from 105 to 7,586; in bfloat16,
# where the processor has it, about twice as many.
CPU_RATE, GPU_RATE = 40e9, 10e12
GPU_STEP_SECONDS = 30e-6  # of one layer at one step of time, both ways: small steps wait for their launch
PARAMETERS_PER_TOKEN = 10  # above it a model memorises the text


@dataclass(frozen=True)
class Estimate:
    """Parameters exactly, bytes and seconds roughly: expect them within a factor of three."""

    parameters: int
    bytes: float
    seconds: float
    tokens: int


def estimate(config: Config, vocab_size: int, train_tokens: int, documents: Documents = (0,)) -> Estimate:
    """What it takes to train a configuration on ``train_tokens`` tokens, whose documents begin there, validations left
    out.

    Time: 6 operations for each parameter outside the embedding and each token, 2 forwards and 4 backwards (Kaplan et
    al. 2020, arXiv 2001.08361, section 2.1), over a fixed rate. Memory: ``lmkit.model.memory``.
    """
    model = shape_model(config.model, vocab_size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    dense = sum(parameter.numel() for parameter in model.recurrent.parameters()) + _output(config, vocab_size)
    sizes = window_sizes(config.training, train_tokens, documents)
    tokens = _tokens(config, train_tokens, sizes.mean)
    device = choose_device(config.runtime.device)
    return Estimate(
        parameters=parameters,
        bytes=bytes_to_train(config, vocab_size, device, sizes.longest),
        seconds=_seconds(config, dense, tokens, device),
        tokens=tokens,
    )


def estimate_checks(config: Config, vocab_size: int, train_tokens: int, documents: Documents = (0,)) -> Iterator[Check]:
    """The estimate as notes, with a warning where the model is far larger than its text."""
    found = estimate(config, vocab_size, train_tokens, documents)
    large = found.parameters > PARAMETERS_PER_TOKEN * train_tokens
    advice = "Far more parameters than training tokens: use a smaller model, more text or more dropout."
    each = found.parameters / train_tokens
    ratio = f"{each:,.0f}" if each >= 10 else f"{each:.2g}"
    finding = f"{found.parameters:,}, {ratio} for each training token"
    yield Check("parameters", WARNING if large else NOTE, finding, found.parameters, (advice,) if large else ())
    yield Check("memory", NOTE, f"about {_size(found.bytes)} (an estimate)", round(found.bytes))
    limit = config.training.max_seconds
    seconds = found.seconds if limit is None else min(limit, found.seconds)
    finding = (
        f"about {_duration(seconds)} for {found.tokens:,} tokens on this machine (an estimate, within a factor of 3)"
    )
    yield Check("time", NOTE, finding, round(seconds, 1))


def _output(config: Config, vocab_size: int) -> int:
    """Parameters of the output layer that a token uses; of an adaptive one about a quarter."""
    model = config.model
    width = model.embedding_size if model.tie_embeddings and model.embedding_size else model.output_size
    return vocab_size * width // (1 if model.head == "full" else 4)


def _tokens(config: Config, train_tokens: int, window: float) -> int:
    """Tokens that the training reads until its epochs or steps end it; one epoch where only seconds do."""
    training = config.training
    limits = []
    if training.epoch_limit is not None:
        limits.append(training.epoch_limit * train_tokens)
    if training.max_steps is not None:
        limits.append(round(training.max_steps * training.batch_size * window))
    return min(limits, default=train_tokens)


def _seconds(config: Config, dense: int, tokens: int, device: torch.device) -> float:
    operations = 6.0 * dense * tokens
    if device.type == "cpu":
        fast = choose_precision(config.runtime.precision, device, config.model) == torch.bfloat16
        return operations / (CPU_RATE * choose_threads(config.runtime.threads) * (2 if fast else 1))
    return operations / GPU_RATE + tokens / config.training.batch_size * config.model.num_layers * GPU_STEP_SECONDS


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{max(1, round(seconds))} s"
