"""One head above the recurrent layers: its papers' equations over exactly the last M outputs, however they are read."""

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.generation.decoder import StepDecoder
from lmkit.model.cells import ATTENTIONS

D, B = 6, 3

on_each = pytest.mark.parametrize("kind", ATTENTIONS)


def make_layer(kind, context=4):
    torch.manual_seed(5)
    layer = ATTENTIONS[kind](D, context=context).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.6)
    return layer


def text(steps, rows=B):
    torch.manual_seed(steps)
    return torch.randn(steps, rows, D, dtype=torch.float64)


def layer_norm(x, norm):
    centred = x - x.mean(1, keepdim=True)
    return norm.weight * centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() + norm.bias


def sha(layer, inputs):
    remembered = []
    for x in inputs:
        u = layer_norm(x, layer.norm)
        remembered.append(layer_norm(x, layer.norm_memory))
        q = layer_norm(u @ layer.to_query.weight.T + layer.to_query.bias, layer.norm_query)
        q, k, v = torch.sigmoid(layer.query_gate) * q, torch.sigmoid(layer.key_gate), torch.sigmoid(layer.value_gate)
        seen = remembered[-layer.context :]
        scores = torch.exp(torch.stack([(q * k * m).sum(1) for m in seen]) / D**0.5)
        yield u + sum(score[:, None] * v * m for score, m in zip(scores / scores.sum(0), seen, strict=True))


def bahdanau(layer, inputs):
    remembered = []
    for x in inputs:
        u = layer_norm(x, layer.norm)
        remembered.append(layer_norm(x, layer.norm_memory))
        query = u @ layer.to_query.weight.T
        seen = remembered[-layer.context :]
        sums = [query + m @ layer.to_keys.weight.T + layer.to_keys.bias for m in seen]
        scores = torch.exp(torch.stack([torch.tanh(one) @ layer.weigh for one in sums]))
        mean = sum(score[:, None] * m for score, m in zip(scores / scores.sum(0), seen, strict=True))
        yield u + mean @ layer.from_memory.weight.T + layer.from_memory.bias


EQUATIONS = {"sha": sha, "bahdanau": bahdanau}


@on_each
@pytest.mark.parametrize("context", [1, 4, 20])
@torch.no_grad()
def test_a_layer_is_its_equations(kind, context):
    layer, inputs = make_layer(kind, context), text(11)
    outputs, _ = layer(inputs, layer.initial_state(B))
    expected = torch.stack(list(EQUATIONS[kind](layer, inputs)))
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-11)


@on_each
@pytest.mark.parametrize("context", [5, 70])
def test_an_output_comes_from_exactly_the_last_positions_and_a_long_window_is_its_steps(kind, context):
    layer, inputs = make_layer(kind, context), text(100).requires_grad_()  # longer than what is computed at once
    outputs, end = layer(inputs, layer.initial_state(B))
    for step in (3, 64, 99):
        (gradient,) = torch.autograd.grad(outputs[step, 0].sum(), inputs, retain_graph=True)
        reached = gradient[:, 0].abs().sum(1) > 0
        assert reached.tolist() == [step - context < position <= step for position in range(100)]
        assert not gradient[:, 1:].any()
    state = layer.initial_state(B)
    for step, projected in enumerate(layer.project(inputs)):
        output, state = layer.step(projected, state)
        torch.testing.assert_close(output, outputs[step], rtol=1e-9, atol=1e-11)
    for mine, theirs in zip(state, end, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@on_each
@torch.no_grad()
def test_far_into_a_text_an_output_is_as_exact_as_at_its_beginning_and_older_outputs_have_no_influence(kind):
    layer, end = make_layer(kind, 8), text(8, 1)
    far, _ = layer(torch.cat([text(20_000, 1), end]), layer.initial_state(1))
    near, _ = layer(torch.cat([text(10, 1), end]), layer.initial_state(1))
    torch.testing.assert_close(far[-1], near[-1], rtol=1e-12, atol=1e-12)


@on_each
@torch.no_grad()
def test_a_model_shows_the_weights_and_decodes_step_by_step(make_model, kind):
    model = make_model("gru", num_layers=2, attention=4, attention_kind=kind).double()
    tokens = torch.randint(12, (B, 7))
    (weights,) = model.attention_weights(tokens, model.initial_state(B))
    assert weights.shape == (B, 1, 7, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert [int((weights[0, 0, step] > 0).sum()) for step in range(7)] == [1, 2, 3, 4, 4, 4, 4]
    whole, _ = model(tokens, model.initial_state(B))
    decoder, state = StepDecoder(model), model.initial_state(B)
    for step, column in enumerate(tokens.T):
        logits, state = decoder(column, state)
        torch.testing.assert_close(logits, whole[:, step], rtol=1e-9, atol=1e-9)
    trace = model.trace(tokens, model.initial_state(B))
    assert len(trace.h) == 3
    torch.testing.assert_close(trace.h[-1], model.features(tokens, model.initial_state(B))[0])


@on_each
@torch.no_grad()
def test_the_decoders_rows_do_not_depend_on_each_other(make_model, kind):
    model = make_model("lstm", attention=5, attention_kind=kind, hidden_size=33)
    decoder, tokens = StepDecoder(model), torch.randint(12, (5, 8))

    def run(rows):
        state = model.initial_state(len(rows))
        for column in tokens[rows].T:
            logits, state = decoder(column, state)
        return logits

    assert run([3, 1]).equal(run(list(range(5)))[[3, 1]])


@on_each
def test_what_is_found_is_dropped_and_the_outputs_below_are_not(make_model, kind):
    rates = {"embedding_dropout": 0.0, "layer_dropout": 0.5, "output_dropout": 0.0}
    model, tokens = make_model("gru", attention=4, attention_kind=kind, **rates), torch.randint(12, (4, 3))
    found = []
    for training in (True, False):
        found.append(model.train(training).features(tokens, model.initial_state(4))[0])
    assert not found[0].equal(found[1])
    below = model.recurrent.attention.norm(model.trace(tokens, model.initial_state(4)).h[0])
    kept = (found[0] - below).abs() < 1e-6  # half of the units have nothing added
    assert 0.2 < kept.float().mean() < 0.8


@on_each
def test_an_attention_begins_and_learns_in_any_arithmetic(make_model, kind):
    model = make_model("gru", attention=4, attention_kind=kind, dropout=0.3, spread=None).train()
    tokens = torch.randint(12, (2, 6))
    with torch.autocast("cpu", torch.bfloat16):
        nll, state = model.nll_sum(tokens, tokens, model.initial_state(2))
    nll.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    memory, count = state[-1]
    assert (memory.dtype, count.dtype, count.tolist()) == (torch.float32, torch.int64, [4, 4])


def test_a_kind_without_an_attention_is_refused():
    with pytest.raises(ConfigError, match="--attention-kind bahdanau needs --attention"):
        ModelConfig(attention_kind="bahdanau")


def test_without_attention_a_model_is_what_it_was(make_model):
    plain = make_model("lstm")
    assert not any("attention" in name for name in plain.state_dict())
    assert plain.attention_weights(torch.zeros(1, 2, dtype=torch.int64), plain.initial_state(1)) == []
