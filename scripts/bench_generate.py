"""Generation against the plain loop over ``nn.LSTM`` with the same work, alternating in one run.

    .venv/bin/python scripts/bench_generate.py --rounds 7 --threads 1 --json result.json

Both draw a token for each stream from the whole distribution and keep its log-probability. The plain loop calls
``nn.LSTM`` on one token of all streams, takes a softmax and draws with ``torch.multinomial``; lmkit calls ``generate``.
A ratio is that of one round: tokens of lmkit a second through those of the plain loop.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from lmkit.config import Config
from lmkit.generation.decoder import StepDecoder
from lmkit.generation.decoding import Decoding
from lmkit.generation.generate import generate
from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely
from lmkit.model.language_model import LanguageModel


class PlainLoop(nn.Module):
    """What a user of torch would write."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, num_layers)
        self.output = nn.Linear(hidden_size, vocab_size)

    @torch.no_grad()
    def run(self, streams: int, tokens: int) -> None:
        ids = torch.zeros(streams, dtype=torch.long)
        state: tuple[Tensor, Tensor] | None = None
        for _ in range(tokens):
            hidden, state = self.lstm(self.embedding(ids)[None], state)
            log_probs = self.output(hidden[0]).log_softmax(-1)
            ids = torch.multinomial(log_probs.exp(), 1)[:, 0]
            log_probs.gather(1, ids[:, None])


class Generation:
    """``generate`` with one decoder, whose blocks have been tested."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int) -> None:
        shape = {"hidden_size": hidden_size, "num_layers": num_layers, "dropout": 0.0}
        self.model = LanguageModel(Config().override(shape).model, vocab_size).eval()
        self.decoder = StepDecoder(self.model)

    def run(self, streams: int, tokens: int) -> None:
        state = self.model.initial_state(1)
        columns = generate(self.decoder, [0], state, decoding=Decoding(), streams=range(streams))
        for _ in islice(columns, tokens):
            pass


def speed(loop: PlainLoop | Generation, streams: int, tokens: int) -> float:
    """Tokens of all streams a second."""
    started = time.perf_counter()
    loop.run(streams, tokens)
    return streams * tokens / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=30, help="tokens of each stream in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'vocabulary':>10} {'streams':>7} {'plain, tokens/s':>16} {'lmkit, tokens/s':>16} {'ratio':>6}  spread")
    figures = []
    for vocab_size in arguments.vocab_sizes:
        shape = (vocab_size, arguments.hidden_size, arguments.layers)
        plain, own = PlainLoop(*shape).eval(), Generation(*shape)
        for streams in arguments.streams:
            pairs = [
                (speed(plain, streams, arguments.tokens), speed(own, streams, arguments.tokens))
                for _ in range(arguments.rounds + 1)
            ][1:]  # in the first round kernels are chosen and blocks tested
            ratios = [ours / theirs for theirs, ours in pairs]
            theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
            print(
                f"{vocab_size:10,} {streams:7} {theirs:16,.0f} {ours:16,.0f} {statistics.median(ratios):6.2f}  "
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )
            figures.append({"vocab_size": vocab_size, "streams": streams, "tokens_per_second": pairs, "ratios": ratios})
    machine = (
        f"{describe_cpu()}, {arguments.threads} threads; torch {torch.__version__}; Python {platform.python_version()}"
    )
    print(machine)
    if arguments.json is not None:
        found = {"figures": figures, "machine": machine}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_freed_memory()
    wait_politely()
    main()
