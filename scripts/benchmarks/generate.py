"""Generation: a draw from the whole distribution and its log-probability for each token of each stream."""

from __future__ import annotations

from functools import partial
from itertools import islice

from benchmarks.case import Case, Settings, Step

LAYERS, HIDDEN_SIZE = 2, 512
TOKENS = 15  # of each stream in a step


def shape(vocab_size: int, settings: Settings) -> tuple[int, int, int]:
    """Vocabulary, hidden size and layers."""
    return (20, 8, 1) if settings.tiny else (vocab_size, HIDDEN_SIZE, LAYERS)


def plain(vocab_size: int, streams: int, settings: Settings) -> Step:
    """What a user of torch would write, frozen: ``nn.LSTM`` on one token of all streams."""
    import torch
    from torch import nn

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    vocab_size, hidden_size, layers = shape(vocab_size, settings)
    embedding = nn.Embedding(vocab_size, hidden_size)
    lstm = nn.LSTM(hidden_size, hidden_size, layers)
    output = nn.Linear(hidden_size, vocab_size)

    @torch.no_grad()
    def step() -> float:
        ids, state = torch.zeros(streams, dtype=torch.long), None
        for _ in range(TOKENS):
            hidden, state = lstm(embedding(ids)[None], state)
            log_probs = output(hidden[0]).log_softmax(-1)
            ids = torch.multinomial(log_probs.exp(), 1)[:, 0]
            log_probs.gather(1, ids[:, None])
        return float(streams * TOKENS)

    return step


def own(vocab_size: int, streams: int, in_int8: bool, settings: Settings) -> Step:
    """``generate`` with one decoder, whose blocks are tested in the first step; ``in_int8``: as ``--decoder int8``."""
    import torch

    from lmkit.config import Config
    from lmkit.generation.decoder import StepDecoder
    from lmkit.generation.decoding import Decoding
    from lmkit.generation.generate import generate
    from lmkit.model.int8 import quantized
    from lmkit.model.language_model import LanguageModel

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    vocab_size, hidden_size, layers = shape(vocab_size, settings)
    options = {"hidden_size": hidden_size, "num_layers": layers, "dropout": 0.0}
    model = LanguageModel(Config().override(options).model, vocab_size).eval()
    model = quantized(model) if in_int8 else model
    decoder = StepDecoder(model)

    def step() -> float:
        columns = generate(decoder, [0], model.initial_state(1), decoding=Decoding(), streams=range(streams))
        return float(streams * sum(1 for _ in islice(columns, TOKENS)))

    return step


def case(vocab_size: int, streams: int, in_int8: bool = False) -> Case:
    """lmkit against the plain loop."""
    weights = LAYERS * 8 * HIDDEN_SIZE**2 + HIDDEN_SIZE * vocab_size
    sides = partial(plain, vocab_size, streams), partial(own, vocab_size, streams, in_int8)
    name = f"generate/V{vocab_size}-{streams}{'-int8' if in_int8 else ''}"
    return Case(name, "tokens", "the plain loop", *sides, 2.0 * weights)


CASES = [
    case(vocab_size, streams, in_int8)
    for vocab_size in (100, 10_000)
    for streams in (1, 64)
    for in_int8 in (False, True)
]
