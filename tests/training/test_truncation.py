"""What each style of truncation does to the gradient: summed over a row with the weights held still."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lmkit.model import state as states
from lmkit.model.marks import Marks
from lmkit.samplers import IGNORE
from lmkit.samplers.borders import random_cuts
from lmkit.training.step import train_step

STREAM = np.random.default_rng(3).integers(0, 7, 26).astype(np.uint8)  # two rows of 13 steps
OPTIONS: dict[str, Any] = {"stream": STREAM, "hidden_size": 4, "batch_size": 2, "max_grad_norm": 0, "window": 3}
CUT, CHUNK = 0.3, 3
# states of one tensor and of several, with counts, with inputs, with what attention looks back at
NETWORKS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn", "num_layers": 2},
    "lstm": {"cell": "lstm", "initial_state": "learned"},
    "mingru, residual": {"cell": "mingru", "block": "residual"},
    "qrnn": {"cell": "qrnn"},
    "mlstm": {"cell": "mlstm", "heads": 2},
    "gru with attention": {"cell": "gru", "attention": 5},
    "transformer": {"cell": "transformer", "context": 6, "heads": 2},
}


@pytest.fixture(params=sorted(NETWORKS))
def network(request) -> dict[str, Any]:
    return NETWORKS[request.param]


@pytest.fixture
def training(make_training, network):
    """Makes a training in float64 with weights that are large enough for a long memory."""

    def make(**options: Any) -> Any:
        made = make_training(**OPTIONS, **network, **options)
        made.train.model.double()
        with torch.no_grad():
            for parameter in made.train.model.parameters():
                parameter.normal_(std=0.7, generator=torch.Generator().manual_seed(parameter.numel()))
        return made

    return make


def steps(training) -> Iterator[Tensor]:
    """The gradient of each step of an epoch, at a rate of zero."""
    for window in training.sampler.epoch(0):
        train_step(training.train, window, training.update, lr=0.0, targets_per_window=1.0)
        found = [(one, one.grad) for one in training.train.model.parameters()]
        yield torch.cat([(torch.zeros_like(one) if grad is None else grad).flatten() for one, grad in found])


def whole_gradient(training) -> Tensor:
    """Of the nll of both rows, from their beginning to their end, by plain torch."""
    model, eos = training.train.model, int(STREAM.max()) + 1
    rows = torch.from_numpy(STREAM.astype(np.int64)).view(2, 13)
    first = torch.tensor([[eos], [rows[0, -1]]])
    nll, _ = model.nll_sum(torch.cat([first, rows[:, :-1]], 1), rows, model.initial_state(2))
    return torch.cat([one.flatten() for one in torch.autograd.grad(nll, list(model.parameters()))])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_the_mean_gradient_of_artbp_over_all_patterns_of_cuts_is_that_of_whole_rows(training, monkeypatch):
    made = training(truncation="artbp", artbp_cut=CUT, artbp_chunk=CHUNK)
    whole = whole_gradient(made)
    num_borders = made.sampler._borders(0).num_borders
    assert num_borders == 4
    mean, probabilities, farthest = torch.zeros_like(whole), 0.0, 0.0
    for pattern in itertools.product((False, True), repeat=num_borders):
        cuts = np.flatnonzero(pattern)
        monkeypatch.setattr(random_cuts, "drawn_cuts", lambda *key, cuts=cuts: cuts)
        found = list(steps(made))
        made.train.carried = None
        assert len(found) == 1 + len(cuts)
        probability = CUT ** len(cuts) * (1 - CUT) ** (num_borders - len(cuts))
        mean, probabilities = mean + probability * sum(found), probabilities + probability
        farthest = max(farthest, distance(torch.stack(found).sum(0), whole))
    assert probabilities == pytest.approx(1, rel=1e-12)
    assert distance(mean, whole) < 1e-12
    assert farthest > 1e-3, "each pattern alone is far from it"


@pytest.mark.parametrize(
    ("options", "is_whole"),
    [
        ({"truncation": "none"}, True),
        ({"truncation": "k1k2", "k1": 2, "k2": 13}, True),
        ({"truncation": "k1k2", "k1": 3, "k2": 100, "accumulate": 2}, True),
        ({"truncation": "k1k2", "k1": 2, "k2": 6}, False),
        ({"truncation": "fixed"}, False),
        ({"truncation": "random"}, False),
    ],
    ids=str,
)
def test_the_gradients_of_an_epoch_add_up_to_that_of_whole_rows_only_where_nothing_is_cut(training, options, is_whole):
    made = training(**options)
    whole = whole_gradient(made)
    found = distance(torch.stack(list(steps(made))).sum(0), whole)
    assert found < 1e-12 if is_whole else found > 1e-4


def test_a_longer_reach_of_k1k2_comes_closer_to_the_whole(make_training):
    found = []
    for k2 in (2, 4, 8):
        made = make_training(**OPTIONS, cell="gru", truncation="k1k2", k1=2, k2=k2)
        made.train.model.double()
        found.append(distance(torch.stack(list(steps(made))).sum(0), whole_gradient(made)))
    assert found[0] > 2 * found[1] > 4 * found[2]


def test_the_state_of_k1k2_goes_on_from_inside_the_window(training):
    made = training(truncation="k1k2", k1=2, k2=5)
    model, rows = made.train.model, torch.from_numpy(STREAM.astype(np.int64)).view(2, 13)
    inputs = torch.cat([torch.tensor([[int(STREAM.max()) + 1], [rows[0, -1]]]), rows[:, :-1]], 1)
    read = 0
    for window in made.sampler.epoch(0):
        assert window.inputs.equal(inputs[:, read : read + window.inputs.shape[1]])
        train_step(made.train, window, made.update, lr=0.0, targets_per_window=1.0)
        read += window.advance
        if read:
            _, expected = model.outputs(inputs[:, :read], model.initial_state(2))
            for layer, other in zip(made.train.carried, expected, strict=True):
                for tensor, same in zip(layer, other, strict=True):
                    torch.testing.assert_close(tensor, same.detach(), rtol=1e-9, atol=1e-12)
    assert read == 13


def test_a_window_in_pieces_is_the_window_in_one(training):
    model = training().train.model.eval()
    tokens, state = torch.randint(7, (2, 9)), model.initial_state(2)
    whole, end = model.outputs(tokens, state)
    outputs, after = model.outputs_in_pieces(tokens, state, [1, 5, 3], 4.0)
    torch.testing.assert_close(outputs, whole, rtol=1e-9, atol=1e-12)
    assert len(after) == 3
    for layer, other in zip(after[-1], end, strict=True):
        for tensor, same in zip(layer, other, strict=True):
            torch.testing.assert_close(tensor, same, rtol=1e-9, atol=1e-12)


def test_a_scaled_gradient_leaves_values_and_counts_as_they_are():
    values, count = torch.randn(3, requires_grad=True), torch.tensor([4])
    scaled, same = states.scale_gradient((values, count), 2.5)
    assert scaled.equal(values) and same is count
    (scaled * torch.arange(3.0)).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [0.0, 2.5, 5.0]


def test_targets_that_are_not_counted_change_neither_loss_nor_penalty(training):
    made = training(ar_alpha=2.0, tar_beta=1.0)
    loss, tokens = made.update.loss, torch.randint(7, (2, 9))
    targets = torch.randint(7, (2, 9))
    targets[:, :4] = IGNORE
    state = made.train.model.initial_state(2)
    found = [loss(tokens, targets, state, marks) for marks in (Marks(), Marks(context=4, advance=3))]
    for one, other in zip(found[0][:3], found[1][:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert int(found[1].num_targets) == 10


def test_weights_are_dropped_once_for_all_pieces_of_a_window(make_training):
    model = make_training(**OPTIONS, cell="rnn", weight_drop=0.5).train.model.double()
    tokens = torch.randint(7, (2, 9))
    found = []
    for pieces in ([9], [2, 3, 4]):
        torch.manual_seed(1)
        found.append(model.outputs_in_pieces(tokens, model.initial_state(2), pieces)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"block": "residual"}, {"cell": "transformer", "context": 16}, {"attention": 16}], ids=str
)
def test_a_locked_mask_of_a_branch_is_the_same_in_all_pieces_of_a_window(make_training, options):
    given = {**OPTIONS, "num_layers": 2, "dropout": 0.5, "locked_dropout": True, **options}
    model = make_training(**given).train.model.double()
    tokens = torch.randint(7, (2, 9))
    found = []
    for pieces in ([9], [2, 3, 4], [9]):
        torch.manual_seed(1)
        found.append(model.outputs_in_pieces(tokens, model.initial_state(2), pieces)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert found[0].equal(found[2])  # the next window has masks of its own


def test_marks_name_the_pieces_and_the_state_that_goes_on():
    before, *after = ((torch.tensor([number]),) for number in range(4))
    for marks, pieces, handed_on in (
        (Marks(), [7], 1),
        (Marks(advance=7), [7], 1),
        (Marks(advance=0), [7], 0),
        (Marks(advance=3), [3, 4], 1),
        (Marks(borders=(2, 5), advance=7), [2, 3, 2], 3),
    ):
        assert marks.pieces(7) == pieces
        ((found,),) = marks.handed_on((before,), [(one,) for one in after[: len(pieces)]], 7)
        assert int(found) == handed_on


def test_the_divisor_of_artbp_does_not_hang_on_the_cuts(make_training, monkeypatch):
    found = []
    for cuts in ([], [0, 2]):
        monkeypatch.setattr(random_cuts, "drawn_cuts", lambda *key, cuts=cuts: np.array(cuts, int))
        made = make_training(**OPTIONS, truncation="artbp", artbp_cut=CUT, artbp_chunk=CHUNK)
        found.append(made.sampler.targets_per_window(0))
        assert made.sampler.num_windows(0) == 1 + len(cuts)
    assert found[0] == found[1] == pytest.approx(26 / (1 + 4 * CUT))


@pytest.mark.parametrize(
    "options", [{"truncation": "k1k2", "k1": 2}, {"truncation": "artbp"}, {"truncation": "none"}], ids=str
)
def test_each_target_is_recorded_once_an_epoch_with_the_loss_that_it_has(make_training, options):
    same = {**OPTIONS, "lr": 1e-300, "epochs": 1}
    expected, found = list(make_training(**same).run()), list(make_training(**same, **options).run())
    assert sum(record.tokens for record in found) == len(STREAM)
    assert sum(record.nll for record in found) == pytest.approx(sum(record.nll for record in expected), rel=1e-5)
