"""Tokens per second of lmkit's training against a plain PyTorch loop of the same model, alternating in one run.

    .venv/bin/python scripts/bench_train.py --rounds 5 --json result.json

Both train the configuration of PyTorch's word_language_model example (preset pytorch-examples) on the same stream of
33,278 types with Zipf's frequencies. Each round starts a fresh process for each side. The plain loop is what a
competent person writes from the documentation; it is frozen: do not change it, or figures of different days cannot be
compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCAB_SIZE, HIDDEN, LAYERS, BATCH, WINDOW, DROPOUT, LR, CLIP = 33_278, 200, 2, 20, 35, 0.2, 20.0, 0.25
WARM_STEPS, TIMED_STEPS = 10, 60


def make_stream(tokens: int):
    """Token ids with the frequencies of natural text: rank r is seen in proportion to 1 / (r + 2.7)."""
    import numpy as np

    weights = 1.0 / (np.arange(VOCAB_SIZE) + 2.7)
    return np.random.default_rng(0).choice(VOCAB_SIZE, size=tokens, p=weights / weights.sum()).astype(np.uint16)


def plain() -> float:
    """The baseline, frozen. Returns tokens per second."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCAB_SIZE, HIDDEN)
            self.lstm = nn.LSTM(HIDDEN, HIDDEN, LAYERS, dropout=DROPOUT)
            self.decoder = nn.Linear(HIDDEN, VOCAB_SIZE)
            self.dropout = nn.Dropout(DROPOUT)
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, tokens, hidden):
            outputs, hidden = self.lstm(self.dropout(self.embedding(tokens)), hidden)
            return F.linear(self.dropout(outputs), self.decoder.weight, self.decoder.bias), hidden

    torch.manual_seed(1)
    steps = WARM_STEPS + TIMED_STEPS
    ids = torch.from_numpy(make_stream(BATCH * (WINDOW * steps + 1)).astype("int64")).view(BATCH, -1).t().contiguous()
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    hidden = (torch.zeros(LAYERS, BATCH, HIDDEN), torch.zeros(LAYERS, BATCH, HIDDEN))
    model.train()
    started = 0.0
    total = 0.0
    for step in range(steps):
        if step == WARM_STEPS:
            started = time.perf_counter()
        begin = step * WINDOW
        data, targets = ids[begin : begin + WINDOW], ids[begin + 1 : begin + 1 + WINDOW]
        hidden = tuple(part.detach() for part in hidden)
        optimizer.zero_grad()
        logits, hidden = model(data, hidden)
        loss = F.cross_entropy(logits.view(-1, VOCAB_SIZE), targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        total += loss.item()
    return TIMED_STEPS * BATCH * WINDOW / (time.perf_counter() - started)


def lmkit() -> float:
    """The same through lmkit, set up as the command line does it. Returns tokens per second."""
    from lmkit.hardware import choose_threads, keep_freed_memory, wait_politely

    keep_freed_memory()
    wait_politely()
    import torch

    from lmkit.config import Config
    from lmkit.model.language_model import LanguageModel, SequenceLoss
    from lmkit.samplers import SequentialSampler
    from lmkit.training.loop import fit
    from lmkit.training.optimizers import make_optimizer
    from lmkit.training.state import TrainState
    from lmkit.training.step import Update

    steps = WARM_STEPS + TIMED_STEPS
    torch.set_num_threads(choose_threads(None))
    torch.manual_seed(1)
    config = Config().override(
        {
            "num_layers": LAYERS,
            "hidden_size": HIDDEN,
            "dropout": DROPOUT,
            "window": WINDOW,
            "batch_size": BATCH,
            "optimizer": "sgd",
            "lr": LR,
            "max_grad_norm": CLIP,
            "max_steps": steps,
            "precision": "float32",
        }
    )
    model = LanguageModel(config.model, VOCAB_SIZE)
    train = TrainState(model, make_optimizer(model, config.training))
    stream = make_stream(BATCH * (WINDOW * (steps + 1) + 1))
    sampler = SequentialSampler(stream, eos_id=1, batch_size=BATCH, window=WINDOW)
    update = Update(SequenceLoss(model), torch.device("cpu"), torch.float32, CLIP)
    started = tokens = 0.0
    for record in fit(train, sampler, config.training, update, None):
        if record.step == WARM_STEPS:
            started, tokens = time.perf_counter(), float(train.tokens)
    return (train.tokens - tokens) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--worker", choices=["plain", "lmkit"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print({"plain": plain, "lmkit": lmkit}[arguments.worker]())
        return
    speeds: dict[str, list[float]] = {"plain": [], "lmkit": []}
    for number in range(arguments.rounds):
        for side in ("plain", "lmkit") if number % 2 == 0 else ("lmkit", "plain"):
            done = subprocess.run(
                [sys.executable, __file__, "--worker", side], capture_output=True, text=True, check=True
            )
            speeds[side].append(float(done.stdout))
    report(speeds, arguments.json)


def report(speeds: dict[str, list[float]], path: Path | None) -> None:
    import torch

    from lmkit.hardware import describe_cpu

    ratios = [ours / theirs for ours, theirs in zip(speeds["lmkit"], speeds["plain"], strict=True)]
    for side, values in speeds.items():
        print(f"{side:6}  median {statistics.median(values):8,.0f} tokens/s   {min(values):,.0f} to {max(values):,.0f}")
    print(f"ratio   median {statistics.median(ratios):8.2f}            {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"{describe_cpu()}; torch {torch.__version__}; Python {platform.python_version()}")
    if path is not None:
        versions = {"torch": torch.__version__, "python": platform.python_version(), "cpu": describe_cpu()}
        path.write_text(json.dumps({"speeds": speeds, "ratios": ratios, **versions}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
