"""Evaluation and scoring of untrained models against a plain loop without gradients."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.case import Case, Settings, Step
from benchmarks.streams import zipf

WINDOW, ROWS = 256, 64


@dataclass(frozen=True)
class Network:
    """The network of a case; how many tokens are read in one stream, and in rows."""

    unit: str
    vocab_size: int
    layers: int
    hidden_size: int
    stream: int
    rows: int

    def fitting(self, settings: Settings) -> Network:
        return Network(self.unit, 60, 1, 8, 300, ROWS * 20) if settings.tiny else self

    def tokens(self, rows: int) -> int:
        return self.rows if rows > 1 else self.stream


def plain(network: Network, rows: int, settings: Settings) -> Step:
    """The baseline, frozen: windows of one stream or of contiguous rows."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    network = network.fitting(settings)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    vocab_size, hidden_size, layers = network.vocab_size, network.hidden_size, network.layers
    embedding = nn.Embedding(vocab_size, hidden_size)
    lstm = nn.LSTM(hidden_size, hidden_size, layers)
    decoder = nn.Linear(hidden_size, vocab_size)
    ids = torch.from_numpy(zipf(vocab_size, network.tokens(rows), first=2)).view(rows, -1).t().contiguous()

    @torch.no_grad()
    def step() -> float:
        state = (torch.zeros(layers, rows, hidden_size), torch.zeros(layers, rows, hidden_size))
        total = 0.0
        for begin in range(0, len(ids) - 1, WINDOW):
            targets = ids[begin + 1 : begin + 1 + WINDOW]
            outputs, state = lstm(embedding(ids[begin : begin + len(targets)]), state)
            logits = decoder(outputs)
            total += F.cross_entropy(logits.view(-1, vocab_size), targets.reshape(-1), reduction="sum").item()
        return float((len(ids) - 1) * rows)

    return step


def made(network: Network, settings: Settings) -> tuple[Any, Any]:
    """The same model in lmkit, and a tokenizer of as many tokens."""
    import torch

    from lmkit.config import Config
    from lmkit.evaluation.predictor import NetworkPredictor
    from lmkit.model.language_model import LanguageModel
    from lmkit.text import CharacterTokenizer, WordTokenizer

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    config = Config().override({"num_layers": network.layers, "hidden_size": network.hidden_size})
    model = LanguageModel(config.model, network.vocab_size).eval()
    if network.unit == "words":
        tokenizer: Any = WordTokenizer.train([" ".join(f"w{i}" for i in range(network.vocab_size - 2))])
    else:
        tokenizer = CharacterTokenizer.train(["".join(map(chr, range(33, 33 + network.vocab_size - 2)))])
    assert tokenizer.vocab_size == network.vocab_size
    return NetworkPredictor(model), tokenizer


def text(network: Network, tokenizer: Any, tokens: int) -> str:
    ids = zipf(tokenizer.vocab_size, tokens, first=2).tolist()
    return (" " if network.unit == "words" else "").join(map(tokenizer.id_to_token, ids))


def evaluation(network: Network, rows: int, settings: Settings) -> Step:
    """``lmkit eval``: one stream, or rows that are read on into each other."""
    from lmkit.evaluation.measurement import measure
    from lmkit.evaluation.options import EvalOptions
    from lmkit.text import encode_text

    network = network.fitting(settings)
    predictor, tokenizer = made(network, settings)
    tokens = encode_text(tokenizer, text(network, tokenizer, network.tokens(rows)))
    options = EvalOptions(rows=rows, window=WINDOW)

    def step() -> float:
        return float(measure(predictor, tokens, tokenizer, options, split="text").evaluation.tokens)

    return step


def score(network: Network, settings: Settings) -> Step:
    """``lmkit score`` with its default columns, as TSV."""
    from lmkit.evaluation.scoring.columns import Layout, token_columns
    from lmkit.evaluation.scoring.scoring import score_text
    from lmkit.evaluation.scoring.table import rows

    network = network.fitting(settings)
    predictor, tokenizer = made(network, settings)
    layout = Layout.choose("token", None, "2")
    whole = text(network, tokenizer, network.stream)

    def step() -> float:
        tokens, out = 0, io.StringIO()
        for scored in score_text(predictor, tokenizer, [[whole]]):
            out.write(rows(token_columns(layout, scored, tokenizer), "tsv"))
            tokens += len(scored.block)
        return float(tokens)

    return step


def cases(network: Network) -> list[Case]:
    """Evaluation on one stream and on rows against the plain loop, scoring against evaluation."""
    loops = [partial(plain, network, rows) for rows in (1, ROWS)]
    ours = [partial(evaluation, network, rows) for rows in (1, ROWS)]
    weights = network.layers * 8 * network.hidden_size**2 + network.hidden_size * network.vocab_size
    return [
        Case(f"eval/{network.unit}", "tokens", "the plain loop", loops[0], ours[0], 2.0 * weights),
        Case(f"eval/{network.unit}-64-rows", "tokens", "the plain loop", loops[1], ours[1], 2.0 * weights),
        Case(f"score/{network.unit}", "tokens", "eval", ours[0], partial(score, network), 2.0 * weights, True),
    ]


CASES = [
    *cases(Network("words", 33_278, 2, 200, 15_000, 64_000)),
    *cases(Network("characters", 96, 1, 512, 50_000, 256_000)),
]
