"""Dynamic evaluation, the neural cache and mixtures: predictors like any other, held to slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.evaluation.adapters.adapters import Parts, stack
from lmkit.evaluation.adapters.dynamic import DynamicPredictor, gradient_squares
from lmkit.evaluation.adapters.mixture import Mixture, best_weights
from lmkit.evaluation.adapters.neural_cache import NeuralCache
from lmkit.evaluation.adapters.tuning import tune
from lmkit.evaluation.options import AdapterSettings
from lmkit.evaluation.perplexity import evaluate
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model.language_model import LanguageModel
from lmkit.samplers import SequentialSampler, stream_windows

VOCAB, HIDDEN, EOS = 20, 12, 1
STREAM = np.random.default_rng(0).integers(2, VOCAB, 160)
STREAM[80:140] = STREAM[:60]  # something that a memory can profit from


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig(hidden_size=HIDDEN, num_layers=2), VOCAB).eval()


@pytest.fixture
def squares(model):
    sampler = SequentialSampler(STREAM, eos_id=EOS, batch_size=4, window=10)
    return gradient_squares(model, list(sampler.epoch(0)))


def windows(window=35, **how):
    return stream_windows(STREAM, eos_id=EOS, window=window, **how)


def dynamic(model, squares, span=7, lr=1e-4, decay=0.05):
    return DynamicPredictor(model, squares, span=span, lr=lr, decay=decay)


def cache(base, span=30, flatness=2.0, weight=0.3):
    return NeuralCache(base, HIDDEN, span=span, flatness=flatness, weight=weight)


def every_adapter(model, squares):
    network = NetworkPredictor(model)
    yield "dynamic", dynamic(model, squares)
    yield "cache", cache(network)
    yield "cache of dynamic", cache(dynamic(model, squares))
    yield "mixture", Mixture([cache(dynamic(model, squares)), network], [0.6, 0.4])


def test_any_window_gives_the_same_number(model, squares):
    for name, predictor in every_adapter(model, squares):
        results = [evaluate(predictor, windows(window)).nll for window in (1, 5, 35, 1000)]
        assert results == pytest.approx([results[0]] * 4, rel=1e-6), name


def test_probabilities_sum_to_one_and_agree_with_the_scores(model, squares):
    for name, predictor in every_adapter(model, squares):
        state = predictor.initial_state(1)
        for window in windows(13):
            table, _ = predictor.distribution(window.inputs, state)
            scores, state = predictor.score(window.inputs, window.targets, state)
            assert torch.allclose(table.double().exp().sum(-1), torch.ones(1).double(), atol=1e-5), name
            picked = table.gather(2, window.targets[..., None]).squeeze(2)
            assert torch.allclose(picked.double(), scores.double(), atol=1e-5), name


def test_scoring_a_state_twice_gives_the_same_numbers_twice(model, squares):
    for name, predictor in every_adapter(model, squares):
        window, after = list(windows(40))[:2]
        _, state = predictor.score(window.inputs, window.targets, predictor.initial_state(1))
        first, _ = predictor.score(after.inputs, after.targets, state)
        second, _ = predictor.score(after.inputs, after.targets, state)
        assert torch.equal(first, second), name


def test_a_reset_forgets_everything(model, squares):
    for name, predictor in every_adapter(model, squares):
        window, after = list(windows(40))[:2]
        _, state = predictor.score(window.inputs, window.targets, predictor.initial_state(1))
        anew, _ = predictor.score(after.inputs, after.targets, predictor.reset(state, torch.tensor([True])))
        fresh, _ = predictor.score(after.inputs, after.targets, predictor.initial_state(1))
        assert torch.equal(anew, fresh), name


def test_dynamic_evaluation_that_does_not_learn_is_the_network(model, squares):
    still = evaluate(dynamic(model, squares, lr=0.0, decay=0.0), windows()).nll
    assert still == pytest.approx(evaluate(NetworkPredictor(model), windows()).nll, rel=1e-6)


def test_dynamic_evaluation_leaves_the_model_as_it_was(model, squares):
    before = [parameter.clone() for parameter in model.parameters()]
    evaluate(dynamic(model, squares, lr=1e-2), windows())
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_dynamic_evaluation_equals_updates_written_out(model, squares):
    span, lr, decay = 9, 1e-4, 0.05
    theirs = LanguageModel(model.config, VOCAB).eval()
    theirs.load_state_dict(model.state_dict())
    trained = [parameter.detach().clone() for parameter in theirs.parameters()]
    roots = [square.sqrt() for square in squares]
    mean = torch.cat([root.flatten() for root in roots]).mean()
    inputs = torch.tensor([EOS, *STREAM[:-1].tolist()])[None]
    targets = torch.tensor(STREAM.tolist())[None]
    state, total = theirs.initial_state(1), 0.0
    for start in range(0, len(STREAM), span):
        part = slice(start, start + span)
        theirs.zero_grad()
        nll, state = theirs.nll_sum(inputs[:, part], targets[:, part], state)
        total += nll.item()
        state = tuple(tuple(value.detach() for value in layer) for layer in state)
        (nll / span).backward()
        with torch.no_grad():
            for parameter, origin, root in zip(theirs.parameters(), trained, roots, strict=True):
                pull = (decay * root / mean).clamp(max=1)
                assert parameter.grad is not None
                step = lr * parameter.grad / (root + mean)
                parameter.add_(pull * (origin - parameter) - step)
    ours = evaluate(dynamic(model, squares, span=span, lr=lr, decay=decay), windows()).nll
    assert ours == pytest.approx(total, rel=1e-5)


def test_dynamic_evaluation_leaves_a_learned_initial_state_as_it_was_trained():
    torch.manual_seed(0)
    config = ModelConfig(hidden_size=HIDDEN, initial_state="learned", cell="gru")
    model = LanguageModel(config, VOCAB).eval()
    torch.nn.init.normal_(model.get_parameter("recurrent.initial.0.h"))
    predictor = dynamic(model, [torch.ones_like(parameter) for parameter in model.parameters()], lr=0.1, decay=0.0)
    first = predictor.initial_state(1)
    tokens = torch.tensor([STREAM.tolist()])
    _, state = predictor.score(tokens[:, :-1], tokens[:, 1:], first)
    after = predictor.reset(state, torch.tensor([True]))
    weights = dict(zip(dict(model.named_parameters()), state.weights, strict=True))
    assert weights["recurrent.initial.0.h"].equal(first.current[0][0][0])
    assert after.current[0][0].equal(first.current[0][0])


def test_dynamic_evaluation_refuses_rows_side_by_side(model, squares):
    with pytest.raises(ConfigError, match="--rows 1"):
        evaluate(dynamic(model, squares), windows(rows=2))


def test_the_cache_equals_its_equations_written_out(model):
    span, flatness, weight = 11, 2.0, 0.3
    network = NetworkPredictor(model)
    inputs = torch.tensor([EOS, *STREAM[:-1].tolist()])[None]
    hidden, table, _ = network.hidden_and_distribution(inputs, network.initial_state(1))
    total = 0.0
    for t, target in enumerate(STREAM.tolist()):
        places = range(max(0, t - span), t)
        odds = [math.exp(flatness * float(hidden[0, t].double() @ hidden[0, place].double())) for place in places]
        hits = [odd for odd, place in zip(odds, places, strict=True) if STREAM[place] == target]
        model_part = math.exp(float(table[0, t, target]))
        mixed = (1 - weight) * model_part + weight * sum(hits) / sum(odds) if odds else model_part
        total -= math.log(mixed)
    ours = evaluate(cache(network, span=span, flatness=flatness, weight=weight), windows()).nll
    assert ours == pytest.approx(total, rel=1e-5)


def test_rows_of_a_cache_warmed_up_from_the_beginning_equal_one_stream(model):
    predictor = cache(NetworkPredictor(model))
    one = evaluate(predictor, windows()).nll
    assert evaluate(predictor, windows(rows=3, warmup=len(STREAM))).nll == pytest.approx(one, rel=1e-6)


def test_a_mixture_is_the_weighted_mean_of_probabilities(model):
    torch.manual_seed(1)
    other = NetworkPredictor(LanguageModel(model.config, VOCAB).eval())
    one = NetworkPredictor(model)
    (window,) = windows(1000)
    mixed, _ = Mixture([one, other], [0.25, 0.75]).score(
        window.inputs, window.targets, Mixture([one, other], [0.25, 0.75]).initial_state(1)
    )
    parts = [
        predictor.score(window.inputs, window.targets, predictor.initial_state(1))[0] for predictor in (one, other)
    ]
    assert torch.allclose(mixed, (0.25 * parts[0].double().exp() + 0.75 * parts[1].double().exp()).log())


def test_best_weights_beat_their_neighbours():
    log_probs = torch.log(torch.rand(3, 400, dtype=torch.float64))
    weights = torch.tensor(best_weights(log_probs), dtype=torch.float64)

    def likelihood(candidate):
        return float((candidate[:, None] * log_probs.exp()).sum(0).log().sum())

    assert float(weights.sum()) == pytest.approx(1)
    for other in torch.rand(200, 3, dtype=torch.float64):
        nearby = 0.98 * weights + 0.02 * other / other.sum()
        assert likelihood(weights) >= likelihood(nearby) - 1e-6


def test_a_predictor_that_helps_nowhere_gets_no_weight_at_all():
    good = torch.log(torch.rand(1, 400, dtype=torch.float64))
    for others in (good - 0.01, good - 3 * torch.rand(2, 400, dtype=torch.float64)):
        assert best_weights(torch.cat([good, others])) == [1.0] + [0.0] * len(others)


def test_tuning_never_makes_the_text_it_tunes_on_less_probable(model, squares):
    torch.manual_seed(2)
    parts = Parts(model, squares, others=(NetworkPredictor(LanguageModel(model.config, VOCAB).eval()),))
    settings = tune(parts, AdapterSettings(dynamic=True, dynamic_span=16, cache=40), windows)
    results = [evaluate(layer.predictor, windows()).nll for layer in stack(parts, settings)]
    assert len(results) == 4
    assert results[2] <= results[1] * (1 + 1e-9)  # the best weight of a cache may be zero, never worse
    assert results[3] <= results[2] * (1 + 1e-9)


@pytest.mark.parametrize("weights", [[0.5], [0.7, 0.7], [1.5, -0.5]])
def test_impossible_weights_are_refused(model, weights):
    network = NetworkPredictor(model)
    with pytest.raises(ConfigError):
        Mixture([network, network], weights)
