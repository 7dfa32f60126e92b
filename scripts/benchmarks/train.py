"""Training: PyTorch's word_language_model example, with each of its three cells, by lmkit against a plain loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.case import Case, Settings, Step
from benchmarks.streams import zipf

if TYPE_CHECKING:
    from lmkit.distributed.world import World

DROPOUT, LR, CLIP = 0.2, 20.0, 0.25
STEPS = 70  # then the stream begins again
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Network:
    """The network of a case, and the shape of its batches."""

    vocab_size: int
    hidden_size: int
    layers: int
    batch: int
    window: int
    tied: bool = False
    cell: str = "lstm"

    def fitting(self, settings: Settings) -> Network:
        return Network(50, 8, 1, 2, 5, self.tied, self.cell) if settings.tiny else self

    @property
    def operations(self) -> float:
        """For a token: forward once, backward twice, of each weight a product and a sum."""
        weights = self.layers * 2 * GATES[self.cell] * self.hidden_size**2 + self.hidden_size * self.vocab_size
        return 6.0 * weights


def plain(network: Network, settings: Settings) -> Step:
    """The baseline, frozen."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    network = network.fitting(settings)
    vocab_size, hidden_size, layers, batch, window = (
        network.vocab_size,
        network.hidden_size,
        network.layers,
        network.batch,
        network.window,
    )

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, hidden_size)
            kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[network.cell]
            self.rnn = kind(hidden_size, hidden_size, layers, dropout=DROPOUT if layers > 1 else 0.0)
            self.decoder = nn.Linear(hidden_size, vocab_size)
            if network.tied:
                self.decoder.weight = self.embedding.weight
            self.dropout = nn.Dropout(DROPOUT)
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, tokens, hidden):
            outputs, hidden = self.rnn(self.dropout(self.embedding(tokens)), hidden)
            return F.linear(self.dropout(outputs), self.decoder.weight, self.decoder.bias), hidden

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    stream = zipf(vocab_size, batch * (window * STEPS + 1)).astype("int64")
    ids = torch.from_numpy(stream).view(batch, -1).t().contiguous()
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    hidden = [torch.zeros(layers, batch, hidden_size) for _ in range(2 if network.cell == "lstm" else 1)]
    model.train()
    number = 0
    total = 0.0

    def step() -> float:
        nonlocal hidden, number, total
        begin = number % STEPS * window
        number += 1
        data, targets = ids[begin : begin + window], ids[begin + 1 : begin + 1 + window]
        hidden = [part.detach() for part in hidden]
        optimizer.zero_grad()
        logits, after = model(data, tuple(hidden) if len(hidden) == 2 else hidden[0])
        hidden = list(after) if len(hidden) == 2 else [after]
        loss = F.cross_entropy(logits.view(-1, vocab_size), targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        total += loss.item()
        return float(batch * window)

    return step


def own(network: Network, precision: str, settings: Settings, world: World | None = None) -> Step:
    """The same through lmkit, in the processes of a world."""
    network = network.fitting(settings)
    options = {
        "cell": network.cell,
        "num_layers": network.layers,
        "hidden_size": network.hidden_size,
        "tie_embeddings": network.tied,
        "dropout": DROPOUT,
        "window": network.window,
        "batch_size": network.batch,
        "optimizer": "sgd",
        "lr": LR,
        "max_grad_norm": CLIP,
        "epochs": 1_000_000,
    }
    tokens = network.batch * (network.window * STEPS + 1)
    return trainee(options, network.vocab_size, tokens, precision, settings, world)


def trainee(
    options: dict[str, object],
    vocab_size: int,
    tokens: int,
    precision: str,
    settings: Settings,
    world: World | None = None,
) -> Step:
    """A network in training by ``fit``; a step is one of its."""
    import numpy as np
    import torch

    from lmkit.config import Config
    from lmkit.distributed.parallel import Parallel
    from lmkit.distributed.world import ALONE
    from lmkit.model.language_model import LanguageModel, SequenceLoss
    from lmkit.samplers import SequentialSampler
    from lmkit.training.generators import Generators
    from lmkit.training.loop import fit
    from lmkit.training.optimizers import make_optimizer
    from lmkit.training.state import TrainState
    from lmkit.training.step import StepRecord, Update

    torch.set_num_threads(settings.threads)
    torch.manual_seed(1)
    config = Config().override({**options, "precision": precision})
    training = config.training
    model = LanguageModel(config.model, vocab_size)
    generators = Generators.begin(world or ALONE, 1, torch.device("cpu"))
    train = TrainState(model, make_optimizer(model, training), generators=generators)
    stream = zipf(vocab_size, tokens).astype(np.uint16)
    sampler = SequentialSampler(stream, eos_id=1, batch_size=training.batch_size, window=training.window)
    loss = SequenceLoss(model, common=generators.common)
    update = Update(loss, torch.device("cpu"), getattr(torch, precision), training.max_grad_norm)
    if world is not None:
        update = replace(update, loss=Parallel(loss, world))
    records = fit(train, sampler, training, update, None)

    def step() -> float:
        before = train.tokens
        assert isinstance(next(records), StepRecord)
        return float(train.tokens - before)

    return step


def case(name: str, network: Network, precision: str) -> Case:
    """lmkit in a precision against the plain loop in float32."""
    sides = partial(plain, network), partial(own, network, precision)
    return Case(f"train/{name}-{precision}", "tokens", "the plain loop", *sides, network.operations)


NETWORKS = {
    "words-2x200": Network(33_278, 200, 2, 20, 35),
    "words-2x650-tied": Network(33_278, 650, 2, 20, 35, tied=True),
    "characters-3x512": Network(100, 512, 3, 64, 128),
}
OTHER_CELLS = {
    f"{cell}-{name}": replace(network, cell=cell)
    for cell in ("gru", "rnn")
    for name, network in (
        ("characters-2x512", Network(100, 512, 2, 32, 256)),
        ("words-2x200", Network(10_000, 200, 2, 20, 35)),
    )
}
CASES = [
    case(name, network, precision)
    for name, network in (NETWORKS | OTHER_CELLS).items()
    for precision in ("float32", "bfloat16")
]
