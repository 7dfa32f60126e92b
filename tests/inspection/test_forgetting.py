"""How fast different pasts become one."""

import numpy as np
import pytest
import torch

from lmkit.inspection.memory.context import stream_losses
from lmkit.inspection.memory.forgetting import Distance, measure_forgetting
from tests.inspection.cells import OPTIONS, close

V = 11


def test_in_a_linear_network_the_distance_is_what_the_powers_of_its_matrix_leave(random_model):
    model = random_model("rnn", V, nonlinearity="relu").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    pasts = torch.randint(V, (2, 3, 5))
    found = measure_forgetting(model, pasts[0], pasts[1], torch.randint(V, (3, 4)))
    states = [model.features(past, model.initial_state(3))[1][0][0] for past in pasts]
    matrix = model.cells[0].weight_hh_l0.T
    for step in range(4):
        expected = ((states[0] - states[1]) @ torch.linalg.matrix_power(matrix, step + 1)).norm(dim=1)
        close(found.distances[0].rows[:, step], expected)


@pytest.mark.parametrize("case", OPTIONS)
def test_equal_pasts_are_never_apart_and_losses_are_those_of_the_whole_texts(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, **options).double().eval()
    one, other, following = torch.randint(V, (2, 5)), torch.randint(V, (2, 7)), torch.randint(V, (2, 4))
    same = measure_forgetting(model, one, one, following)
    assert not any(distance.rows.any() for distance in same.distances)
    assert not same.losses.any()
    found = measure_forgetting(model, one, other, following)
    for row in range(2):
        texts = [np.concatenate([past[row].numpy(), following[row].numpy()]) for past in (one, other)]
        mine, theirs = (stream_losses(model, text[1:], int(text[0]))[-4:] for text in texts)
        close(found.losses[row], abs(mine - theirs), 1e-4 if name == "mlstm" else 1e-8)


def test_what_sees_four_tokens_has_forgotten_after_four(random_model):
    model = random_model("transformer", V, context=4).double()
    pasts = torch.randint(V, (2, 3, 6))
    found = measure_forgetting(model, pasts[0], pasts[1], torch.randint(V, (3, 8)))
    for distance in found.distances:
        assert (distance.rows[:, :3] > 1e-3).all() or distance.name == "output"
        close(distance.rows[:, 4:], np.zeros((3, 4)))
    close(found.losses[:, 5:], np.zeros((3, 3)))


def test_the_way_to_a_share_is_counted_in_tokens():
    distance = Distance("h", 0, np.array([[8.0, 4.0, 3.0, 0.8]]))
    assert [distance.tokens_to(share) for share in (1, 0.5, 0.1, 0.01)] == [1, 2, 4, None]
