"""How a model reads: window by window or at once, row by row or together, and never what comes later."""

import pytest
import torch

from lmkit.model import state as states
from lmkit.model.language_model import SequenceLoss

# torch's cells and one of each other family: a loop, a scan, past inputs, a matrix, attention. test_cells.py has all.
FAMILIES = ("rnn", "irnn", "gru", "lstm", "lnlstm", "mingru", "qrnn", "mlstm", "transformer")
SHAPES = [("lstm", 1), *((cell, 2) for cell in FAMILIES)]
on_all_shapes = pytest.mark.parametrize(("cell", "num_layers"), SHAPES)


def read(model, tokens, state, widths):
    """Logits of a text read in windows of the given widths."""
    parts = []
    for window in tokens.split(widths, dim=1):
        logits, state = model(window, state)
        parts.append(logits)
    return torch.cat(parts, 1), state


@on_all_shapes
@pytest.mark.parametrize("widths", [[1] * 12, [5, 7]])
def test_step_by_step_equals_whole(make_model, cell, num_layers, widths):
    model = make_model(cell, num_layers=num_layers)
    tokens = torch.randint(12, (3, 12))
    whole, end = model(tokens, model.initial_state(3))
    parts, end_of_parts = read(model, tokens, model.initial_state(3), widths)
    torch.testing.assert_close(parts, whole)
    for layer, other in zip(end, end_of_parts, strict=True):
        torch.testing.assert_close(layer, other)


@on_all_shapes
def test_output_does_not_depend_on_later_tokens(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    tokens = torch.randint(12, (2, 9))
    logits, _ = model(tokens, model.initial_state(2))
    for place in range(9):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1 + torch.arange(9 - place)) % 12
        others, _ = model(changed, model.initial_state(2))
        assert others[:, :place].equal(logits[:, :place])
        assert not others[:, place].equal(logits[:, place])


@on_all_shapes
def test_gradients_reach_all_earlier_tokens_and_no_later_ones(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    tokens = torch.arange(8)[None]  # all different, so a row of the embedding's gradient is a place
    for place in range(8):
        model.zero_grad()
        logits, _ = model(tokens, model.initial_state(1))
        logits[0, place].logsumexp(0).backward()
        reached = model.embedding.weight.grad.abs().sum(1) > 0
        assert reached.tolist() == [number <= place for number in range(12)]


@on_all_shapes
def test_no_gradient_reaches_before_the_window(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    loss = SequenceLoss(model)
    state = loss(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]]), model.initial_state(1)).state
    assert all(tensor.requires_grad for layer in state for tensor in layer if tensor.is_floating_point())
    cut = states.detach(state)
    assert not any(tensor.requires_grad for layer in cut for tensor in layer)
    loss(torch.tensor([[3, 4]]), torch.tensor([[4, 5]]), cut).nll.backward()
    reached = model.embedding.weight.grad.abs().sum(1) > 0
    assert reached.nonzero().flatten().tolist() == [3, 4]


@on_all_shapes
def test_rows_are_independent(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    tokens = torch.randint(12, (5, 6))
    together, end = model(tokens, model.initial_state(5))
    for row in range(5):
        alone, end_alone = model(tokens[row : row + 1], model.initial_state(1))
        torch.testing.assert_close(alone, together[row : row + 1])
        for layer, layer_alone in zip(end, end_alone, strict=True):
            for tensor, tensor_alone in zip(layer, layer_alone, strict=True):
                torch.testing.assert_close(tensor_alone, tensor[row : row + 1])


@on_all_shapes
def test_gradients_do_not_cross_rows(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    tokens = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    logits, _ = model(tokens, model.initial_state(3))
    logits[1].logsumexp(1).sum().backward()
    assert (model.embedding.weight.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [3, 4, 5]


@on_all_shapes
def test_resetting_rows_equals_separate_runs(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    first, second = torch.randint(12, (2, 4, 5))
    _, state = model(first, model.initial_state(4))
    reset = torch.tensor([True, False, False, True])
    mixed, _ = model(second, model.reset(state, reset))
    fresh, _ = model(second, model.initial_state(4))
    carried, _ = model(second, state)
    torch.testing.assert_close(mixed, torch.where(reset[:, None, None], fresh, carried))
    assert not torch.allclose(fresh, carried)


@on_all_shapes
def test_the_initial_state_is_a_value_and_the_same_for_every_row(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    state = model.initial_state(3)
    assert len(state) == num_layers
    assert all(tensor[1].equal(tensor[0]) and len(tensor) == 3 for layer in state for tensor in layer)
    tokens = torch.randint(12, (3, 4))
    first, after = model(tokens, state)
    untouched = (tensor for layer in model.initial_state(3) for tensor in layer)
    assert all(
        tensor.equal(other) for tensor, other in zip((t for layer in state for t in layer), untouched, strict=True)
    )
    snapshot = [tensor.clone() for layer in after for tensor in layer]
    second, _ = model(tokens, state)
    assert first.equal(second)
    assert all(tensor.equal(copy) for tensor, copy in zip((t for layer in after for t in layer), snapshot, strict=True))


def test_the_state_has_the_models_type(make_model):
    assert make_model("gru").double().initial_state(1)[0][0].dtype == torch.float64


@on_all_shapes
def test_sequence_loss_gives_sum_count_and_state(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers)
    inputs, targets = torch.randint(12, (2, 3, 5))
    targets[0, 2:] = -100
    targets[2, :] = -100
    nll, penalty, count, state = SequenceLoss(model)(inputs, targets, model.initial_state(3))
    logits, expected_state = model(inputs, model.initial_state(3))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(nll, expected)
    assert (penalty, count) == (0, 2 + 5)
    assert nll.dim() == 0
    for layer, other in zip(state, expected_state, strict=True):
        torch.testing.assert_close(layer, other)
    again, _ = model.nll_sum(inputs, targets, model.initial_state(3))
    torch.testing.assert_close(again, expected)


def test_a_window_without_targets_costs_nothing_and_moves_the_state(make_model):
    model = make_model("lstm")
    tokens = torch.randint(12, (2, 3))
    nll, _, count, state = SequenceLoss(model)(tokens, torch.full((2, 3), -100), model.initial_state(2))
    nll.backward()
    assert (nll, count) == (0, 0)
    assert state[0][0].any()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
