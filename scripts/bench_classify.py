"""Training and prediction of a classifier against a plain loop around torch.nn.LSTM, alternating in one run.

    .venv/bin/python scripts/bench_classify.py --rounds 7 --threads 1 --json result.json

Documents of 2 to 40 tokens, most of them short; float32, the default network (one LSTM layer of 256 units; last,
largest and mean outputs) and AdamW. The plain loop makes the same network of torch's modules. It is run twice: with the
batches that lmkit makes, documents of about one length together, and with batches of documents in random order, as
loops are usually written. A ratio is that of one round.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.classify.trained import log_probs_of
from lmkit.config import ClassifierConfig
from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely
from lmkit.model.classifier import Classifier, ClassifierLoss
from lmkit.samplers import LabelledSampler
from lmkit.training.loop import fit
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import Update

DOCUMENTS, CLASSES, LONGEST = 4000, 7, 40
WARM = 10  # steps
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CPU = torch.device("cpu")


class Documents:
    """Documents of random tokens with random labels, one after the other."""

    def __init__(self, vocab_size: int) -> None:
        draw = np.random.default_rng(0)
        self.lengths = np.clip(draw.lognormal(2.2, 0.5, DOCUMENTS).astype(np.int64) + 1, 2, LONGEST)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.ids = draw.integers(vocab_size, size=int(self.lengths.sum())).astype(np.uint16)
        self.labels = draw.integers(CLASSES, size=DOCUMENTS)

    def sampler(self, rows: int) -> LabelledSampler:
        how = {"documents": self.starts, "labels": self.labels}
        return LabelledSampler(self.ids, eos_id=0, batch_size=rows, window=256, seed=1, **how)

    def in_random_order(self, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of tokens (B, T), lengths and labels (B,), for ever."""
        draw = np.random.default_rng(1)
        while True:
            order = draw.permutation(DOCUMENTS)
            for at in range(0, DOCUMENTS, rows):
                yield self.batch(order[at : at + rows])

    def in_order(self, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for at in range(0, DOCUMENTS, rows):
            yield self.batch(np.arange(at, min(at + rows, DOCUMENTS)))

    def batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        texts = [
            torch.from_numpy(self.ids[self.starts[one] : self.starts[one] + self.lengths[one]].astype(np.int64))
            for one in chosen.tolist()
        ]
        padded = nn.utils.rnn.pad_sequence(texts, batch_first=True)
        return padded, torch.from_numpy(self.lengths[chosen]), torch.from_numpy(self.labels[chosen])

    def grouped(self, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of the sampler, as a plain loop takes them."""
        sampler, epoch = self.sampler(rows), 0
        while True:
            for window in sampler.epoch(epoch):
                labels, last = window.targets.max(dim=1)
                yield window.inputs, last + 1, labels
            epoch += 1


class Plain(nn.Module):
    """The same network of torch's modules."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.head = nn.Linear(3 * hidden_size, CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = self.lstm(F.dropout(self.embedding(tokens), 0.2, self.training))
        padding = (torch.arange(tokens.shape[1]) >= lengths[:, None])[..., None]
        last = outputs[torch.arange(len(tokens)), lengths - 1]
        largest = outputs.masked_fill(padding, -torch.inf).amax(dim=1)
        mean = outputs.masked_fill(padding, 0.0).sum(dim=1) / lengths[:, None]
        return self.head(F.dropout(torch.cat([last, largest, mean], dim=-1), 0.2, self.training))


class PlainLoop:
    def __init__(
        self, config: ClassifierConfig, vocab_size: int, batches: Iterator[tuple[Tensor, Tensor, Tensor]]
    ) -> None:
        torch.manual_seed(1)
        self.model, self.batches = Plain(vocab_size, config.model.hidden_size), batches
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)

    def train(self, steps: int) -> int:
        """How many documents these steps had."""
        done = 0
        self.model.train()
        for _ in range(steps):
            tokens, lengths, labels = next(self.batches)
            self.optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self.model(tokens, lengths), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            loss.item()
            done += len(labels)
        return done

    @torch.no_grad()
    def predict(self, documents: Documents, rows: int) -> int:
        """How many documents were classified, in the order in which they come."""
        self.model.eval()
        torch.cat([self.model(tokens, lengths).log_softmax(-1) for tokens, lengths, _ in documents.in_order(rows)])
        return DOCUMENTS


class Trained:
    def __init__(self, config: ClassifierConfig, vocab_size: int, documents: Documents) -> None:
        torch.manual_seed(1)
        training = config.training
        self.model = Classifier(config.model, vocab_size, CLASSES, config.labels.pooling, training.window)
        self.state = TrainState(self.model, make_optimizer(self.model, training))
        update = Update(ClassifierLoss(self.model), CPU, torch.float32, training.max_grad_norm)
        self.records = fit(self.state, documents.sampler(training.batch_size), training, update, None)

    def train(self, steps: int) -> int:
        """How many documents these steps had."""
        before = self.state.tokens
        for _ in range(steps):
            next(self.records)
        return self.state.tokens - before

    def predict(self, documents: Documents) -> int:
        """How many documents were classified."""
        log_probs_of(self.model, documents.ids, documents.starts)
        return DOCUMENTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="steps of training in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: on a machine that does other things"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    documents, rows, vocab_size = Documents(arguments.vocab_size), arguments.batch_size, arguments.vocab_size
    options: dict[str, Any] = {
        "hidden_size": arguments.hidden_size,
        "batch_size": rows,
        "epochs": 1_000_000,
        "lr": 1e-3,
    }
    config = ClassifierConfig().override(options)
    assert isinstance(config, ClassifierConfig)
    own = Trained(config, vocab_size, documents)
    same = PlainLoop(config, vocab_size, documents.grouped(rows))
    usual = PlainLoop(config, vocab_size, documents.in_random_order(rows))
    speeds: dict[str, list[float]] = {}
    clock = CLOCKS[arguments.clock]

    def note(name: str, work: Callable[[], int]) -> None:
        started = clock()
        done = work()
        speeds.setdefault(name, []).append(done / (clock() - started))

    for one in (own, same, usual):
        one.train(WARM)
    own.predict(documents)
    steps = arguments.steps
    cases: list[tuple[str, Callable[[], int]]] = [
        ("training: lmkit", lambda: own.train(steps)),
        ("training: plain, same batches", lambda: same.train(steps)),
        ("training: plain, random batches", lambda: usual.train(steps)),
        ("prediction: lmkit", lambda: own.predict(documents)),
        ("prediction: plain, as they come", lambda: usual.predict(documents, 64)),
    ]
    for number in range(arguments.rounds):
        for name, work in cases[:: -1 if number % 2 else 1]:
            note(name, work)
    print(f"{'':36} {'texts/s':>10} {'lmkit is quicker by':>20} {'spread':>14}")
    for name, _ in cases:
        found = speeds[name]
        ratios = [mine / other for mine, other in zip(speeds[f"{name.split(':')[0]}: lmkit"], found, strict=True)]
        shown = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:36} {statistics.median(found):10,.0f} {shown[0]:>20} {shown[1]:>14}")
    taken = f"{arguments.threads} threads, {arguments.clock} time"
    machine = f"{describe_cpu()}, {taken}; torch {torch.__version__}; Python {platform.python_version()}"
    print(machine)
    if arguments.json is not None:
        found_json = {"speeds": speeds, "machine": machine, "options": {**options, "vocab_size": vocab_size}}
        arguments.json.write_text(json.dumps(found_json, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_freed_memory()
    wait_politely()
    main()
