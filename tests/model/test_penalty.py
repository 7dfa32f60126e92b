"""AR and TAR: the published means beside the mean nll, over targets alone, each of the same weight."""

import pytest
import torch

from lmkit.model.dropout import dropout
from lmkit.model.language_model import SequenceLoss
from lmkit.model.penalty import ActivationPenalty
from lmkit.samplers import IGNORE

BOTH = ActivationPenalty(alpha=2.0, beta=1.0)
T, B, D = 7, 3, 5


def published(outputs, dropped):
    """The two terms as the authors' code has them, on the mean nll of a token."""
    return 2.0 * dropped.pow(2).mean() + 1.0 * (outputs[1:] - outputs[:-1]).pow(2).mean()


@pytest.fixture
def vectors():
    """Outputs of a layer, and the same after dropout."""
    outputs = torch.randn(T, B, D, dtype=torch.float64)
    return outputs, outputs * torch.randint(3, outputs.shape)


def test_a_whole_window_has_the_published_penalty_for_each_of_its_targets(vectors):
    outputs, dropped = vectors
    found = BOTH(outputs, dropped, torch.zeros(T, B, dtype=torch.long))
    assert found.item() == pytest.approx(T * B * published(outputs, dropped).item(), rel=1e-12)


def test_rows_add_up_however_long_they_are(vectors):
    outputs, dropped = vectors
    lengths = (T, 4, 0)
    targets = torch.where(torch.arange(T)[:, None] < torch.tensor(lengths), 1, IGNORE)
    expected = sum(
        steps * published(outputs[:steps, row], dropped[:steps, row]) for row, steps in enumerate(lengths) if steps
    )
    assert BOTH(outputs, dropped, targets).item() == pytest.approx(expected.item(), rel=1e-12)


def test_steps_without_a_target_have_no_part_in_it(vectors):
    outputs, dropped = (values.requires_grad_() for values in vectors)
    targets = torch.zeros(T, B, dtype=torch.long)
    targets[4:, 1] = IGNORE
    BOTH(outputs, dropped, targets).backward()
    for values in (outputs, dropped):
        assert values.grad[:4, 1].any()
        assert not values.grad[4:, 1].any()


def test_a_single_step_has_no_temporal_penalty_and_nothing_has_none(vectors):
    outputs, dropped = vectors
    alone = BOTH(outputs[:1], dropped[:1], torch.zeros(1, B, dtype=torch.long))
    assert alone.item() == pytest.approx(2 * dropped[:1].pow(2).mean(2).sum().item(), rel=1e-12)
    assert BOTH(outputs, dropped, torch.full((T, B), IGNORE)) == 0
    assert ActivationPenalty()(outputs, dropped, torch.zeros(T, B, dtype=torch.long)) == 0


@pytest.mark.parametrize("locked", [False, True])
def test_ar_sees_outputs_after_dropout_and_tar_before_it(make_model, locked):
    model = make_model(num_layers=2, output_dropout=0.5, locked_dropout=locked).train()
    tokens, targets = torch.randint(12, (2, B, T))
    torch.manual_seed(8)
    loss = SequenceLoss(model, BOTH)(tokens, targets, model.initial_state(B))
    torch.manual_seed(8)
    outputs, _ = model.recurrent(model.embedding(tokens.t()), model.initial_state(B))
    dropped = dropout(outputs, 0.5, training=True, locked=locked)
    assert loss.penalty.item() == pytest.approx(B * T * published(outputs, dropped).item(), rel=1e-5)
    torch.manual_seed(8)
    assert SequenceLoss(model)(tokens, targets, model.initial_state(B)).nll.equal(loss.nll), "what is reported is nll"


def test_under_autocast_it_is_computed_in_float32(vectors):
    outputs, dropped = (values.bfloat16() for values in vectors)
    targets = torch.zeros(T, B, dtype=torch.long)
    found = BOTH(outputs, dropped, targets)
    assert found.dtype == torch.float32
    assert found.equal(BOTH(outputs.float(), dropped.float(), targets))
