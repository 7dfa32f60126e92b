"""One step: the gradient of one window, clipped, applied, and the state carried without its graph."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from lmkit.errors import NonFiniteError
from lmkit.model.cells import CELLS
from lmkit.model.cells.irnn import RADIUS, perron_bound
from lmkit.samplers import IGNORE, Window
from lmkit.training.step import train_step


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def snapshot(value):
    """A deep copy of nested dictionaries, lists and tensors that can be compared with ``same``."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: snapshot(entry) for key, entry in value.items()}
    return [snapshot(entry) for entry in value] if isinstance(value, list | tuple) else value


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one.nan_to_num(7.5), other.nan_to_num(7.5)))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def gradient(model, window, divisor, state):
    """The gradient of nll / divisor, and the state, by plain torch."""
    logits, after = model(window.inputs, state)
    nll = F.cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORE, reduction="sum")
    gradients = torch.autograd.grad(nll / divisor, list(model.parameters()))
    return nll, torch.cat([entry.flatten() for entry in gradients]), after


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_goes_down_the_gradient_by_the_rate(make_training, cell):
    training = make_training(cell=cell, max_grad_norm=0)
    train, window = training.train, next(training.sampler.epoch(0))
    before = parameters(train.model)
    nll, expected, _ = gradient(train.model, window, 30.0, train.model.initial_state(4))
    record = train_step(train, window, training.update, lr=0.5, targets_per_window=30.0)
    torch.testing.assert_close(parameters(train.model), before - 0.5 * expected, rtol=1e-4, atol=1e-6)
    assert record.nll == pytest.approx(nll.item(), rel=1e-5)
    assert record.grad_norm == pytest.approx(expected.norm().item(), rel=1e-4)
    assert record.tokens == int((window.targets != IGNORE).sum())
    assert (record.step, record.epoch, record.lr) == (1, 0, 0.5)
    assert (train.step, train.index, train.tokens) == (1, 1, record.tokens)


def test_every_target_weighs_the_same_in_short_and_long_windows(make_training):
    long = Window(torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 5]]), torch.tensor([True]), 4)
    padded = long._replace(targets=torch.tensor([[2, IGNORE, IGNORE, IGNORE]]))
    short = Window(torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([True]), 1)
    moves = []
    for window in (padded, short):
        training = make_training(max_grad_norm=0)
        before = parameters(training.train.model)
        train_step(training.train, window, training.update, lr=1.0, targets_per_window=4.0)
        moves.append(parameters(training.train.model) - before)
    torch.testing.assert_close(moves[0], moves[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("max_grad_norm", [0.01, 0.1])
def test_gradient_clipping_bounds_the_norm(make_training, max_grad_norm):
    training = make_training(max_grad_norm=max_grad_norm)
    before = parameters(training.train.model)
    window = next(training.sampler.epoch(0, start=1))
    record = train_step(training.train, window, training.update, lr=1.0, targets_per_window=32.0)
    assert record.grad_norm > max_grad_norm  # the norm before clipping is told
    moved = parameters(training.train.model) - before
    assert moved.norm().item() == pytest.approx(max_grad_norm, rel=1e-3)


def test_a_gradient_below_the_bound_is_left_alone(make_training):
    moves = []
    for bound in (0, 1e6):
        training = make_training(max_grad_norm=bound)
        before = parameters(training.train.model)
        train_step(training.train, next(training.sampler.epoch(0)), training.update, lr=1.0, targets_per_window=32.0)
        moves.append(parameters(training.train.model) - before)
    assert moves[0].equal(moves[1])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("policy", ["carry", "reset"])
def test_training_with_carry_is_a_plain_loop_with_a_hand_carried_state(make_training, cell, policy):
    # in float64: from window to window a training multiplies rounding, by a factor that depends on cell and kernel
    training, plain = (make_training(cell=cell, num_layers=2, state=policy, lr=0.3) for _ in range(2))
    model = plain.train.model.double()
    training.train.model.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    state = model.initial_state(4)
    for window in training.sampler.epoch(0):
        record = train_step(training.train, window, training.update, lr=0.3, targets_per_window=32.0)
        if policy == "reset":
            state = model.initial_state(4)
        optimizer.zero_grad()
        logits, state = model(window.inputs, state)
        nll = F.cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORE, reduction="sum")
        (nll / 32).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.config.max_grad_norm)
        optimizer.step()
        state = tuple(tuple(tensor.detach() for tensor in layer) for layer in state)
        assert record.nll == pytest.approx(nll.item(), rel=1e-9)
    torch.testing.assert_close(parameters(training.train.model), parameters(model), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("accumulate", "options"),
    [
        (2, {"cell": "lstm", "max_grad_norm": 0.1}),
        (3, {"cell": "gru", "sampler": "document"}),  # uneven parts; rows begin anew inside an epoch
        (4, {"cell": "mlstm", "ar_alpha": 2.0, "tar_beta": 1.0, "num_layers": 2}),
    ],
    ids=str,
)
def test_gradients_of_parts_of_the_rows_add_up_to_those_of_the_batch(make_training, accumulate, options):
    found = []
    for parts in (1, accumulate):
        training = make_training(accumulate=parts, lr=0.3, epochs=1, **options)
        training.train.model.double()
        calls: list[int] = []
        training.update.loss.register_forward_pre_hook(lambda module, given, calls=calls: calls.append(len(given[0])))
        run = training.run()
        record = [next(run) for _ in range(5)][-1]
        assert calls == {1: [4], 2: [2, 2], 3: [2, 1, 1], 4: [1, 1, 1, 1]}[parts] * 5
        found.append((parameters(training.train.model), record, training.train.carried))
    (whole, one, carried), (added, other, continued) = found
    torch.testing.assert_close(added, whole, rtol=1e-10, atol=1e-12)
    assert (other.nll, other.grad_norm) == (pytest.approx(one.nll, rel=1e-10), pytest.approx(one.grad_norm, rel=1e-10))
    for layer, same_layer in zip(carried, continued, strict=True):
        for tensor, same_tensor in zip(layer, same_layer, strict=True):
            torch.testing.assert_close(same_tensor, tensor, rtol=1e-10, atol=1e-12)


def test_the_carried_state_has_no_graph_and_is_where_the_window_ended(make_training):
    training = make_training(lr=0.1)
    windows = list(training.sampler.epoch(0))
    _, _, expected = gradient(training.train.model, windows[0], 1.0, training.train.model.initial_state(4))
    train_step(training.train, windows[0], training.update, lr=0.1, targets_per_window=32.0)
    carried = training.train.carried
    assert carried is not None
    assert not any(tensor.requires_grad for layer in carried for tensor in layer)
    for layer, other in zip(carried, expected, strict=True):
        torch.testing.assert_close(layer, other)


def test_only_the_rows_that_are_reset_begin_anew(make_training):
    training = make_training()
    first, second = list(training.sampler.epoch(0))[1:3]
    train_step(training.train, first._replace(reset=torch.tensor([True] * 4)), training.update, lr=0.1,
               targets_per_window=32.0)  # fmt: skip
    carried = training.train.carried
    assert carried is not None
    reset = torch.tensor([True, False, False, True])
    start = tuple(tuple(tensor * ~reset[:, None] for tensor in layer) for layer in carried)
    nll, _, _ = gradient(training.train.model, second, 1.0, start)
    record = train_step(training.train, second._replace(reset=reset), training.update, lr=0.1, targets_per_window=32.0)
    assert record.nll == pytest.approx(nll.item(), rel=1e-5)


def break_the_loss(training):
    with torch.no_grad():
        training.train.model.head.bias[0] = float("nan")
    return 32.0


def break_the_gradient(training):
    return 1e-45  # the loss stays finite as a sum, its gradient does not


@pytest.mark.parametrize("break_it", [break_the_loss, break_the_gradient])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_that_is_not_finite_is_refused_and_changes_nothing(make_training, break_it, optimizer):
    training = make_training(optimizer=optimizer, lr=0.01)
    windows = list(training.sampler.epoch(0))
    for window in windows[:2]:
        train_step(training.train, window, training.update, lr=0.01, targets_per_window=32.0)
    divisor = break_it(training)
    before = snapshot(training.train.state_dict())
    with pytest.raises(NonFiniteError, match="3"):
        train_step(training.train, windows[2], training.update, lr=0.01, targets_per_window=divisor)
    assert same(snapshot(training.train.state_dict()), before)


def test_a_model_left_in_evaluation_mode_is_trained_with_dropout(make_training):
    records = []
    for mode in (True, False):
        training = make_training(dropout=0.5)
        training.train.model.train(mode)
        window = next(training.sampler.epoch(0, start=1))._replace(reset=torch.tensor([True] * 4))
        torch.manual_seed(4)
        records.append(train_step(training.train, window, training.update, lr=0.1, targets_per_window=32.0))
    assert records[0] == records[1]


def test_gradients_left_over_from_elsewhere_are_not_used(make_training):
    clean, dirty = make_training(), make_training()
    for parameter in dirty.train.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    window = next(clean.sampler.epoch(0))
    records = [train_step(t.train, window, t.update, lr=0.1, targets_per_window=32.0) for t in (clean, dirty)]
    assert records[0] == records[1]
    assert parameters(clean.train.model).equal(parameters(dirty.train.model))


def test_bfloat16_keeps_weights_and_loss_in_float32(make_training, needs_bfloat16):
    needs_bfloat16()
    exact, low = make_training(), make_training(precision=torch.bfloat16)
    for training in (exact, low):
        records = [
            train_step(training.train, window, training.update, lr=0.3, targets_per_window=32.0)
            for window in training.sampler.epoch(0)
        ]
        assert all(parameter.dtype == torch.float32 for parameter in training.train.model.parameters())
        assert dataclasses.astuple(records[-1]) != dataclasses.astuple(records[0])
    assert not parameters(low.train.model).equal(parameters(exact.train.model))
    torch.testing.assert_close(parameters(low.train.model), parameters(exact.train.model), rtol=0, atol=0.05)


def test_activation_penalties_are_in_the_gradient_and_not_in_the_reported_loss(make_training):
    training = make_training(ar_alpha=2.0, tar_beta=1.0, max_grad_norm=0)
    model = training.train.model
    tokens = torch.randint(11, (2, 8))
    window = Window(tokens[:, :-1], tokens[:, 1:], torch.tensor([True, True]), 7)
    outputs, _ = model.features(window.inputs, model.initial_state(2))
    nll, _ = model.nll_sum(window.inputs, window.targets, model.initial_state(2))
    loss = nll / 14 + 2 * outputs.pow(2).mean() + (outputs[:, 1:] - outputs[:, :-1]).pow(2).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    expected = parameters(model) - 0.5 * torch.cat([gradient.flatten() for gradient in gradients])
    record = train_step(training.train, window, training.update, lr=0.5, targets_per_window=14.0)
    assert record.nll == pytest.approx(nll.item(), rel=1e-6)
    torch.testing.assert_close(parameters(model), expected, rtol=1e-4, atol=1e-6)


def radii(training):
    """Spectral radii of the positive part of each recurrent matrix, after each of some steps at too large a rate."""
    for window in list(training.sampler.epoch(0))[:4]:
        train_step(training.train, window, training.update, lr=3.0, targets_per_window=32.0)
        for cell in training.train.model.cells:
            yield float(perron_bound(cell.weight_hh_l0.detach().clamp_min(0))[0])


@pytest.mark.parametrize("read_every", [1, 2])
def test_a_bounded_irnn_is_within_its_bound_after_each_update(make_training, read_every):
    options = {"cell": "irnn", "num_layers": 2, "optimizer": "adamw", "max_grad_norm": 0, "read_every": read_every}
    assert max(radii(make_training(**options))) <= RADIUS
    assert max(radii(make_training(**options, irnn_form="paper"))) > 2
