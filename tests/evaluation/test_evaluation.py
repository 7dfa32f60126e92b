"""Evaluation: sums and counts, and every unit made from them."""

import math

import pytest
import torch

from lmkit.evaluation.perplexity import Evaluation, evaluate, token_scores
from lmkit.samplers import IGNORE, Window, stream_windows

EOS, UNK = 0, 2
# odds of the next of three symbols after each symbol, at the first token of a state and at all later ones
FIRST = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
LATER = torch.tensor([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75], [0.5, 0.4, 0.1]])


class ThreeSymbols:
    """A hand-made predictor that knows whether it is at its beginning: the state counts the tokens read."""

    tolerance = 1e-4

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, dtype=torch.long)

    def reset(self, state, rows):
        return state.masked_fill(rows, 0)

    def gather(self, rows):
        return torch.stack([state[row] for state, row in rows])

    def score(self, tokens, targets, state):
        log_probs, state = self.distribution(tokens, state)
        known = targets != IGNORE
        return log_probs.gather(2, (targets * known)[..., None])[..., 0] * known, state

    def distribution(self, tokens, state):
        places = state[:, None] + torch.arange(tokens.shape[1])
        odds = torch.where((places == 0)[..., None], FIRST[tokens], LATER[tokens])
        return odds.log(), state + tokens.shape[1]


class Certain(ThreeSymbols):
    """Gives every target the log-probability that the target itself is the negative of."""

    def score(self, tokens, targets, state):
        return -(targets * (targets != IGNORE)).float(), state


def windows_of(ids, **options):
    return stream_windows(torch.tensor(ids).numpy(), eos_id=EOS, **{"window": 3, **options})


def test_perplexity_of_a_hand_made_three_symbol_model():
    # <eos> -> 0, 0 -> 1, 1 -> 2, 2 -> 0, 0 -> 0: the first from FIRST, the others from LATER
    probability = 0.5 * 0.5 * 0.75 * 0.5 * 0.25
    for window in (1, 2, 3, 5, 100):
        found = evaluate(ThreeSymbols(), windows_of([0, 1, 2, 0, 0], window=window))
        assert found.tokens == 5
        assert found.nll == pytest.approx(-math.log(probability), rel=1e-6)
        assert found.perplexity == pytest.approx(probability ** (-1 / 5), rel=1e-6)
        assert found.bits_per_token == pytest.approx(-math.log2(probability) / 5, rel=1e-6)


def test_each_window_begins_anew_under_reset():
    found = evaluate(ThreeSymbols(), windows_of([0, 1, 2, 0, 0], window=2, state="reset"))
    assert found.nll == pytest.approx(-math.log((0.5 * 0.5) * (0.6 * 0.5) * 0.5), rel=1e-6)


def test_first_and_last_token_are_scored():
    scores = list(token_scores(ThreeSymbols(), windows_of([1, 1, 1, 2])))
    log_probs = torch.cat([window.log_probs[0] for window in scores])
    assert torch.cat([window.targets[0] for window in scores]).tolist() == [1, 1, 1, 2]
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.25, 0.125, 0.125, 0.75]))


def test_a_text_of_one_token_has_a_perplexity():
    assert evaluate(ThreeSymbols(), windows_of([0])).perplexity == pytest.approx(2, rel=1e-6)


def test_the_token_scores_sum_to_the_evaluation():
    options = {"window": 3, "rows": 3, "warmup": 2}
    scores = list(token_scores(ThreeSymbols(), windows_of([0, 1, 2, 0, 0, 1, 2, 2, 2, 1], **options)))
    found = evaluate(ThreeSymbols(), windows_of([0, 1, 2, 0, 0, 1, 2, 2, 2, 1], **options))
    assert sum(int((window.targets != IGNORE).sum()) for window in scores) == found.tokens == 10
    assert sum(float(window.log_probs.sum()) for window in scores) == pytest.approx(-found.nll, rel=1e-6)
    assert not any(window.log_probs[window.targets == IGNORE].any() for window in scores)


def test_unknown_tokens_are_counted_and_can_be_left_out():
    found = evaluate(ThreeSymbols(), windows_of([0, 1, UNK, 0, 0]), UNK)
    assert (found.tokens, found.oov) == (5, 1)
    assert found.oov_rate == 0.2
    assert found.oov_nll == pytest.approx(-math.log(0.75), rel=1e-6)
    assert found.perplexity_excluding_oov == pytest.approx((0.5 * 0.5 * 0.5 * 0.25) ** (-1 / 4), rel=1e-6)
    assert found.perplexity == pytest.approx((0.5 * 0.5 * 0.75 * 0.5 * 0.25) ** (-1 / 5), rel=1e-6)


def test_without_an_unknown_id_nothing_is_unknown():
    found = evaluate(ThreeSymbols(), windows_of([0, 1, UNK]))
    assert (found.oov, found.oov_nll) == (0, 0)
    assert found.perplexity_excluding_oov == found.perplexity


def test_warmup_tokens_are_not_counted_among_the_unknown():
    found = evaluate(ThreeSymbols(), windows_of([UNK] * 12, rows=3, warmup=4), UNK)
    assert (found.tokens, found.oov) == (12, 12)


def test_sums_are_made_in_float64():
    # a large value and many small ones, which float32 would lose
    large = Window(torch.zeros(1, 1).long(), torch.full((1, 1), 2**25), torch.tensor([True]), 1)
    small = Window(torch.zeros(1, 1).long(), torch.ones(1, 1).long(), torch.tensor([False]), 1)
    assert evaluate(Certain(), [large] + [small] * 1000).nll == 2**25 + 1000
    wide = Window(torch.zeros(1, 1001).long(), torch.tensor([[2**25] + [1] * 1000]), torch.tensor([True]), 1001)
    assert evaluate(Certain(), [wide]).nll == 2**25 + 1000


ONE = Evaluation(nll=8.5, tokens=4, oov_nll=2.5, oov=1, words=2, line_ends=1, chars=10, bytes=12)
OTHER = Evaluation(nll=3.25, tokens=6, oov_nll=0.5, oov=2, words=3, line_ends=0, chars=20, bytes=21)


def test_evaluations_add():
    assert Evaluation(nll=11.75, tokens=10, oov_nll=3.0, oov=3, words=5, line_ends=1, chars=30, bytes=33) == ONE + OTHER
    assert ONE + OTHER == OTHER + ONE


def test_zero_is_neutral():
    assert ONE + Evaluation() == Evaluation() + ONE == ONE
    assert sum([ONE, OTHER], Evaluation()) == ONE + OTHER


def test_evaluations_of_parts_add_up_to_the_whole():
    parts = [[0, 1, 2], [1, 1], [2, 0, 0, 1]]
    windows = [window for part in parts for window in windows_of(part, window=2)]
    separate = sum((evaluate(ThreeSymbols(), windows_of(part, window=2), UNK) for part in parts), Evaluation())
    whole = evaluate(ThreeSymbols(), windows, UNK)
    assert (whole.tokens, whole.oov) == (separate.tokens, separate.oov)
    assert whole.nll == pytest.approx(separate.nll, rel=1e-12)


def test_all_units_tell_the_same_sum():
    bits = ONE.nll / math.log(2)
    assert ONE.nats_per_token * ONE.tokens == pytest.approx(ONE.nll)
    assert ONE.bits_per_token * ONE.tokens == pytest.approx(bits)
    assert ONE.bits_per_char * ONE.chars == pytest.approx(bits)
    assert ONE.bits_per_byte * ONE.bytes == pytest.approx(bits)
    assert math.log(ONE.perplexity) * ONE.tokens == pytest.approx(ONE.nll)
    assert math.log(ONE.word_perplexity) * (ONE.words + ONE.line_ends) == pytest.approx(ONE.nll)
    assert math.log(ONE.words_only_perplexity) * ONE.words == pytest.approx(ONE.nll)
    assert math.log(ONE.perplexity_excluding_oov) * 3 == pytest.approx(6.0)
    assert ONE.oov_rate == 0.25


NO_FIGURES = {"unknown", "rank"}
PROPERTIES = [
    name for name, value in vars(Evaluation).items() if isinstance(value, property) and name not in NO_FIGURES
]


def test_an_empty_evaluation_has_figures_that_do_not_exist():
    assert len(PROPERTIES) >= 9
    for name in PROPERTIES:
        assert math.isnan(getattr(Evaluation(), name)), name
    assert Evaluation().unknown == 0  # a count
    assert all(map(math.isnan, Evaluation().rank))


def test_a_text_of_unknown_tokens_alone_has_no_perplexity_without_them():
    only = Evaluation(nll=2.0, tokens=3, oov=3, oov_nll=2.0)
    assert math.isnan(only.perplexity_excluding_oov)
    assert only.perplexity == pytest.approx(math.exp(2 / 3))


def test_a_perplexity_beyond_floats_is_infinite_and_no_error():
    assert Evaluation(nll=1e6, tokens=1).perplexity == math.inf
    assert Evaluation(nll=math.inf, tokens=1).perplexity == math.inf
    assert Evaluation(nll=1e6, tokens=1).bits_per_token == pytest.approx(1e6 / math.log(2))


def test_an_impossible_token_makes_the_perplexity_infinite_and_is_counted():
    class Impossible(ThreeSymbols):
        def score(self, tokens, targets, state):
            log_probs, state = super().score(tokens, targets, state)
            return log_probs.masked_fill(targets == 1, -math.inf), state

    found = evaluate(Impossible(), windows_of([0, 1, 2]))
    assert found.tokens == 3
    assert found.perplexity == math.inf
