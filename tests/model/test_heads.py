"""Output layers: exact probabilities behind one interface."""

import pytest
import torch
from torch.nn import functional as F

from lmkit.model.head import IGNORE, AdaptiveSoftmax, FullSoftmax

HIDDEN, VOCAB = 16, 20
CUTOFFS = (5, 11)


def full(tied=None):
    return FullSoftmax(HIDDEN, VOCAB, tied)


def adaptive(tied=None, order=None, cutoffs=CUTOFFS):
    return AdaptiveSoftmax(HIDDEN, VOCAB, cutoffs, tied, order)


def embedding(width=HIDDEN):
    return torch.nn.Parameter(torch.randn(VOCAB, width))


def mixed():
    return torch.randperm(VOCAB)


HEADS = {
    "full": full,
    "full, tied": lambda: full(embedding()),
    "full, tied, projected": lambda: full(embedding(7)),
    "adaptive": adaptive,
    "adaptive, one cluster": lambda: adaptive(cutoffs=(1,)),
    "adaptive, ordered": lambda: adaptive(order=mixed()),
    "adaptive, tied": lambda: adaptive(embedding()),
    "adaptive, tied, projected, ordered": lambda: adaptive(embedding(7), mixed()),
}


def spread(head):
    """The head with parameters so large that its predictions differ."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


@pytest.fixture(params=sorted(HEADS))
def head(request):
    torch.manual_seed(1)
    return spread(HEADS[request.param]())


def test_probabilities_sum_to_one(head):
    log_probs = head.log_probs(torch.randn(50, HIDDEN))
    assert log_probs.shape == (50, VOCAB)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.double().exp().sum(1), torch.ones(50, dtype=torch.float64), rtol=0, atol=2e-6)


def test_nll_is_the_gathered_log_probability(head):
    hidden, targets = torch.randn(100, HIDDEN), torch.arange(100) % VOCAB
    expected = -head.log_probs(hidden).gather(1, targets[:, None])[:, 0]
    nll = head.nll(hidden, targets)
    assert nll.shape == (100,)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head.nll_sum(hidden, targets), expected.sum(), rtol=1e-5, atol=1e-4)


def test_ignored_targets_cost_nothing(head):
    hidden, targets = torch.randn(12, HIDDEN, requires_grad=True), torch.arange(12)
    whole = head.nll(hidden, targets)
    targets[[0, 3, 11]] = IGNORE
    some = head.nll(hidden, targets)
    kept = targets != IGNORE
    torch.testing.assert_close(some[kept], whole[kept])
    assert some[~kept].tolist() == [0, 0, 0]
    (gradient,) = torch.autograd.grad(head.nll_sum(hidden, targets), hidden)
    assert not gradient[~kept].any()
    assert gradient[kept].abs().sum(1).all()


def test_all_targets_may_be_ignored(head):
    hidden = torch.randn(3, HIDDEN, requires_grad=True)
    targets = torch.full((3,), IGNORE)
    assert head.nll(hidden, targets).tolist() == [0, 0, 0]
    total = head.nll_sum(hidden, targets)
    assert total.item() == 0
    (gradient,) = torch.autograd.grad(total, hidden)
    assert not gradient.any()


def test_the_sums_gradients_are_those_of_the_parts(head):
    hidden, targets = torch.randn(30, HIDDEN, requires_grad=True), torch.arange(30) % VOCAB
    targets[4] = IGNORE
    inputs = [hidden, *head.parameters()]
    by_sum = torch.autograd.grad(head.nll_sum(hidden, targets), inputs)
    by_parts = torch.autograd.grad(head.nll(hidden, targets).sum(), inputs)
    log_probs = head.log_probs(hidden)
    gathered = F.nll_loss(log_probs, targets, ignore_index=IGNORE, reduction="sum")
    by_distribution = torch.autograd.grad(gathered, inputs)
    for one, two, three in zip(by_sum, by_parts, by_distribution, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-4)


def test_large_logits_do_not_overflow(head):
    hidden = 1e4 * torch.randn(20, HIDDEN)
    log_probs, nll = head.log_probs(hidden), head.nll(hidden, torch.arange(20))
    assert torch.isfinite(nll).all()
    assert (nll >= 0).all()
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(20), rtol=0, atol=1e-4)


def test_rows_do_not_depend_on_their_neighbours(head):
    hidden, targets = torch.randn(40, HIDDEN), torch.randint(VOCAB, (40,))
    together = head.nll(hidden, targets)
    alone = torch.cat([head.nll(hidden[i : i + 1], targets[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    order = torch.randperm(40)
    torch.testing.assert_close(head.nll(hidden[order], targets[order]), together[order], rtol=1e-5, atol=1e-5)


def test_a_full_softmax_is_a_linear_layer_and_cross_entropy():
    head = spread(full())
    hidden, targets = torch.randn(9, HIDDEN), torch.randint(VOCAB, (9,))
    expected = F.cross_entropy(F.linear(hidden, head.weight, head.bias), targets, reduction="none")
    torch.testing.assert_close(head.nll(hidden, targets), expected)


def test_a_tied_softmax_multiplies_by_the_embedding():
    weight = embedding()
    head = spread(full(weight))
    hidden = torch.randn(9, HIDDEN)
    expected = F.linear(hidden, weight, head.bias).log_softmax(1)
    torch.testing.assert_close(head.log_probs(hidden), expected)


@pytest.mark.parametrize("cutoffs", [(5, 11), (1,), (19,), (1, 2)])
def test_the_adaptive_softmax_is_torchs(cutoffs):
    ours = spread(adaptive(cutoffs=cutoffs))
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(HIDDEN, VOCAB, list(cutoffs), div_value=4.0, head_bias=True)
    first = cutoffs[0]
    with torch.no_grad():
        ours.bias[first:] = 0  # torch's clusters have no biases
        theirs.head.weight.copy_(torch.cat([ours.head_weight, ours.cluster_weight]))
        theirs.head.bias.copy_(torch.cat([ours.bias[:first], ours.cluster_bias]))
        for number, tail in enumerate(theirs.tail):
            tail.get_parameter("0.weight").copy_(ours.reductions[number].weight)
            tail.get_parameter("1.weight").copy_(ours.expansions[number])
    hidden, targets = torch.randn(60, HIDDEN), torch.arange(60) % VOCAB
    torch.testing.assert_close(ours.log_probs(hidden), theirs.log_prob(hidden), rtol=1e-5, atol=1e-5)
    expected = theirs(hidden, targets)
    torch.testing.assert_close(ours.nll(hidden, targets), -expected.output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.nll_sum(hidden, targets) / 60, expected.loss, rtol=1e-5, atol=1e-5)


def test_an_order_is_a_renaming_of_tokens():
    order = mixed()
    plain, ordered = spread(adaptive()), adaptive(order=order)
    ordered.load_state_dict({**plain.state_dict(), "order": order})
    hidden, ranks = torch.randn(40, HIDDEN), torch.arange(40) % VOCAB
    torch.testing.assert_close(ordered.log_probs(hidden)[:, order], plain.log_probs(hidden))
    torch.testing.assert_close(ordered.nll(hidden, order[ranks]), plain.nll(hidden, ranks))


def test_an_order_comes_back_with_the_weights():
    ordered, fresh = spread(adaptive(order=mixed())), adaptive()
    fresh.load_state_dict(ordered.state_dict())
    hidden, targets = torch.randn(40, HIDDEN), torch.arange(40) % VOCAB
    assert fresh.log_probs(hidden).equal(ordered.log_probs(hidden))
    assert fresh.nll(hidden, targets).equal(ordered.nll(hidden, targets))


def test_a_tied_order_takes_the_embeddings_rows_by_rank():
    weight, order = embedding(), mixed()
    ordered = spread(adaptive(weight, order))
    sorted_weight = torch.nn.Parameter(weight.detach()[order])
    plain = adaptive(sorted_weight)
    state = {key: value for key, value in ordered.state_dict().items() if key not in ("order", "rank", "tied")}
    plain.load_state_dict(state, strict=False)
    hidden = torch.randn(9, HIDDEN)
    torch.testing.assert_close(ordered.log_probs(hidden)[:, order], plain.log_probs(hidden))


def test_a_tied_adaptive_softmax_is_two_levels_over_the_embedding():
    weight = embedding()
    head = spread(adaptive(weight))
    hidden = torch.randn(9, HIDDEN)
    logits = F.linear(hidden, weight, head.bias)
    clusters = F.linear(hidden, head.cluster_weight, head.cluster_bias)
    top = torch.cat([logits[:, :5], clusters], 1).log_softmax(1)
    expected = torch.cat([
        top[:, :5],
        top[:, 5:6] + logits[:, 5:11].log_softmax(1),
        top[:, 6:7] + logits[:, 11:].log_softmax(1),
    ], 1)  # fmt: skip
    torch.testing.assert_close(head.log_probs(hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("targets", "used"), [([0, 4], set()), ([5, 10], {0}), ([11, 19], {1}), ([0, 7, 15], {0, 1})])
def test_gradients_flow_to_the_used_clusters_alone(targets, used):
    head = spread(adaptive())
    head.nll_sum(torch.randn(len(targets), HIDDEN), torch.tensor(targets)).backward()
    for number, (reduction, expansion) in enumerate(zip(head.reductions, head.expansions, strict=True)):
        for parameter in (reduction.weight, expansion):
            assert (parameter.grad is not None and bool(parameter.grad.any())) == (number in used)
    assert head.head_weight.grad.any()
    assert head.cluster_weight.grad.any()


def test_a_tied_clusters_rows_get_gradients_where_they_are_used():
    weight = embedding()
    head = adaptive(weight)
    head.nll_sum(torch.randn(1, HIDDEN), torch.tensor([7])).backward()
    assert weight.grad.abs().sum(1).bool().tolist() == [True] * 11 + [False] * 9


@pytest.mark.parametrize("make", [full, adaptive])
def test_training_a_head_finds_the_frequencies(make):
    head = make()
    odds = torch.linspace(1, 9, VOCAB).softmax(0).sqrt()
    odds /= odds.sum()
    targets = torch.multinomial(odds, 4000, replacement=True)
    hidden = torch.ones(4000, HIDDEN)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (head.nll_sum(hidden, targets) / 4000).backward()
        optimizer.step()
    found = head.log_probs(hidden[:1])[0].exp()
    counted = torch.bincount(targets, minlength=VOCAB) / 4000
    torch.testing.assert_close(found, counted, rtol=0, atol=0.005)
