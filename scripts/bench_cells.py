"""Training and sampling speed of every cell against the LSTM of the same size, alternating in one run.

    .venv/bin/python scripts/bench_cells.py --rounds 5 --threads 1 --json result.json

Characters, float32, plain layers, by default 2 x 512 units, batch 32, windows of 256. Each round trains every cell for
a few steps, the LSTM first; a ratio is that of one round.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from lmkit.config import CELLS, Config
from lmkit.generation.decoder import StepDecoder
from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.samplers import SequentialSampler
from lmkit.training.loop import fit
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord, Update

VOCAB_SIZE, WARM = 100, 1


class Trainee:
    """A network that trains a few steps at a time."""

    def __init__(self, config: Config) -> None:
        torch.manual_seed(1)
        training = config.training
        self.model = LanguageModel(config.model, VOCAB_SIZE)
        self.train = TrainState(self.model, make_optimizer(self.model, training))
        ids = np.random.default_rng(0).integers(VOCAB_SIZE, size=training.batch_size * training.window * 8)
        sampler = SequentialSampler(
            ids.astype(np.uint16), eos_id=1, batch_size=training.batch_size, window=training.window
        )
        update = Update(SequenceLoss(self.model), torch.device("cpu"), torch.float32, training.max_grad_norm)
        self.records = fit(self.train, sampler, training, update, None)

    def speed(self, steps: int) -> float:
        """Tokens of training a second."""
        started, tokens = time.perf_counter(), self.train.tokens
        for _ in range(steps):
            assert isinstance(next(self.records), StepRecord)
        return (self.train.tokens - tokens) / (time.perf_counter() - started)

    @torch.no_grad()
    def sampling(self, tokens: int) -> float:
        """Tokens of one sampled stream a second."""
        decoder, state = StepDecoder(self.model.eval()), self.model.initial_state(1)
        token = torch.zeros(1, dtype=torch.long)
        started = time.perf_counter()
        for _ in range(tokens):
            logits, state = decoder(token, state)
            token = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        return tokens / (time.perf_counter() - started)


def named(arguments: argparse.Namespace) -> dict[str, Config]:
    """The networks by their names: every cell, and the QRNN of width 1, too."""
    common = {
        "num_layers": arguments.layers,
        "hidden_size": arguments.hidden_size,
        "batch_size": arguments.batch_size,
        "window": arguments.window,
        "dropout": 0.0,
        "epochs": 1_000_000,
    }
    names = ["lstm", *(cell for cell in CELLS if cell != "lstm")]
    found = {name: Config().override({**common, "cell": name}) for name in names}
    found["qrnn, width 1"] = Config().override({**common, "cell": "qrnn", "conv_width": 1})
    return {name: config for name, config in found.items() if name == "lstm" or arguments.only in (None, name)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of a cell in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--only", help="one cell, besides the LSTM")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainees = {name: Trainee(config) for name, config in named(arguments).items()}
    training: dict[str, list[float]] = {name: [] for name in trainees}
    sampling: dict[str, list[float]] = {name: [] for name in trainees}
    for trainee in trainees.values():
        trainee.speed(WARM)
    for _ in range(arguments.rounds):
        for name, trainee in trainees.items():
            training[name].append(trainee.speed(arguments.steps))
    for _ in range(arguments.rounds):
        for name, trainee in trainees.items():
            sampling[name].append(trainee.sampling(100))
    heads = ("training, tokens/s", "ratio", "spread", "sampling", "ratio")
    print(f"{'cell':16} {'parameters':>12}", "{:>20} {:>8} {:>14} {:>10} {:>8}".format(*heads))
    for name, trainee in trainees.items():
        ratios = [one / lstm for one, lstm in zip(training[name], training["lstm"], strict=True)]
        sampled = [one / lstm for one, lstm in zip(sampling[name], sampling["lstm"], strict=True)]
        parameters = sum(parameter.numel() for parameter in trainee.model.parameters())
        print(
            f"{name:16} {parameters:12,} {statistics.median(training[name]):20,.0f} {statistics.median(ratios):8.2f}"
            f" {f'{min(ratios):.2f} to {max(ratios):.2f}':>14} {statistics.median(sampling[name]):10,.0f}"
            f" {statistics.median(sampled):8.2f}"
        )
    machine = (
        f"{describe_cpu()}, {arguments.threads} threads; torch {torch.__version__}; Python {platform.python_version()}"
    )
    print(machine)
    if arguments.json is not None:
        found = {"training": training, "sampling": sampling, "machine": machine}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_freed_memory()
    wait_politely()
    main()
