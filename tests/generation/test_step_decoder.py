"""The step decoder gives what the model gives, whatever the model's parts."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lmkit.generation import decoder as decoder_module
from lmkit.generation.decoder import StepDecoder
from lmkit.model.cells import CELLS
from lmkit.model.state import map_state

HEADS: list[dict[str, Any]] = [
    {},
    {"tie_embeddings": True},
    {"tie_embeddings": True, "embedding_size": 5},
    {"embedding_size": 5},
    {"head": "adaptive", "cutoffs": (4, 8)},
    {"head": "adaptive", "cutoffs": (4, 8), "frequency_order": torch.tensor([3, 1, 2, 0, 7, 6, 5, 4, 11, 10, 9, 8])},
    {"head": "adaptive", "cutoffs": (4, 8), "tie_embeddings": True, "embedding_size": 5},
]


# each cell with one layer, and with several whose inputs have another size; each head with one cell
MODELS = [
    *((cell, {}) for cell in CELLS),
    *((cell, {"num_layers": 3, "tie_embeddings": True, "embedding_size": 5}) for cell in CELLS),
    *(("lstm", {"num_layers": 3, **options}) for options in HEADS),
    ("lstm", {"num_layers": 2, "input_gate": "capped", "projection_size": 4}),
    ("rnn", {"num_layers": 2, "nonlinearity": "sigmoid"}),
]


def assert_equal_steps(model, decoder, tokens, tolerance=1e-10):
    """The tolerance is for float64, where no kernel's order of summation shows; an adaptive softmax ends in float32."""
    state = decoder_state = model.initial_state(len(tokens))
    for column in tokens.T:
        logits, state = model(column[:, None], state)
        found, decoder_state = decoder(column, decoder_state)
        assert found.shape == logits[:, 0].shape
        coarse = max(tolerance, 1e-5) if logits.dtype == torch.float32 else tolerance
        torch.testing.assert_close(found.log_softmax(1), logits[:, 0].log_softmax(1), rtol=coarse, atol=coarse)
        for layer, other in zip(decoder_state, state, strict=True):
            torch.testing.assert_close(layer, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("cell", "options"), MODELS)
@torch.no_grad()
def test_the_decoder_is_the_model(make_model, cell, options):
    model = make_model(cell, **options).double()
    assert_equal_steps(model, StepDecoder(model), torch.randint(12, (3, 20)))


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_in_float32_they_differ_by_rounding_alone(make_model, cell):
    model = make_model(cell, num_layers=2)
    # sums of 8 to 12 products of order one, over 20 steps whose differences are carried on
    assert_equal_steps(model, StepDecoder(model), torch.randint(12, (3, 20)), tolerance=20 * 12 * 2.0**-23 * 10)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_a_vocabulary_too_large_for_a_table_gives_the_same(make_model, monkeypatch, cell):
    monkeypatch.setattr(decoder_module, "TABLE_ENTRIES", 0)
    model = make_model(cell, num_layers=2).double()
    assert_equal_steps(model, StepDecoder(model), torch.randint(12, (3, 20)))


@torch.no_grad()
def test_the_decoder_knows_no_dropout(make_model):
    model = make_model("gru", num_layers=2, dropout=0.5).double().train()
    decoder = StepDecoder(model)
    tokens = torch.randint(12, (2, 10))
    found = decoder(tokens[:, 0], model.initial_state(2))[0]
    assert found.equal(StepDecoder(model.eval())(tokens[:, 0], model.initial_state(2))[0])
    assert_equal_steps(model, decoder, tokens)


def test_making_and_asking_a_decoder_leaves_the_models_modes_alone(make_model):
    model = make_model("gru", dropout=0.5).train()
    StepDecoder(model)(torch.tensor([1]), model.initial_state(1))
    assert all(module.training for module in model.modules())


@pytest.fixture
def sensitive_products(monkeypatch):
    """Products with other last bits where their input does not begin at a multiple of 64 bytes, as some kernels'."""
    linear = F.linear

    def product(inputs, weight, bias=None):
        return linear(inputs, weight, bias) * (1 + inputs.data_ptr() % 64 * 1e-6)

    monkeypatch.setattr(F, "linear", product)


def assert_rows_do_not_matter(model, tokens):
    decoder = StepDecoder(model)

    def run(rows):
        state = model.initial_state(len(rows))
        for column in tokens[rows].T:
            logits, state = decoder(column, state)
        return logits

    together = run(list(range(7)))
    for rows in ([0], [3], [6, 1], [5, 4, 3, 2]):
        assert run(rows).equal(together[rows])


@pytest.mark.parametrize(("cell", "options"), [*((cell, {}) for cell in CELLS), *(("gru", head) for head in HEADS[1:])])
def test_a_rows_numbers_are_the_same_bits_whichever_rows_are_there(make_model, sensitive_products, cell, options):
    assert_rows_do_not_matter(make_model(cell, num_layers=2, hidden_size=33, **options), torch.randint(12, (7, 5)))


@pytest.mark.parametrize(
    ("cell", "hidden_size"), [*((cell, 129) for cell in CELLS), *(("lstm", size) for size in (97, 128, 650))]
)
def test_a_rows_numbers_are_the_same_bits_at_any_size(make_model, cell, hidden_size):
    assert_rows_do_not_matter(make_model(cell, num_layers=2, hidden_size=hidden_size), torch.randint(12, (7, 5)))


def displaced(offset, tensor):
    """The same values in memory that begins so many numbers after an allocation."""
    wide = torch.empty(offset + tensor.numel(), dtype=tensor.dtype)
    return wide[offset:].view(tensor.shape).copy_(tensor)


@pytest.mark.parametrize("cell", CELLS)
def test_where_a_state_begins_in_memory_changes_no_bit(make_model, sensitive_products, cell):
    model = make_model(cell, num_layers=2)
    decoder = StepDecoder(model)
    _, state = decoder(torch.tensor([3]), model.initial_state(1))
    expected = decoder(torch.tensor([4]), state)[0]
    for offset in range(1, 16):
        moved = map_state(partial(displaced, offset), state)
        assert moved[0][0].data_ptr() % 64 == 4 * offset
        assert decoder(torch.tensor([4]), moved)[0].equal(expected)


def test_a_step_leaves_its_state_alone_and_needs_no_gradient(make_model):
    model = make_model("lstm")
    decoder = StepDecoder(model)
    _, state = decoder(torch.tensor([3]), model.initial_state(1))
    before = [tensor.clone() for layer in state for tensor in layer]
    first, after = decoder(torch.tensor([4]), state)
    second, _ = decoder(torch.tensor([4]), state)
    assert first.equal(second)
    assert all(a.equal(b) for a, b in zip(before, (t for layer in state for t in layer), strict=True))
    assert not first.requires_grad
    assert not after[0][0].requires_grad
