"""A classifier gives a document the same probabilities whatever its padding, its windows and its neighbours are, and
the gradient of a plain loop over its last window.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lmkit.config import ModelConfig
from lmkit.model.classifier import Classifier, ClassifierLoss
from lmkit.model.head import IGNORE
from lmkit.model.pooling import POOLINGS
from lmkit.model.state import detach

V, C = 9, 3
LENGTHS = (7, 1, 4, 10, 3)
# Each pooling and each kind of kernel, in pairs.
CASES = [("last", "lstm"), ("mean", "gru"), ("max", "rnn"), ("concat", "lstm"), ("concat", "mingru"), ("last", "mlstm")]


def make(pooling: str, cell: str = "lstm", window: int = 4, *, resets: bool = False, **options: Any) -> Classifier:
    torch.manual_seed(7)
    config = ModelConfig(**{"cell": cell, "hidden_size": 4, "num_layers": 2, "dropout": 0.0, **options})
    model = Classifier(config, V, C, pooling, window, resets=resets).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def documents() -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(V, (length,), generator=draw) for length in LENGTHS]


def padded(texts: list[Tensor], steps: int | None = None, filler: int = 0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(text) for text in texts])
    tokens = torch.full((len(texts), steps or int(lengths.max())), filler)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
    return tokens, lengths


def alone(model: Classifier, text: Tensor) -> Tensor:
    """Log-probabilities (C,) of a document in one piece, or in windows that begin anew: the outputs pooled by hand."""
    parts = text.split(model.window) if model.resets else [text]
    outputs = torch.cat([model.outputs(part[None], model.initial_state(1))[0][:, 0] for part in parts])
    vectors = {"last": outputs[-1], "max": outputs.max(dim=0).values, "mean": outputs.mean(dim=0)}
    vector = torch.cat([vectors[part] for part in POOLINGS[model.pooling]])
    return F.log_softmax(model.head.weight @ vector + model.head.bias, dim=-1)


@pytest.mark.parametrize(("pooling", "cell"), CASES)
@pytest.mark.parametrize(("window", "resets"), [(1, False), (4, False), (50, False), (4, True)])
def test_windows_padding_and_neighbours_change_no_probability(pooling: str, cell: str, window: int, resets: bool):
    model, texts = make(pooling, cell, window, resets=resets), documents()
    expected = torch.stack([alone(model, text) for text in texts])
    found = model.log_probs(*padded(texts))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    tokens, lengths = padded(texts[::-1], steps=15, filler=5)
    torch.testing.assert_close(model.log_probs(tokens, lengths).flip(0), expected, rtol=0, atol=1e-12)
    assert torch.allclose(found.exp().sum(dim=1), torch.ones(len(texts)).double())


def test_windows_that_begin_anew_are_another_reading_only_of_texts_that_are_longer():
    short, long = (padded([text for text in documents() if (len(text) > 4) == is_long]) for is_long in (False, True))
    carries, resets = make("concat"), make("concat", resets=True)
    assert torch.equal(carries.log_probs(*short), resets.log_probs(*short))
    assert (carries.log_probs(*long) - resets.log_probs(*long)).abs().min() > 1e-4


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("pooling", "cell"), CASES)
def test_the_probabilities_after_a_prefix_are_those_of_the_prefix(pooling: str, cell: str, resets: bool):
    model, text = make(pooling, cell, 4, resets=resets), documents()[3]
    found = torch.cat(list(model.prefix_log_probs(text)))
    expected = torch.stack([alone(model, text[:end]) for end in range(1, len(text) + 1)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def plain_loss(model: Classifier, text: Tensor, label: int) -> Tensor:
    """The loss of one document by a loop over its windows that keeps the gradient of the last one alone."""
    state, outputs = model.initial_state(1), list[Tensor]()
    for part in text.split(model.window):
        state = detach(state) if outputs else state
        outputs = [one.detach() for one in outputs]
        found, left = model.outputs(part[None], model.initial_state(1) if model.resets else state)
        outputs.append(found[:, 0])
        state = left
    whole = torch.cat(outputs)
    vectors = {"last": whole[-1], "max": whole.amax(dim=0), "mean": whole.sum(dim=0) / len(whole)}
    vector = torch.cat([vectors[part] for part in POOLINGS[model.pooling]])
    return F.cross_entropy((model.head.weight @ vector + model.head.bias)[None], torch.tensor([label]))


@pytest.mark.parametrize(("pooling", "cell", "resets"), [*((*case, False) for case in CASES), ("concat", "gru", True)])
def test_the_gradient_is_that_of_a_plain_loop_over_windows(pooling: str, cell: str, resets: bool):
    start = "learned" if resets else None
    model, texts, labels = make(pooling, cell, 4, resets=resets, initial_state=start), documents(), [0, 2, 1, 1, 0]
    weights = torch.tensor([1.0, 0.5, 2.0])
    losses = [weights[label] * plain_loss(model, text, label) for text, label in zip(texts, labels, strict=True)]
    torch.stack(losses).sum().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    tokens, lengths = padded([*texts, torch.tensor([3])])
    targets = torch.full_like(tokens, IGNORE)
    targets[torch.arange(len(texts)), lengths[:-1] - 1] = torch.tensor(labels)  # the last row has no label
    loss = ClassifierLoss(model, weights)(tokens, targets, model.initial_state(len(tokens)))
    loss.nll.backward()
    assert int(loss.num_targets) == len(texts)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-10, msg=name)


def test_a_window_that_no_document_ends_in_keeps_nothing_for_the_gradient(monkeypatch: pytest.MonkeyPatch):
    model, kept = make("concat", window=2), []
    outputs = model.outputs

    def watched(tokens: Tensor, state: Any) -> Any:
        kept.append((tuple(tokens.shape), torch.is_grad_enabled()))
        return outputs(tokens, state)

    monkeypatch.setattr(model, "outputs", watched)
    model.log_probs(*padded(documents()[2:]))  # 4, 10 and 3 tokens
    assert kept == [
        ((3, 2), False),
        ((2, 2), True),
        ((1, 2), False),
        ((1, 2), False),
        ((1, 2), False),
        ((1, 2), True),
    ]
