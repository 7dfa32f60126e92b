"""The network as a predictor: the number does not depend on how it is asked, and asking changes nothing."""

import math

import numpy as np
import pytest
import torch

from lmkit.evaluation import predictor as predictor_module
from lmkit.evaluation.perplexity import evaluate, token_scores
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.samplers import IGNORE, SequentialSampler, stream_windows

HEADS = [{}, {"tie_embeddings": True}, {"head": "adaptive", "cutoffs": (3, 7)}]
STREAM = np.random.default_rng(3).integers(0, 10, 701).astype(np.uint8)
EOS = 10
# states of one tensor and of two, of inputs, of matrices, and with a count; tests/model/test_cells.py walks all cells
KINDS = ["lstm", "gru", "qrnn", "mlstm", "transformer"]


def perplexity(model, stream=STREAM, **options):
    return evaluate(NetworkPredictor(model), stream_windows(stream, eos_id=EOS, **options)).perplexity


@pytest.mark.parametrize(
    ("cell", "options"), [*(("lstm", options) for options in HEADS), *((cell, {}) for cell in KINDS[1:])]
)
def test_perplexity_does_not_depend_on_window(make_model, cell, options):
    model = make_model(cell, num_layers=2, **options)
    expected, *others = (perplexity(model, stream=STREAM[:201], window=window) for window in (201, 1, 5, 35, 1000))
    assert expected != pytest.approx(11, rel=0.01)
    assert others == pytest.approx([expected] * 4, rel=1e-6)


def test_the_one_stream_is_one_pass_of_the_model(make_model):
    model = make_model("gru")
    tokens = torch.tensor([[EOS, *STREAM.tolist()]])
    logits, _ = model(tokens[:, :-1], model.initial_state(1))
    expected = torch.nn.functional.cross_entropy(logits[0].double(), tokens[0, 1:]).exp().item()
    assert perplexity(model, window=35) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("cell", "rows"), [("lstm", 2), ("lstm", 64), *((cell, 7) for cell in KINDS)])
def test_rows_whose_warmup_reaches_the_beginning_are_the_one_stream(make_model, cell, rows):
    model = make_model(cell)
    expected = perplexity(model, window=50)
    assert perplexity(model, window=50, rows=rows, warmup=1000) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("cell", "rows"), [("lstm", 7), *((cell, 64) for cell in KINDS)])
def test_rows_with_a_long_warmup_agree_with_the_one_stream(make_model, cell, rows):
    model = make_model(cell, **({"context": 40} if cell == "transformer" else {}))
    expected = perplexity(model, window=50)
    assert perplexity(model, window=50, rows=rows, warmup=80) == pytest.approx(expected, rel=1e-4)


def test_training_windows_score_like_the_stream_when_one_row_carries(make_model):
    model = make_model("lstm")
    sampler = SequentialSampler(STREAM, eos_id=EOS, batch_size=1, window=20)
    for epoch in range(3):
        found = evaluate(NetworkPredictor(model), sampler.epoch(epoch))
        assert found.perplexity == pytest.approx(perplexity(model, window=7), rel=1e-6)


@pytest.mark.parametrize("options", HEADS)
def test_blocks_of_logits_do_not_change_the_number(make_model, monkeypatch, options):
    model = make_model("lstm", **options)
    expected = list(token_scores(NetworkPredictor(model), stream_windows(STREAM, eos_id=EOS, window=300, rows=2)))
    monkeypatch.setattr(predictor_module, "LOGITS_AT_ONCE", 50)
    found = list(token_scores(NetworkPredictor(model), stream_windows(STREAM, eos_id=EOS, window=300, rows=2)))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", HEADS)
def test_uniform_model_has_perplexity_vocab_size(make_model, options):
    model = make_model("lstm", vocab_size=11, **options)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        if "cutoffs" in options:  # clusters of 4 tokens each are four times as probable as one token
            model.head.cluster_bias.fill_(math.log(4))
    assert perplexity(model, window=35) == pytest.approx(11, rel=1e-6)


@pytest.mark.parametrize("options", HEADS)
def test_score_is_the_gathered_distribution(make_model, options):
    predictor = NetworkPredictor(make_model("lstm", **options))
    tokens, targets = torch.randint(11, (2, 3, 7))
    targets[0, 2] = targets[2] = IGNORE
    log_probs, after_score = predictor.score(tokens, targets, predictor.initial_state(3))
    distribution, after_distribution = predictor.distribution(tokens, predictor.initial_state(3))
    assert log_probs.shape == (3, 7)
    assert distribution.shape == (3, 7, 11)
    assert log_probs.dtype == distribution.dtype == torch.float32
    torch.testing.assert_close(distribution.double().exp().sum(-1), torch.ones(3, 7).double(), rtol=0, atol=1e-6)
    known = targets != IGNORE
    gathered = distribution.gather(2, targets.clamp_min(0)[..., None])[..., 0]
    torch.testing.assert_close(log_probs[known], gathered[known])
    assert not log_probs[~known].any()
    for layer, other in zip(after_score, after_distribution, strict=True):
        torch.testing.assert_close(layer, other)


def test_no_gradient_is_kept(make_model):
    predictor = NetworkPredictor(make_model("gru"))
    tokens = torch.randint(11, (2, 3))
    log_probs, state = predictor.score(tokens, tokens, predictor.initial_state(2))
    assert not log_probs.requires_grad
    assert not state[0][0].requires_grad
    assert torch.is_grad_enabled()


def test_reset_rows_are_as_at_the_beginning(make_model):
    predictor = NetworkPredictor(make_model("lstm"))
    first, second = torch.randint(11, (2, 3, 6))
    _, state = predictor.score(first, first, predictor.initial_state(3))
    mixed, _ = predictor.score(second, second, predictor.reset(state, torch.tensor([True, False, True])))
    fresh, _ = predictor.score(second, second, predictor.initial_state(3))
    carried, _ = predictor.score(second, second, state)
    torch.testing.assert_close(mixed, torch.stack([fresh[0], carried[1], fresh[2]]))


def test_evaluating_changes_nothing(make_model):
    model = make_model("lstm", num_layers=2, dropout=0.5).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    first, second = perplexity(model, window=30), perplexity(model, window=30)
    assert first == second
    assert torch.get_rng_state().equal(random_state)
    assert all(module.training for module in model.modules())
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_evaluating_leaves_parts_in_evaluation_mode_as_they_were(make_model):
    model = make_model("lstm").train()
    model.head.eval()  # as for a part that is frozen
    perplexity(model, window=30)
    assert model.training
    assert not model.head.training


def test_a_model_in_training_is_evaluated_without_dropout(make_model):
    noisy, clean = make_model("lstm", num_layers=2, dropout=0.5), make_model("lstm", num_layers=2)
    assert perplexity(noisy.train(), window=30) == perplexity(clean.eval(), window=30)


def test_a_failed_evaluation_hands_the_model_back_as_it_was(make_model):
    model = make_model("lstm").train()
    with pytest.raises(IndexError):
        NetworkPredictor(model).score(torch.tensor([[99]]), torch.tensor([[0]]), model.initial_state(1))
    assert model.training
    assert torch.is_grad_enabled()


def test_scores_do_not_depend_on_the_other_rows(make_model):
    predictor = NetworkPredictor(make_model("gru"))
    tokens, targets = torch.randint(11, (2, 9, 7))
    together, _ = predictor.score(tokens, targets, predictor.initial_state(9))
    for row in range(9):
        alone, _ = predictor.score(tokens[row, None], targets[row, None], predictor.initial_state(1))
        torch.testing.assert_close(alone[0], together[row])


def test_a_lower_precision_is_near_and_gives_float32(make_model, needs_bfloat16):
    needs_bfloat16()
    model = make_model("lstm")
    tokens = torch.randint(11, (2, 50))
    exact, _ = NetworkPredictor(model).score(tokens, tokens, model.initial_state(2))
    low = NetworkPredictor(model, torch.bfloat16)
    log_probs, state = low.score(tokens, tokens, low.initial_state(2))
    assert log_probs.dtype == torch.float32
    assert not log_probs.equal(exact)
    assert math.isclose(float(log_probs.sum()), float(exact.sum()), rel_tol=0.02)
    assert all(tensor.dtype == torch.float32 for layer in low.initial_state(2) for tensor in layer)
    low.score(tokens, tokens, state)
