"""Tokens per second of lmkit's evaluation and scoring against a plain PyTorch loop of the same model, in one run.

    .venv/bin/python scripts/bench_eval.py --rounds 3 --json result.json

Two models: words (2 x 200 LSTM, 33,278 types, exact softmax) and characters (1 x 512 LSTM, 96 types), untrained, on a
made text with Zipf's frequencies. Each round starts a fresh process for each side: the plain loop on one stream and on
64 rows, lmkit's evaluation on both, and `score` with its default columns on one stream. The plain loop is what a
competent person writes from the documentation; it is frozen: do not change it, or figures of different days cannot be
compared.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

WINDOW, ROWS = 256, 64
CASES = {  # vocabulary, layers, hidden size, tokens of one stream, tokens of rows
    "words": (33_278, 2, 200, 60_000, 256_000),
    "characters": (96, 1, 512, 200_000, 1_024_000),
}
SIDES = ("plain", "eval", "score", "plain rows", "eval rows")


def make_stream(vocab_size: int, tokens: int):
    """Token ids with the frequencies of natural text: rank r is seen in proportion to 1 / (r + 2.7)."""
    import numpy as np

    weights = 1.0 / (np.arange(2, vocab_size) + 2.7)  # 0 and 1 are <unk> and <eos>
    return np.random.default_rng(0).choice(np.arange(2, vocab_size), size=tokens, p=weights / weights.sum())


def plain(case: str, rows: int) -> float:
    """The baseline, frozen: windows of one stream or of contiguous rows. Returns tokens per second."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    vocab_size, layers, hidden_size, *tokens = CASES[case]
    torch.manual_seed(1)
    embedding = nn.Embedding(vocab_size, hidden_size)
    lstm = nn.LSTM(hidden_size, hidden_size, layers)
    decoder = nn.Linear(hidden_size, vocab_size)
    ids = torch.from_numpy(make_stream(vocab_size, tokens[rows > 1])).view(rows, -1).t().contiguous()
    state = (torch.zeros(layers, rows, hidden_size), torch.zeros(layers, rows, hidden_size))
    total = 0.0
    with torch.no_grad():
        lstm(embedding(ids[:WINDOW]), state)
        started = time.perf_counter()
        for begin in range(0, len(ids) - 1, WINDOW):
            targets = ids[begin + 1 : begin + 1 + WINDOW]
            outputs, state = lstm(embedding(ids[begin : begin + len(targets)]), state)
            logits = decoder(outputs)
            total += F.cross_entropy(logits.view(-1, vocab_size), targets.reshape(-1), reduction="sum").item()
    return (len(ids) - 1) * rows / (time.perf_counter() - started)


def make_lmkit(case: str):
    """The same model in lmkit, with a tokenizer of as many tokens, set up as the command line does it."""
    from lmkit.hardware import choose_threads, keep_freed_memory, wait_politely

    keep_freed_memory()
    wait_politely()
    import torch

    from lmkit.config import Config
    from lmkit.model.language_model import LanguageModel
    from lmkit.text.tokenizers.character import CharacterTokenizer
    from lmkit.text.tokenizers.word import WordTokenizer

    vocab_size, layers, hidden_size, *_ = CASES[case]
    torch.set_num_threads(choose_threads(None))
    torch.manual_seed(1)
    config = Config().override({"num_layers": layers, "hidden_size": hidden_size})
    model = LanguageModel(config.model, vocab_size).eval()
    if case == "words":
        tokenizer = WordTokenizer.train([" ".join(f"w{i}" for i in range(vocab_size - 2))])
    else:
        tokenizer = CharacterTokenizer.train(["".join(map(chr, range(33, 33 + vocab_size - 2)))])
    assert tokenizer.vocab_size == vocab_size
    return model, tokenizer


def make_text(case: str, tokenizer, tokens: int) -> str:
    ids = make_stream(tokenizer.vocab_size, tokens).tolist()
    return (" " if case == "words" else "").join(tokenizer.id_to_token(id) for id in ids)


def evaluation(case: str, rows: int) -> float:
    from lmkit.evaluation.measurement import measure
    from lmkit.evaluation.options import EvalOptions
    from lmkit.evaluation.predictor import NetworkPredictor
    from lmkit.text.corpus import encode_text

    model, tokenizer = make_lmkit(case)
    predictor = NetworkPredictor(model)
    warm = encode_text(tokenizer, make_text(case, tokenizer, WINDOW * rows))
    text = encode_text(tokenizer, make_text(case, tokenizer, CASES[case][3 + (rows > 1)]))
    options = EvalOptions(rows=rows, window=WINDOW)
    measure(predictor, warm, tokenizer, options, split="text")
    started = time.perf_counter()
    result = measure(predictor, text, tokenizer, options, split="text")
    return result.evaluation.tokens / (time.perf_counter() - started)


def score(case: str) -> float:
    from lmkit.evaluation.predictor import NetworkPredictor
    from lmkit.evaluation.scoring.columns import Layout, token_columns
    from lmkit.evaluation.scoring.scoring import score_text
    from lmkit.evaluation.scoring.table import rows

    model, tokenizer = make_lmkit(case)
    predictor, layout = NetworkPredictor(model), Layout.choose("token", None, "2")

    def run(text: str) -> int:
        tokens = 0
        for scored in score_text(predictor, tokenizer, [[text]]):
            out = io.StringIO()
            out.write(rows(token_columns(layout, scored, tokenizer), "tsv"))
            tokens += len(scored.block)
        return tokens

    run(make_text(case, tokenizer, WINDOW))
    text = make_text(case, tokenizer, CASES[case][3])
    started = time.perf_counter()
    return run(text) / (time.perf_counter() - started)


def speed(case: str, side: str) -> float:
    if side == "score":
        return score(case)
    rows = ROWS if side.endswith("rows") else 1
    return plain(case, rows) if side.startswith("plain") else evaluation(case, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(speed(*arguments.worker))
        return
    speeds: dict[str, dict[str, list[float]]] = {case: {side: [] for side in SIDES} for case in CASES}
    for number in range(arguments.rounds):
        for case in CASES:
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                command = [sys.executable, __file__, "--worker", case, side]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                speeds[case][side].append(float(done.stdout))
    report(speeds, arguments.json)


def report(speeds: dict[str, dict[str, list[float]]], path: Path | None) -> None:
    import torch

    from lmkit.hardware import choose_threads, describe_cpu

    for case, sides in speeds.items():
        for side, values in sides.items():
            show(f"{case:10} {side:10}", values, "10,.0f", " tokens/s")
        for ours, theirs in (("eval", "plain"), ("score", "eval"), ("eval rows", "plain rows")):
            ratios = [a / b for a, b in zip(sides[ours], sides[theirs], strict=True)]
            show(f"{case:10} {ours} / {theirs}", ratios, ".2f")
    versions = f"torch {torch.__version__}; Python {platform.python_version()}"
    print(f"{describe_cpu()}; {choose_threads(None)} threads; {versions}")
    if path is not None:
        versions = {"torch": torch.__version__, "python": platform.python_version(), "cpu": describe_cpu()}
        path.write_text(json.dumps({"speeds": speeds, **versions}, indent=2) + "\n", encoding="utf-8")


def show(title: str, values: list[float], form: str, unit: str = "") -> None:
    print(f"{title}  median {statistics.median(values):{form}}{unit}   {min(values):{form}} to {max(values):{form}}")


if __name__ == "__main__":
    main()
