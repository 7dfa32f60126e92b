"""Contexts that are cut, against the whole text."""

import numpy as np
import pytest
import torch

from lmkit.errors import DataError
from lmkit.evaluation.perplexity import token_scores
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.inspection.memory.context import WAYS, Context, Surroundings, measure_context, stream_losses
from lmkit.inspection.stretches import positions
from lmkit.samplers import stream_windows
from tests.inspection.cells import OPTIONS, close

V, EOS = 11, 1
IDS = np.random.default_rng(0).integers(2, V, 40)


def plain_losses(model, ids):
    """What an evaluation gives each token."""
    scores = token_scores(NetworkPredictor(model), stream_windows(ids, eos_id=EOS, window=7))
    return -torch.cat([one.log_probs[0] for one in scores]).double().numpy()


@pytest.mark.parametrize("case", OPTIONS)
def test_with_all_of_the_text_the_loss_is_that_of_an_evaluation(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, **options).eval()
    wanted = plain_losses(model, IDS)
    close(stream_losses(model, IDS, EOS), wanted, 1e-4)
    found = measure_context(model, IDS, np.array([30]), eos_id=EOS, lengths=(2, 30))
    for way in ("fresh", "shuffled", "dropped"):  # all 30 tokens before it are left as they are
        close(getattr(found, way)[1], wanted[[30]], 1e-4)
    close(found.whole, wanted[[30]], 1e-4)


def test_a_network_that_sees_four_tokens_needs_no_more_in_any_way(random_model):
    model = random_model("transformer", V, context=4).double()
    places = positions(len(IDS), first=20, number=5)
    found = measure_context(model, IDS, places, eos_id=EOS, lengths=(1, 2, 3, 4, 10, 20))
    for way in WAYS:
        excess, error = found.excess(way)
        close(excess[3:], [0, 0, 0])
        close(error[3:], [0, 0, 0])
        assert (abs(excess[:3]) > 1e-5).all()
        close(getattr(found, way)[3:], np.broadcast_to(found.whole, (3, 5)))


def test_what_is_read_is_the_text_as_each_way_says():
    around = Surroundings.of(IDS, np.array([20, 33]), 12, seed=3)
    for row, place in enumerate((20, 33)):
        far, near = IDS[place - 12 : place - 5].tolist(), IDS[place - 5 : place].tolist()
        read = {way: around.read(way, 5, EOS)[row].tolist() for way in WAYS}
        assert all(tokens[0] == EOS and tokens[-5:] == near for tokens in read.values())
        before = {way: tokens[1:-5] for way, tokens in read.items()}
        assert before["fresh"] == []
        assert before["unrelated"] == [int(IDS[(place + 20 + step) % 40]) for step in range(12)]
        assert sorted(before["shuffled"]) == sorted(far) and before["shuffled"] != far
        rest = iter(far)
        assert len(before["dropped"]) == 3 and all(token in rest for token in before["dropped"])  # in their order


def test_the_same_seed_draws_the_same(random_model):
    model, places = random_model("gru", V), np.array([20, 25])
    one, other, third = (
        measure_context(model, IDS, places, eos_id=EOS, lengths=(1, 12), seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(one.shuffled, other.shuffled) and np.array_equal(one.dropped, other.dropped)
    assert not np.array_equal(one.shuffled, third.shuffled)


def test_the_effective_length_is_where_the_perplexity_stays_within_a_percent():
    whole = np.full(3, 2.0)
    excess = np.array([0.5, 0.005, 0.02, 0.009, 0.0])
    losses = whole + excess[:, None]
    found = Context((1, 2, 5, 10, 20), np.arange(3), whole, losses, losses, losses, losses)
    assert found.effective() == 10
    assert found.effective(tolerance=0.03) == 2
    assert found.effective(tolerance=-1e-3) is None
    assert found.to_dict()["effective"] == {"fresh": 10, "unrelated": 10}


def test_positions_have_what_is_read_before_and_after_them():
    assert positions(40, first=10, number=4, after=5).tolist() == [10, 18, 26, 35]
    assert positions(12, first=10, number=8).tolist() == [10, 11]
    with pytest.raises(DataError, match="at least 15"):
        positions(14, first=10, number=8, after=5)
