"""Kneser-Ney: equal to the published equations written out in dictionaries, whatever the window, and sums to one."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.ngram.kneser_ney import FALLBACK, Discounts, estimate_discounts
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.evaluation.perplexity import evaluate, token_scores
from lmkit.samplers import IGNORE, DocumentSampler, SequentialSampler, stream_windows

EOS = 0
VOCAB = 7


def zipf_stream(length, vocab_size=VOCAB, seed=1):
    """Tokens that repeat themselves enough for counts of one to four in every order."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocab_size + 1) ** 2
    stream = [0]
    for draw in generator.random(length):
        shifted = np.roll(weights, stream[-1] + (stream[-2] if len(stream) > 1 else 0))
        stream.append(int(np.searchsorted(np.cumsum(shifted / shifted.sum()), draw)))
    return np.minimum(np.array(stream[1:]), vocab_size - 1).astype(np.uint16)


STREAM = zipf_stream(3000)


class Reference:
    """Chen & Goodman (1999): equations (25) and (26) as they stand there, lower orders after Kneser & Ney, a uniform
    distribution below the unigrams. Slow, and shares nothing with the code under test.
    """

    def __init__(self, ids, vocab_size, order):
        self.vocab_size = vocab_size
        stream = [EOS, *(int(token) for token in ids)]
        self.counts: list[dict[tuple[int, ...], int]] = []
        for size in range(1, order + 1):
            grams = [(tuple(stream[i : i + size]), stream[i - 1] if i else "beginning") for i in range(len(stream))]
            grams = [pair for pair in grams[: len(stream) - size + 1] if size > 1 or pair[1] != "beginning"]
            if size == order:
                self.counts.append(Counter(gram for gram, _ in grams))
            else:
                neighbours = defaultdict(set)
                for gram, left in grams:
                    neighbours[gram].add(left)
                self.counts.append({gram: len(lefts) for gram, lefts in neighbours.items()})
        self.discounts = [self.discounts_of(counts) for counts in self.counts]

    @staticmethod
    def discounts_of(counts):
        n = Counter(counts.values())
        try:
            y = n[1] / (n[1] + 2 * n[2])
            found = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        except ZeroDivisionError:
            return [0.5, 1.0, 1.5]
        return found if n[2] and n[3] and n[4] and min(found) > 0 else [0.5, 1.0, 1.5]

    def probability(self, context, word):
        counts, discounts = self.counts[len(context)], self.discounts[len(context)]
        shorter = self.probability(context[1:], word) if context else 1 / self.vocab_size
        after = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        total = sum(after.values())
        if total == 0:
            return shorter
        freed = sum(discounts[min(count, 3) - 1] for count in after.values())
        own = after[word] - discounts[min(after[word], 3) - 1] if word in after else 0.0
        return own / total + freed / total * shorter


def train(ids, order, vocab_size=VOCAB):
    return NgramModel.train(np.asarray(ids), vocab_size=vocab_size, order=order, eos_id=EOS)


def scores_of(predictor, windows):
    return torch.cat([part.log_probs[part.targets != IGNORE] for part in token_scores(predictor, windows)])


def expected_scores(ids, order, reference):
    stream = [EOS, *(int(token) for token in ids)]
    places = range(1, len(stream))
    return [math.log(reference.probability(tuple(stream[max(0, i - order + 1) : i]), stream[i])) for i in places]


@pytest.mark.parametrize("order", range(1, 7))
def test_scores_are_those_of_the_equations(order):
    stream, text = zipf_stream(6000, 30), zipf_stream(60, 30, seed=2)
    reference = Reference(stream, 30, order)
    assert [0.5, 1.0, 1.5] not in reference.discounts[1:], "the stream must try discounts that are estimated"
    found = scores_of(train(stream, order, 30), stream_windows(text, eos_id=EOS, window=60))
    assert found.tolist() == pytest.approx(expected_scores(text, order, reference), rel=1e-9)


@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    text=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    order=st.integers(1, 6),
)
def test_any_small_stream_is_scored_as_the_equations_say(ids, text, order):
    found = scores_of(train(ids, order, 5), stream_windows(np.array(text), eos_id=EOS, window=5))
    assert found.tolist() == pytest.approx(expected_scores(text, order, Reference(ids, 5, order)), rel=1e-6)


@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    context=st.lists(st.integers(0, 4), max_size=7),
    order=st.integers(1, 6),
)
def test_distribution_is_that_of_the_equations(ids, context, order):
    reference = Reference(ids, 5, order)
    model = train(ids, order, 5)
    tokens = torch.tensor([[EOS, *context]])
    found, _ = model.distribution(tokens, model.initial_state(1))
    history = tuple(tokens[0].tolist())[max(0, len(context) + 2 - order) :] if order > 1 else ()
    expected = [reference.probability(history, word) for word in range(5)]
    assert found[0, -1].exp().tolist() == pytest.approx(expected, rel=1e-6)
    assert sum(expected) == pytest.approx(1)


def test_a_worked_example():
    """<eos> a b a, order 2. Every discount is the fallback. Left neighbours: a has <eos> and b, b has a.

    p(a) = (2 - 1) / 3 + 1.5/3 * 1/3 = 1/2, p(b) = (1 - 0.5) / 3 + 1/6 = 1/3, p(<eos>) = 1/6.
    p(b | a) = (1 - 0.5) / 1 + 0.5 * 1/3 = 2/3.
    """
    model = train([1, 2, 1], 2, 3)
    no_context, after_a = np.exp(
        [[model.log_probs(np.array([[context]]), np.array([word]))[0] for word in range(3)] for context in (-1, 1)]
    )
    assert no_context == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert after_a == pytest.approx([0.5 / 6, 0.5 / 2, 2 / 3])


def test_order_1_by_hand():
    """Counts 1, 2, 3, 4 give Y = 1/3, D = 1/3, 1, 5/3; 14/3 of 10 go to the uniform distribution over five tokens."""
    ids = [1] + [2] * 2 + [3] * 3 + [4] * 4
    uniform = (1 / 3 + 1 + 5 / 3 + 5 / 3) / 10 / 5
    probabilities = [uniform, 1 / 15 + uniform, 1 / 10 + uniform, 4 / 30 + uniform, 7 / 30 + uniform]
    assert sum(probabilities) == pytest.approx(1)
    expected = math.exp(-sum(math.log(probabilities[token]) for token in ids) / 10)
    found = evaluate(train(ids, 1, 5), stream_windows(np.array(ids), eos_id=EOS, window=4))
    assert found.perplexity == pytest.approx(expected, rel=1e-12)


def test_discounts_by_hand():
    counts = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 9])  # n1..n4 = 4, 2, 1, 1: Y = 1/2
    assert estimate_discounts(counts) == pytest.approx(Discounts(1 / 2, 2 - 3 / 4, 3 - 2))


@pytest.mark.parametrize(
    "counts",
    [[], [5, 9], [1, 1, 2, 3], [2, 3, 4], [1, 1, 2, 3, 4, 4, 4, 4]],
    ids=["no counts", "only large", "no four", "no one", "a discount below zero"],
)
def test_discounts_that_do_not_exist_are_the_fallback(counts):
    assert estimate_discounts(np.array(counts, dtype=np.int64)) == FALLBACK


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_any_window_gives_the_same_number(order):
    model = train(STREAM, order)
    text = zipf_stream(700, seed=3)
    expected = scores_of(model, stream_windows(text, eos_id=EOS, window=700))
    assert len(expected) == 700
    for window in (1, 5, 35, 1000):
        assert scores_of(model, stream_windows(text, eos_id=EOS, window=window)).equal(expected)
    for epoch in range(3):
        moved = SequentialSampler(text, eos_id=EOS, batch_size=1, window=20).epoch(epoch)
        assert scores_of(model, moved).equal(expected)


@pytest.mark.parametrize("rows", [2, 7, 64])
def test_rows_with_a_warmup_of_the_context_are_the_one_stream(rows):
    text = zipf_stream(700, seed=3)
    model = train(STREAM, 4)
    expected = evaluate(model, stream_windows(text, eos_id=EOS, window=50))
    found = evaluate(model, stream_windows(text, eos_id=EOS, window=50, rows=rows, warmup=3))
    assert found.tokens == expected.tokens
    assert found.nll == pytest.approx(expected.nll, rel=1e-12)


def test_a_document_is_scored_by_itself():
    text, starts = zipf_stream(90, seed=4), np.array([0, 31, 55])
    text[[30, 54]] = EOS  # as each document of several is closed
    model = train(STREAM, 5)
    sampler = DocumentSampler(text, eos_id=EOS, batch_size=2, window=8, documents=starts, shuffled=False)
    bounds = pairwise([*starts.tolist(), 90])
    alone = [evaluate(model, stream_windows(text[begin:end], eos_id=EOS, window=90)) for begin, end in bounds]
    assert evaluate(model, sampler.epoch(0)).nll == pytest.approx(sum(part.nll for part in alone), rel=1e-12)


@pytest.mark.parametrize("order", range(1, 7))
def test_probabilities_sum_to_one_and_are_positive(order):
    model = train(STREAM, order, VOCAB + 3)  # three tokens that never occur
    tokens = torch.randint(VOCAB + 3, (4, 50))
    log_probs, _ = model.distribution(tokens, torch.randint(-1, VOCAB, (4, order - 1)))
    assert log_probs.shape == (4, 50, VOCAB + 3)
    assert log_probs.dtype == torch.float64
    assert log_probs.isfinite().all()
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(4, 50).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", range(1, 7))
def test_score_is_the_gathered_distribution(order):
    model = train(STREAM, order)
    tokens, targets = torch.randint(VOCAB, (2, 3, 9))
    targets[0, 2] = targets[2] = IGNORE
    log_probs, after_score = model.score(tokens, targets, model.initial_state(3))
    distribution, after_distribution = model.distribution(tokens, model.initial_state(3))
    assert log_probs.dtype == torch.float64
    known = targets != IGNORE
    gathered = distribution.gather(2, targets.clamp_min(0)[..., None])[..., 0]
    torch.testing.assert_close(log_probs[known], gathered[known], rtol=1e-13, atol=0)
    assert not log_probs[~known].any()
    assert after_score.equal(after_distribution)
    assert after_score.equal(tokens[:, 9 - (order - 1) :])


@pytest.mark.parametrize("order", [1, 3, 6])
def test_contexts_and_targets_alone_score_like_the_stream(order):
    model = train(STREAM, order)
    text = zipf_stream(80, seed=5).astype(np.int64)
    padded = np.concatenate([[-1] * 9, [EOS], text])
    contexts = np.lib.stride_tricks.sliding_window_view(padded, 10)[:-1]
    expected = scores_of(model, stream_windows(text, eos_id=EOS, window=80)).numpy()
    np.testing.assert_array_equal(model.log_probs(contexts, text), expected)
    np.testing.assert_array_equal(model.log_probs(contexts[:, 10 - (order - 1) :], text), expected)


def test_the_state_is_the_last_tokens():
    model = train(STREAM, 4)
    state = model.initial_state(2)
    assert state.tolist() == [[-1, -1, -1]] * 2
    _, state = model.score(torch.tensor([[0, 5], [0, 6]]), torch.tensor([[5, 1], [6, 1]]), state)
    assert state.tolist() == [[-1, 0, 5], [-1, 0, 6]]
    assert model.reset(state, torch.tensor([False, True])).tolist() == [[-1, 0, 5], [-1, -1, -1]]
    assert state.tolist() == [[-1, 0, 5], [-1, 0, 6]], "a state is a value"


def test_scores_do_not_depend_on_the_other_rows():
    model = train(STREAM, 5)
    tokens, targets = torch.randint(VOCAB, (2, 6, 7))
    together, _ = model.score(tokens, targets, model.initial_state(6))
    for row in range(6):
        alone, _ = model.score(tokens[row, None], targets[row, None], model.initial_state(1))
        assert alone[0].equal(together[row])


def test_a_higher_order_predicts_the_training_text_better():
    windows = [stream_windows(STREAM, eos_id=EOS, window=300) for _ in range(6)]
    found = [evaluate(train(STREAM, order), part).perplexity for order, part in enumerate(windows, 1)]
    assert found == sorted(found, reverse=True)
    assert train(STREAM, 3).num_ngrams == tuple(
        len(set(zip(*([0, *STREAM.tolist()][i:] for i in range(size)), strict=False))) for size in (1, 2, 3)
    )


@pytest.mark.parametrize("order", [1, 5])
def test_one_token_is_enough(order):
    model = train([3], order)
    log_probs, _ = model.distribution(torch.tensor([[EOS, 3, 3, 6]]), model.initial_state(1))
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(1, 4).double())
    assert log_probs[0, 0].argmax() == 3


def test_a_vocabulary_of_one_token_is_certain():
    model = train([0, 0, 0], 3, 1)
    assert evaluate(model, stream_windows(np.zeros(9, dtype=np.int64), eos_id=0, window=4)).perplexity == 1


def test_no_tokens_are_refused():
    with pytest.raises(DataError, match="empty"):
        train(np.array([], dtype=np.uint8), 3)


@pytest.mark.parametrize("order", [0, 7, -1])
def test_other_orders_are_refused(order):
    with pytest.raises(ConfigError, match=f"from 1 to 6, not {order}"):
        train([1, 2], order)


def test_tokens_of_another_vocabulary_are_refused():
    with pytest.raises(ConfigError, match="outside the vocabulary of 7"):
        train([1, 7], 2)
    model = train(STREAM, 2)
    good, bad = torch.tensor([[1]]), torch.tensor([[7]])
    for tokens, targets in ((good, bad), (bad, good), (-good, good)):
        with pytest.raises(ConfigError, match="vocabulary of 7 tokens"):
            model.score(tokens, targets, model.initial_state(1))
