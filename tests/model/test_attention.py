"""Attention: exactly the last M positions, in whatever windows and however far into a text."""

import pytest
import torch

from lmkit.model.cells.rotary import rotate
from lmkit.model.cells.transformer import Transformer

D, B = 6, 3


def make_layer(context, size=D):
    torch.manual_seed(5)
    layer = Transformer(size, size, context=context).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.4)
    return layer


def text(steps, rows=B):
    torch.manual_seed(steps)
    return torch.randn(steps, rows, D, dtype=torch.float64)


def steps_of(layer, inputs, state):
    outputs = []
    for projected in layer.project(inputs):
        output, state = layer.step(projected, state)
        outputs.append(output)
    return torch.stack(outputs), state


@pytest.mark.parametrize("context", [1, 5, 70])
def test_an_output_comes_from_exactly_the_last_positions(context):
    layer, inputs = make_layer(context), text(150).requires_grad_()  # longer than what is computed at once
    outputs, _ = layer(inputs, layer.initial_state(B))
    for step in (0, 3, 64, 75, 149):
        (gradient,) = torch.autograd.grad(outputs[step, 0].sum(), inputs, retain_graph=True)
        reached = gradient[:, 0].abs().sum(1) > 0
        assert reached.tolist() == [step - context < position <= step for position in range(150)]
        assert not gradient[:, 1:].any()


@torch.no_grad()
@pytest.mark.parametrize("context", [5, 70])
def test_a_long_window_is_its_steps(context):
    layer, inputs = make_layer(context), text(150)
    _, start = layer(text(9), layer.initial_state(B))
    (whole, end), (steps, end_of_steps) = layer(inputs, start), steps_of(layer, inputs, start)
    torch.testing.assert_close(whole, steps, rtol=1e-9, atol=1e-11)
    for mine, theirs in zip(end, end_of_steps, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_rows_whose_memories_are_filled_differently_are_read_together():
    layer, inputs = make_layer(7), text(20)
    parts = [layer(text(read, 1), layer.initial_state(1))[1] for read in (2, 11)]
    state = tuple(torch.cat(tensors) for tensors in zip(*parts, layer.initial_state(1), strict=True))
    assert state[-1].tolist() == [2, 7, 0]
    together, _ = layer(inputs, state)
    for row in range(B):
        alone, _ = layer(inputs[:, row : row + 1], tuple(tensor[row : row + 1] for tensor in state))
        torch.testing.assert_close(alone, together[:, row : row + 1], rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_far_into_a_text_an_output_is_as_exact_as_at_its_beginning():
    layer, end = make_layer(32), text(32, 1)
    far, _ = layer(torch.cat([text(100_000, 1), end]), layer.initial_state(1))
    near, _ = layer(torch.cat([text(10, 1), end]), layer.initial_state(1))
    torch.testing.assert_close(far[-1], near[-1], rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_what_is_older_than_the_memory_changes_no_bit():
    layer, inputs = make_layer(8), text(40)
    outputs, end = layer(inputs, layer.initial_state(B))
    changed = inputs.clone()
    changed[:20] *= -1
    others, other_end = layer(changed, layer.initial_state(B))
    assert others[27:].equal(outputs[27:])
    assert not others[26].equal(outputs[26])
    assert all(mine.equal(theirs) for mine, theirs in zip(end, other_end, strict=True))
    oldest = (end[0].index_fill(1, torch.tensor(0), 9.0), end[1].index_fill(1, torch.tensor(0), 9.0), end[2])
    assert layer(text(5), oldest)[0].equal(layer(text(5), end)[0])


@torch.no_grad()
def test_the_weights_are_of_the_last_positions_and_zero_where_there_is_none():
    layer, inputs = make_layer(4), text(6)
    weights = layer.gates(inputs, layer.initial_state(B))["attention"]
    assert weights.shape == (6, B, 2, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    for step in range(6):
        assert ((weights[step] > 0).sum(-1) == min(4, step + 1)).all()
        assert (weights[step, ..., -1] > 0).all()


def test_the_count_of_filled_positions_stays_an_integer_in_any_arithmetic(make_model):
    model = make_model("transformer", context=4)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = model(torch.randint(12, (2, 3)), model.initial_state(2))
    keys, values, count = state[0]
    assert (keys.dtype, values.dtype, count.dtype) == (torch.float32, torch.float32, torch.int64)
    assert count.tolist() == [3, 3]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_a_product_of_turned_vectors_depends_on_their_distance_alone(size):
    q, k = torch.randn(2, 1, 1, size, dtype=torch.float64)
    products = [(rotate(q, first + 3) * rotate(k, first)).sum() for first in (0, 7, 1000)]
    torch.testing.assert_close(products[1], products[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(products[2], products[0], rtol=1e-9, atol=1e-11)
    assert size == 1 or not torch.allclose(products[0], (q * k).sum())


def test_dropout_falls_on_the_branches_and_not_between_blocks(make_model):
    tokens = torch.randint(12, (4, 3))
    rates = {"embedding_dropout": 0.0, "layer_dropout": 0.5, "output_dropout": 0.0}
    model = make_model("transformer", num_layers=2, **rates)
    noisy, state = model.train()(tokens, model.initial_state(4))
    clean, clean_state = model.eval()(tokens, model.initial_state(4))
    assert not noisy.equal(clean)
    assert state[0][0].equal(clean_state[0][0])
    assert not state[1][0].equal(clean_state[1][0])


@pytest.mark.parametrize("kept", ["attention", "feed-forward", "none"])
def test_each_branch_of_a_block_drops_and_the_stream_does_not(make_model, kept):
    tokens = torch.randint(12, (4, 3))
    rates = {"embedding_dropout": 0.0, "layer_dropout": 0.5, "output_dropout": 0.0}
    model = make_model("transformer", num_layers=2, **rates)
    with torch.no_grad():
        for layer in model.cells:
            branches = {"attention": layer.from_heads, "feed-forward": layer.feed_forward.down}
            for branch, module in branches.items():
                for parameter in module.parameters():
                    parameter.mul_(branch == kept)
    noisy, _ = model.train()(tokens, model.initial_state(4))
    clean, _ = model.eval()(tokens, model.initial_state(4))
    assert noisy.equal(clean) == (kept == "none")


def test_only_the_last_block_has_a_normalisation_on_top(make_model):
    model = make_model("transformer", num_layers=3, spread=None)
    assert [bool(list(layer.top.parameters())) for layer in model.cells] == [False, False, True]
    hidden, _ = model.features(torch.randint(12, (2, 5)), model.initial_state(2))
    torch.testing.assert_close(hidden.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_model_shows_the_weights_of_its_layers(make_model):
    model = make_model("transformer", num_layers=2, context=4, dropout=0.5).train()
    tokens, start = torch.randint(12, (3, 7)), model.eval()(torch.randint(12, (3, 2)), model.initial_state(3))[1]
    first, second = model.train().attention_weights(tokens, start)
    assert first.shape == second.shape == (3, 2, 7, 4)
    inputs, state = model.embedding(tokens.t()), start[0]
    lower, upper = model.eval().cells
    expected = lower.gates(inputs, state)["attention"]
    torch.testing.assert_close(first, expected.permute(1, 2, 0, 3))
    expected = upper.gates(lower(inputs, state)[0], start[1])["attention"]
    torch.testing.assert_close(second, expected.permute(1, 2, 0, 3))
    assert make_model("lstm").attention_weights(tokens, make_model("lstm").initial_state(3)) == []
