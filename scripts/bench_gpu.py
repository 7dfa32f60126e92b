"""Training and sampling speed on a CUDA GPU against plain PyTorch loops of the same models, alternating in one run.

    python scripts/bench_gpu.py --rounds 3 --json result.json

Each case is trained for a moment by a plain loop as its documentation suggests it (one ``nn.LSTM``, float32 with
cuDNN's defaults, ``loss.item()`` at each step), and by lmkit in each precision, round after round. Seconds are what the
host sees, the device's work included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lmkit.config import Config
from lmkit.generation.decoder import StepDecoder
from lmkit.hardware import choose_device
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.samplers import SequentialSampler
from lmkit.training.loop import fit
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import Update

WARM = 20  # a multiple of the steps between two readings of the device
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    vocab_size: int
    hidden: int
    layers: int
    batch: int
    window: int
    tied: bool = False
    cell: str = "lstm"
    steps: int = 100

    @property
    def config(self) -> Config:
        return Config().override(
            {
                "cell": self.cell,
                "num_layers": self.layers,
                "hidden_size": self.hidden,
                "tie_embeddings": self.tied,
                "dropout": 0.2,
                "window": self.window,
                "batch_size": self.batch,
                "optimizer": "sgd",
                "lr": 1.0,
                "max_grad_norm": 0.25,
                "max_steps": WARM + self.steps,
            }
        )


CASES = {
    "2x200 V33k": Case(33_278, 200, 2, 20, 35),
    "2x650 V33k tied": Case(33_278, 650, 2, 20, 35, tied=True),
    "3x1150 V33k": Case(33_278, 1150, 3, 80, 70, steps=40),
    "3x512 characters": Case(100, 512, 3, 64, 128, steps=60),
    **{
        f"2x512 characters {cell}": Case(100, 512, 2, 32, 256, cell=cell, steps=20) for cell in ("gru", "mingru", "sru")
    },
}
DEVICE = torch.device("cpu")


def stream_of(case: Case, tokens: int) -> np.ndarray:
    """Token ids with the frequencies of natural text: rank r is seen in proportion to 1 / (r + 2.7)."""
    weights = 1.0 / (np.arange(case.vocab_size) + 2.7)
    return np.random.default_rng(0).choice(case.vocab_size, size=tokens, p=weights / weights.sum()).astype(np.uint16)


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def defaults_of_torch() -> Iterator[None]:
    """TensorFloat-32 in cuDNN and kernels in any order, as torch comes."""
    exact = torch.backends.cudnn.rnn.fp32_precision
    torch.backends.cudnn.rnn.fp32_precision = "tf32"
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.backends.cudnn.rnn.fp32_precision = exact
        torch.use_deterministic_algorithms(True, warn_only=True)


def plain(case: Case) -> float:
    """The baseline. Returns tokens per second."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(case.vocab_size, case.hidden)
            self.rnn = nn.LSTM(case.hidden, case.hidden, case.layers, dropout=0.2)
            self.decoder = nn.Linear(case.hidden, case.vocab_size)
            self.dropout = nn.Dropout(0.2)
            if case.tied:
                self.decoder.weight = self.embedding.weight
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

        def forward(self, tokens: torch.Tensor, hidden: Any) -> Any:
            outputs, hidden = self.rnn(self.dropout(self.embedding(tokens)), hidden)
            return self.decoder(self.dropout(outputs)), hidden

    steps = WARM + case.steps
    ids = torch.from_numpy(stream_of(case, case.batch * (case.window * steps + 1)).astype("int64"))
    ids = ids.view(case.batch, -1).t().contiguous().to(DEVICE)
    model = Model().to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    hidden = tuple(torch.zeros(case.layers, case.batch, case.hidden, device=DEVICE) for _ in range(2))
    started = total = 0.0
    for step in range(steps):
        if step == WARM:
            wait()
            started = time.perf_counter()
        begin = step * case.window
        hidden = tuple(part.detach() for part in hidden)
        optimizer.zero_grad()
        logits, hidden = model(ids[begin : begin + case.window], hidden)
        targets = ids[begin + 1 : begin + 1 + case.window].reshape(-1)
        loss = F.cross_entropy(logits.view(-1, case.vocab_size), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        total += loss.item()
    wait()
    return case.steps * case.batch * case.window / (time.perf_counter() - started)


def lmkit(case: Case, precision: str) -> float:
    """The same through lmkit, set up as the command line does it. Returns tokens per second."""
    config, dtype = case.config, PRECISIONS[precision]
    model = LanguageModel(config.model, case.vocab_size).to(DEVICE)
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=dtype == torch.float16)
    train = TrainState(model, make_optimizer(model, config.training), scaler=scaler)
    stream = stream_of(case, case.batch * (case.window * (WARM + case.steps + 1) + 1))
    sampler = SequentialSampler(stream, eos_id=1, batch_size=case.batch, window=case.window)
    every = Update.steps_per_reading(DEVICE, dtype, train.optimizer, None)
    update = Update(SequenceLoss(model), DEVICE, dtype, 0.25, read_every=every)
    started = tokens = 0.0
    for record in fit(train, sampler, config.training, update, None):
        if record.step == WARM:
            wait()
            started, tokens = time.perf_counter(), float(train.tokens)
    wait()
    return (train.tokens - tokens) / (time.perf_counter() - started)


def products() -> dict[str, float]:
    """TFLOP/s of one product of 4096 x 4096 matrices in each precision: the machine's limit."""
    found = {}
    for name, dtype in PRECISIONS.items():
        one = torch.randn(4096, 4096, device=DEVICE, dtype=dtype)
        for repeat in range(23):
            if repeat == 3:
                wait()
                started = time.perf_counter()
            one @ one
        wait()
        found[name] = 20 * 2 * 4096**3 / (time.perf_counter() - started) / 1e12
    return found


@torch.no_grad()
def sampling(streams: int) -> dict[str, float]:
    """Tokens per second of the step decoder and of a plain batched loop over ``nn.LSTM``, 2x512, 10,000 tokens."""
    case = Case(10_000, 512, 2, streams, 1)
    model = LanguageModel(case.config.model, case.vocab_size).to(DEVICE).eval()
    steps = 100 if streams == 1 else 3
    decoder, state = StepDecoder(model), model.initial_state(streams)
    tokens = torch.zeros(streams, dtype=torch.long, device=DEVICE)
    found = {}
    for _ in range(2):  # the first is for warming up
        wait()
        started = time.perf_counter()
        for _ in range(steps):
            logits, state = decoder(tokens, state)
            tokens = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        wait()
        found["lmkit"] = steps * streams / (time.perf_counter() - started)
    rnn = nn.LSTM(512, 512, 2).to(DEVICE)
    hidden = tuple(torch.zeros(2, streams, 512, device=DEVICE) for _ in range(2))
    for _ in range(2):
        wait()
        started = time.perf_counter()
        for _ in range(100):
            outputs, hidden = rnn(model.embedding(tokens)[None], hidden)
            tokens = torch.multinomial(model.head.logits(outputs[0]).softmax(-1), 1)[:, 0]
        wait()
        found["plain"] = 100 * streams / (time.perf_counter() - started)
    return found


def sides(case: Case) -> dict[str, Callable[[], float]]:
    def as_torch_comes(run: Callable[[], float]) -> float:
        with defaults_of_torch():
            return run()

    both = {name: lambda name=name: lmkit(case, name) for name in PRECISIONS}
    both["float32, torch's defaults"] = lambda: as_torch_comes(lambda: lmkit(case, "float32"))
    if case.cell == "lstm":
        both["plain"] = lambda: as_torch_comes(lambda: plain(case))
    return both


def main() -> None:
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", help="cases, by the beginning of their names")
    parser.add_argument("--sides", nargs="*", help="only these sides, by their names")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    DEVICE = choose_device(arguments.device)
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "products": products(),
    }
    if DEVICE.type == "cuda":
        found["device"] = torch.cuda.get_device_name(DEVICE)
    print(json.dumps(found), flush=True)
    for name, case in CASES.items():
        if arguments.only and not any(name.startswith(wanted) for wanted in arguments.only):
            continue
        speeds: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            for side, run in sides(case).items():
                if arguments.sides is None or side in arguments.sides:
                    speeds.setdefault(side, []).append(run())
        found[name] = speeds
        for side, values in speeds.items():
            spread = f"{min(values):,.0f} to {max(values):,.0f}"
            print(f"{name:24} {side:26} {statistics.median(values):12,.0f} tokens/s  {spread}", flush=True)
    for streams in (1, 64, 1024) if not arguments.only else ():
        found[f"sampling {streams}"] = sampling(streams)
        print(f"sampling {streams} streams: {found[f'sampling {streams}']}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
