"""Training and sampling of every cell against the LSTM of the same size: characters, float32, plain layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.case import Case, Settings, Step
from benchmarks.train import trainee
from lmkit.config import CELLS

VOCAB_SIZE, LAYERS, HIDDEN_SIZE, BATCH, WINDOW = 100, 2, 512, 32, 256
SAMPLED = 20  # tokens in a step


def options_of(cell: str, settings: Settings) -> dict[str, Any]:
    """The network; ``qrnn-width-1`` is the QRNN with a convolution of width 1."""
    name, _, width = cell.partition("-width-")
    layers, hidden_size, batch, window = (1, 8, 2, 4) if settings.tiny else (LAYERS, HIDDEN_SIZE, BATCH, WINDOW)
    found = {
        "cell": name,
        "num_layers": layers,
        "hidden_size": hidden_size,
        "batch_size": batch,
        "window": window,
        "dropout": 0.0,
        "epochs": 1_000_000,
    }
    return found | ({"conv_width": int(width)} if width else {})


def training(cell: str, settings: Settings) -> Step:
    """Steps of training."""
    options = options_of(cell, settings)
    tokens = options["batch_size"] * options["window"] * 8
    return trainee(options, VOCAB_SIZE, tokens, "float32", settings)


def sampling(cell: str, settings: Settings) -> Step:
    """One stream of the step decoder, drawn from its distribution."""
    import torch

    from lmkit.config import Config
    from lmkit.generation.decoder import StepDecoder
    from lmkit.model.language_model import LanguageModel

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    model = LanguageModel(Config().override(options_of(cell, settings)).model, VOCAB_SIZE).eval()
    decoder = StepDecoder(model)

    @torch.no_grad()
    def step() -> float:
        state, token = model.initial_state(1), torch.zeros(1, dtype=torch.long)
        for _ in range(SAMPLED):
            logits, state = decoder(token, state)
            token = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        return float(SAMPLED)

    return step


NAMES = [*(cell for cell in CELLS if cell != "lstm"), "qrnn-width-1"]
WORK = {"cells": training, "cells-sampling": sampling}
CASES = [
    Case(f"{subject}/{name}", "tokens", "the LSTM", partial(work, "lstm"), partial(work, name), alike=True)
    for subject, work in WORK.items()
    for name in NAMES
]
