"""Networks in eight bits: their products are integers times scales, whatever the kernel and the company."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.model import int8
from lmkit.model.int8 import CELLS_IN_INT8, Int8Matrix, is_quantized, quantized, rounded


def by_definition(inputs: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """Every number by itself: an integer, two scales and a bias, one rounding to float32 after the other."""
    found = []
    for row in inputs:
        scale = row.abs().max() / 127
        numbers = (row / scale).round().long()
        for line, addend in zip(matrix, bias, strict=True):
            other = line.abs().max() / 127
            integer = sum(a * b for a, b in zip(numbers.tolist(), (line / other).round().long().tolist(), strict=True))
            found.append(torch.tensor(integer, dtype=torch.int32) * scale * other + addend)
    return torch.stack(found).view(len(inputs), len(matrix))


@pytest.mark.parametrize("has_kernel", [True, False])
@pytest.mark.parametrize(("rows", "columns", "outputs"), [(1, 5, 7), (2, 64, 33), (9, 17, 3), (4, 1, 5)])
def test_a_product_is_that_of_its_definition_to_the_bit(rows, columns, outputs, has_kernel, monkeypatch):
    if not has_kernel:
        monkeypatch.setattr(int8, "_has_exact_kernel", lambda: False)
    inputs, matrix, bias = torch.randn(rows, columns), torch.randn(outputs, columns), torch.randn(outputs)
    found = F.linear(inputs, Int8Matrix.of(matrix), bias)
    assert type(found) is Tensor
    assert found.equal(by_definition(inputs, matrix, bias))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (3, 6), (2, 3, 6), (70, 6)])
def test_a_row_has_the_same_bits_alone_and_in_company(shape):
    inputs, matrix = torch.randn(shape), Int8Matrix.of(torch.randn(11, 6))
    together = F.linear(inputs, matrix)
    assert together.shape == (*shape[:-1], 11)
    alone = [F.linear(row[None], matrix) for row in inputs.reshape(-1, 6)]
    assert together.reshape(-1, 11).equal(torch.cat(alone))


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_numbers_are_added_up_exactly(rows, sign):
    found = F.linear(torch.full((rows, 600), sign), Int8Matrix.of(torch.full((40, 600), -127.0)))
    assert found.equal((torch.tensor(-127 * 127 * 600) * (torch.tensor(sign).abs() / 127) * sign).expand(rows, 40))


def test_a_rounded_row_is_within_half_a_level_and_zeros_stay_zeros():
    rows = torch.cat([torch.randn(5, 40) * torch.tensor([1e-6, 1.0, 1e6, 1e-3, 30.0])[:, None], torch.zeros(1, 40)])
    numbers, scales = rounded(rows)
    assert numbers.abs().amax(1).tolist() == [127] * 5 + [0]
    assert ((numbers * scales - rows).abs() <= scales * (0.5 + 1e-4)).all()
    assert F.linear(torch.zeros(1, 40), Int8Matrix.of(rows)).equal(torch.zeros(1, 6))


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        *((cell, {}) for cell in CELLS_IN_INT8),
        ("rnn", {"nonlinearity": "sigmoid"}),
        ("lstm", {"input_gate": "coupled", "projection_size": 3}),
        ("gru", {"head": "adaptive", "cutoffs": (4, 8), "zoneout": 0.1}),
        ("lstm", {"tie_embeddings": True, "embedding_size": 4, "initial_state": "learned"}),
    ],
)
@torch.no_grad()
def test_a_window_is_its_steps_to_the_bit_and_near_the_network(make_model, cell, options):
    model = make_model(cell, num_layers=2, **options).eval()
    made, tokens = quantized(model), torch.randint(12, (1, 9))  # of one row, whose functions have no other company
    whole, end = made(tokens, made.initial_state(1))
    state, parts = made.initial_state(1), []
    for token in tokens.split(1, dim=1):
        logits, state = made(token, state)
        parts.append(logits)
    # the first cluster of an adaptive softmax is in float32, whose sums hang on the number of rows
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-5 if "cutoffs" in options else 0)
    assert all(one.equal(other) for one, other in zip(sum(end, ()), sum(state, ()), strict=True))
    exact, _ = model(tokens, model.initial_state(1))
    assert not whole.equal(exact)
    assert (whole.log_softmax(-1) - exact.log_softmax(-1)).abs().max() < 0.25


@torch.no_grad()
def test_all_products_of_a_step_are_in_eight_bits(make_model, monkeypatch):
    seen: list[tuple[int, ...]] = []
    linear = int8._linear

    def watched(inputs: Tensor, matrix: Int8Matrix, bias: Tensor | None) -> Tensor:
        seen.append(tuple(matrix.shape))
        return linear(inputs, matrix, bias)

    monkeypatch.setattr(int8, "_linear", watched)
    made = quantized(make_model("lstm", num_layers=2, embedding_size=4))
    made(torch.zeros(1, 1, dtype=torch.long), made.initial_state(1))
    assert seen == [(24, 4), (24, 6), (24, 6), (24, 6), (12, 6)]


def test_a_network_is_left_as_it_was_and_shares_its_numbers(make_model):
    model = make_model("gru", num_layers=2, tie_embeddings=True)
    made = quantized(model)
    assert is_quantized(made)
    assert not is_quantized(model)
    assert all(type(one) is nn.Parameter for one in model.parameters())
    (one, other) = (dict(some.named_parameters())["embedding.weight"] for some in (made, model))
    assert one is other
    assert made.head.get_parameter("bias") is model.head.get_parameter("bias")


def test_networks_that_have_no_such_form_are_refused(make_model):
    for options in ({"cell": "qrnn"}, {"cell": "lstm", "block": "residual"}, {"cell": "gru", "attention": 4}):
        with pytest.raises(ConfigError, match="--decoder int8 knows --cell rnn, irnn, gru and lstm, without"):
            quantized(make_model(**options))
    with pytest.raises(ConfigError, match="computes on the processor: add --device cpu"):
        quantized(make_model("lstm").to("meta"))
