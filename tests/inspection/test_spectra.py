"""Spectra are numpy's, gate by gate, and gradient norms those of the log."""

import numpy as np
import pytest

from lmkit.inspection.gradients.norms import gradient_norms
from lmkit.inspection.gradients.spectra import recurrent_spectra
from tests.inspection.cells import OPTIONS, close

V, H = 11, 8
ORDERS = {
    "rnn": ("preactivation",),
    "gru": ("reset", "update", "candidate"),
    "lstm": ("input", "forget", "candidate", "output"),
    "lstm, coupled": ("forget", "candidate", "output"),
}


@pytest.mark.parametrize("case", ORDERS)
@pytest.mark.parametrize("around", [{}, {"zoneout": 0.1}, {"block": "residual"}], ids=str)
def test_spectra_are_those_of_each_gates_rows(random_model, case, around):
    name, _, coupled = case.partition(", ")
    options = {**around, **({"input_gate": "coupled"} if coupled else {})}
    model = random_model(name, V, num_layers=2, **options)
    found = recurrent_spectra(model)
    matrices = [value for name, value in model.named_parameters() if name.endswith("weight_hh_l0")]
    assert [(one.layer, one.gate) for one in found] == [(layer, gate) for layer in (0, 1) for gate in ORDERS[case]]
    blocks = [block.detach().double().numpy() for matrix in matrices for block in matrix.split(H)]
    for one, block in zip(found, blocks, strict=True):
        close(one.singular_values, np.linalg.svd(block)[1])
        close(one.radius, abs(np.linalg.eigvals(block)).max())
        close(np.sort(abs(one.eigenvalues))[::-1], abs(one.eigenvalues))
        close(one.norm, np.linalg.norm(block, 2))


def test_heads_have_matrices_of_their_own(random_model):
    model = random_model("slstm", V, heads=2)
    found = recurrent_spectra(model)
    assert [(one.gate, one.head) for one in found] == [
        (gate, head) for gate in ("candidate", "input", "forget", "output") for head in (0, 1)
    ]
    matrix = model.cells[0].recurrent[2, 1].detach().double().numpy()
    close(found[5].radius, abs(np.linalg.eigvals(matrix)).max())


def test_a_matrix_that_is_not_square_has_singular_values_alone(random_model):
    one, *_ = recurrent_spectra(random_model("lstm", V, projection_size=4))
    assert (len(one.eigenvalues), len(one.singular_values)) == (0, 4)
    assert one.to_dict()["radius"] is None


@pytest.mark.parametrize("case", OPTIONS)
def test_of_every_cell_they_are_those_of_all_its_recurrent_matrices(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, **options)
    matrices = [cell.get_parameter(one) for cell in model.cells for one in cell.recurrent_matrices]
    squares = sum((one.singular_values**2).sum() for one in recurrent_spectra(model))
    close(squares, sum(float(matrix.detach().double().square().sum()) for matrix in matrices))


def test_gradient_norms_are_those_of_the_training_lines():
    records = [
        {"kind": "training", "step": 20, "grad_norm": 0.5},
        {"kind": "evaluation", "step": 20, "nats_per_token": 2.0},
        {"kind": "training", "step": 40, "grad_norm": 2.0},
        {"kind": "training", "step": 60, "grad_norm": None},  # not finite
        {"kind": "training", "step": 80, "grad_norm": 1.0},
    ]
    found = gradient_norms(records, 1.0)
    assert found.steps.tolist() == [20, 40, 60, 80]
    assert found.clipped == 0.5
    assert found.to_dict()["norms"] == [0.5, 2.0, None, 1.0]
    assert gradient_norms(records, 0.0).clipped == 0
    assert found.to_dict()["clipped_share_of_steps"] is None, "early versions did not count them"
    known = [{"kind": "training", "step": step, "clipped": clipped} for step, clipped in ((100, 5), (110, 4))]
    assert gradient_norms([*records, *known], 1.0).clipped_share == 9 / 30
    assert gradient_norms([], 1.0).clipped == 0
