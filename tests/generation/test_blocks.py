"""Rows are computed together where each keeps the bits that it has alone, and nowhere else."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmkit.config import CELLS
from lmkit.generation.blocks import SIZES, Blocks
from lmkit.generation.decoder import StepDecoder
from lmkit.generation.packed import PackedMatrix, packed
from lmkit.generation.vectors import WholeVectors
from lmkit.model.int8 import quantized

# the hidden size 32 is one of whole vectors: its rows may be computed together
MODELS = [
    *((cell, {"hidden_size": 32}) for cell in CELLS),
    ("gru", {"hidden_size": 32, "head": "adaptive", "cutoffs": (4, 8)}),
    ("lstm", {"hidden_size": 32, "head": "adaptive", "cutoffs": (4, 8), "tie_embeddings": True}),
    ("lstm", {"hidden_size": 32, "attention": 4}),
    ("gru", {"hidden_size": 32, "block": "residual"}),
    ("lstm", {"hidden_size": 512, "vocab_size": 10_000}),
]


def steps(decoder, tokens, rows):
    """What the given rows get after each column of tokens (B, T): logits and states."""
    found, state = [], decoder.model.initial_state(len(rows))
    for column in tokens[rows].T:
        logits, state = decoder(column, state)
        found += [logits, *(tensor for layer in state for tensor in layer)]
    return found


@pytest.mark.parametrize(("cell", "options"), MODELS)
@torch.no_grad()
def test_a_row_has_the_same_bits_alone_in_any_company_and_at_any_place(make_model, cell, options):
    model = make_model(cell, num_layers=2, **options)
    decoder, tokens = StepDecoder(model), torch.randint(model.vocab_size, (70, 2))
    together = steps(decoder, tokens, list(range(70)))
    for rows in ([0], [69, 2], torch.randperm(70).tolist()[:66], list(range(53, 70))):
        for one, other in zip(steps(decoder, tokens, rows), together, strict=True):
            assert one.equal(other[rows])


@pytest.mark.parametrize(("cell", "hidden_size"), [("lstm", 32), ("gru", 33), ("rnn", 64)])
@torch.no_grad()
def test_in_eight_bits_too_a_row_has_the_same_bits_alone_and_in_any_company(make_model, cell, hidden_size):
    model = quantized(make_model(cell, num_layers=2, hidden_size=hidden_size))
    decoder, tokens = StepDecoder(model), torch.randint(model.vocab_size, (70, 2))
    together = steps(decoder, tokens, list(range(70)))
    for rows in ([0], [69, 2], torch.randperm(70).tolist()[:66]):
        for one, other in zip(steps(decoder, tokens, rows), together, strict=True):
            assert one.equal(other[rows])


@torch.no_grad()
def test_a_decoder_of_a_network_in_eight_bits_computes_what_the_network_computes(make_model):
    model, tokens = quantized(make_model("lstm", hidden_size=32)), torch.randint(12, (1, 6))
    whole, _ = model(tokens, model.initial_state(1))
    assert torch.stack(steps(StepDecoder(model), tokens, [0])[::3], dim=1).equal(whole)


@torch.no_grad()
def test_a_row_has_the_same_bits_among_any_number_of_rows(make_model):
    decoder, tokens = StepDecoder(make_model("lstm", hidden_size=32)), torch.randint(12, (70, 2))
    together = steps(decoder, tokens, list(range(70)))
    for number in range(1, 70):
        for one, other in zip(steps(decoder, tokens, list(range(number))), together, strict=True):
            assert one.equal(other[:number])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [3, 6])
@torch.no_grad()
def test_a_block_that_is_filled_up_gives_what_its_rows_give_alone(make_model, monkeypatch, cell, number):
    decoder = StepDecoder(make_model(cell, num_layers=2).double())
    tokens, rows = torch.randint(12, (number, 3)), list(range(number))
    alone = [steps(decoder, tokens, [row]) for row in rows]
    monkeypatch.setattr(Blocks, "_passes", lambda blocks, size: True)
    for parts, block in zip(zip(*alone, strict=True), steps(decoder, tokens, rows), strict=True):
        torch.testing.assert_close(block, torch.cat(parts), rtol=1e-10, atol=1e-10)


def blocks(change=lambda logits: logits):
    """Of a step whose logits are changed in some way that depends on the rows that are there."""

    def step(tokens, state):
        h = torch.tanh(state[0][0] + tokens[:, None])
        return change(2 * h), ((h,),)

    return Blocks(step, lambda number: ((torch.zeros(number, 32),),), 100)


def zeros(width, number):
    return ((torch.zeros(number, width),),)


def sizes(made, num_rows):
    return [size for _, size in made.cut(num_rows)]


def test_rows_are_cut_into_blocks_that_are_a_quarter_full_at_least():
    found = {number: sizes(blocks(), number) for number in (1, 2, 5, 16, 17, 64, 65, 66, 70, 200)}
    assert found == {
        **{1: [1], 2: [4], 5: [8], 16: [16], 17: [32], 64: [64], 65: [64, 1], 66: [64, 4], 70: [64, 8]},
        200: [64, 64, 64, 8],
    }


@pytest.mark.parametrize("number", [1, 2, 7, 33, 70, 131])
def test_blocks_hold_each_row_once_in_its_order(number):
    rows = [row for part, _ in blocks().cut(number) for row in range(number)[part]]
    assert rows == list(range(number))


def last_bit_at(place):
    def change(logits):
        logits = logits.clone()
        logits[place:] = torch.nextafter(logits[place:], torch.tensor(torch.inf))
        return logits

    return change


def test_a_size_with_other_bits_at_its_last_place_is_not_used():
    assert sizes(blocks(last_bit_at(31)), 64) == [16, 16, 16, 16]
    assert sizes(blocks(last_bit_at(3)), 5) == [1, 1, 1, 1, 1]


def test_a_size_whose_bits_are_others_everywhere_is_not_used():
    made = blocks(lambda logits: last_bit_at(0)(logits) if len(logits) == 16 else logits)
    assert sizes(made, 16) == [32]
    assert sizes(made, 20) == [32]
    assert sizes(made, 12) == [32]
    assert sizes(made, 8) == [8]


def test_a_single_row_needs_no_test():
    made = blocks()
    sizes(made, 1)
    assert not made.passed
    sizes(made, 3)
    assert [size for size, _ in made.passed] == [4]


def test_the_test_is_made_anew_for_another_number_of_threads(monkeypatch):
    made = blocks()
    sizes(made, 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    sizes(made, 3)
    assert len(made.passed) == 2


def test_a_step_that_could_differ_at_the_end_of_a_block_is_made_row_by_row():
    def step(tokens, state):
        h = torch.sigmoid(state[0][0])
        return h, ((torch.zeros_like(h),),)  # sigmoids of zero, which are exact at any place

    made = {width: Blocks(step, partial(zeros, width), 9) for width in (32, 33)}
    assert [sizes(made[width], 4) for width in (32, 33)] == [[4], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("width", "function", "kept"),
    [
        (128, torch.sigmoid, True),
        (129, torch.sigmoid, False),
        (129, F.silu, False),
        (129, torch.tanh, True),
        (129, lambda rows: rows * rows + 1, True),
        (129, lambda rows: rows.mul_(2).round_(), True),
        (129, lambda rows: rows.sigmoid_(), False),
        (129, lambda rows: torch.sigmoid(rows[:, :66]), True),  # each row by itself
        (129, lambda rows: torch.sigmoid(rows[0]), True),  # like a parameter: no row
    ],
)
def test_functions_with_ends_of_their_own_need_rows_of_whole_vectors(width, function, kept):
    with WholeVectors(4) as watched:
        function(torch.zeros(4, width))
    assert watched.kept is kept


def test_threads_share_whole_vectors(monkeypatch):
    rows = torch.zeros(64, 1024)
    kept = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=threads: number)
        with WholeVectors(64) as watched:
            torch.sigmoid(torch.cat([rows, rows]))
        kept.append(watched.kept)
    assert kept == [True, True, False]  # a third of 131,072 numbers is no number of whole vectors


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (9, 5), (2, 3, 5), (5,)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_packed_module_gives_what_the_module_gives(shape, bias):
    module, inputs = nn.Linear(5, 7, bias=bias), torch.randn(shape)
    expected = module(inputs)
    found = packed(module)(inputs)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # sums of 5 products of order one


@torch.no_grad()
def test_packing_leaves_a_module_alone_and_copies_nothing_but_matrices():
    module = nn.ModuleList([nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 5).double()])
    copy = packed(module)
    assert not any(isinstance(parameter, PackedMatrix) for parameter in module.parameters())
    assert copy[0].bias is module[0].bias
    assert copy[1].weight is module[1].weight
    assert copy[2].weight is module[2].weight
    assert torch.equal(next(copy.parameters()).sum(), next(module.parameters()).sum())


def test_states_of_any_shape_and_type_go_through_blocks():
    def step(tokens, state):
        ((memory, count),) = state
        return memory.sum(dim=(1, 2))[:, None] + count[:, None], ((memory + tokens[:, None, None], count + 1),)

    made = Blocks(step, lambda number: ((torch.zeros(number, 2, 3), torch.zeros(number, dtype=torch.int64)),), 9)
    assert sizes(made, max(SIZES)) == [max(SIZES)]
