"""The model's parts: how it starts, what it shares, its sizes, and where dropout falls."""

import itertools
import math
from typing import Any

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.cells import CELLS
from lmkit.model.language_model import LanguageModel, SequenceLoss, default_cutoffs
from lmkit.model.penalty import ActivationPenalty

HEADS: list[dict[str, Any]] = [{"head": "full"}, {"head": "adaptive", "cutoffs": (4, 8)}]


SHAPES = list(itertools.product((False, True), (None, 32), ("full", "adaptive")))


@pytest.mark.parametrize(
    ("cell", "tied", "embedding_size", "head"),
    [("lstm", *shape) for shape in SHAPES] + [(cell, *SHAPES[number % 8]) for number, cell in enumerate(CELLS)],
)
def test_loss_at_start_is_log_vocab_size(cell, tied, embedding_size, head):
    config = ModelConfig(
        cell=cell,
        hidden_size=64,
        embedding_size=embedding_size,
        tie_embeddings=tied,
        dropout=0.0,
        head=head,
        cutoffs=(20, 50) if head == "adaptive" else None,
    )
    model = LanguageModel(config, 100)
    targets = torch.arange(100).repeat(8)[torch.randperm(800)].reshape(8, 100)  # each token equally often
    nll, _, count, _ = SequenceLoss(model)(torch.randint(100, (8, 100)), targets, model.initial_state(8))
    # the adaptive softmax starts uniform on each of its two levels: log 22, and log 30 or log 50 below it
    expected = math.log(100) if head == "full" else math.log(22) + 0.3 * math.log(30) + 0.5 * math.log(50)
    assert (nll / count).item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("cell", "options"),
    [*((cell, {}) for cell in CELLS), ("gru", {"head": "adaptive", "cutoffs": (4, 8), "attention": 4})],
)
def test_a_window_without_rows_has_no_loss_and_no_gradient(make_model, cell, options):
    model = make_model(cell, num_layers=2, **options)  # where a last window has fewer rows than there are processes
    nothing = torch.zeros(0, 5, dtype=torch.long)
    nll, penalty, count, state = SequenceLoss(model, ActivationPenalty(2.0, 1.0))(
        nothing, nothing, model.initial_state(0)
    )
    (nll + penalty).backward()
    assert (float(nll.detach()), float(penalty.detach()), int(count)) == (0, 0, 0)
    assert all(len(tensor) == 0 for layer in state for tensor in layer)
    assert not any(one.grad.any() for one in model.parameters() if one.grad is not None)


def test_a_paper_s_irnn_starts_as_the_identity(make_model):
    model = make_model("irnn", num_layers=2, hidden_size=50, spread=None, irnn_form="paper")
    for layer in model.recurrent.layers:
        assert layer.weight_hh_l0.equal(torch.eye(50))
        assert not layer.bias_ih_l0.any()
        assert not layer.bias_hh_l0.any()
        assert layer.weight_ih_l0.std().item() == pytest.approx(0.001, rel=0.1)
        assert layer.nonlinearity == "relu"


def test_an_irnn_at_its_start_keeps_what_it_holds(make_model):
    model = make_model("irnn", hidden_size=8, spread=None, irnn_form="paper")
    held = ((torch.rand(1, 8) + 1,),)
    _, after = model(torch.randint(12, (1, 50)), held)
    torch.testing.assert_close(after[0][0], held[0][0], rtol=0.1, atol=0.2)


@pytest.mark.parametrize("value", [0.0, 1.0, 2.5, -1.0])
def test_the_forget_gates_two_biases_sum_to_the_value(make_model, value):
    for layer in make_model("lstm", num_layers=2, forget_bias=value, spread=None).recurrent.layers:
        total = layer.bias_ih_l0 + layer.bias_hh_l0
        assert total[6:12].tolist() == [value] * 6  # torch's order: input, forget, cell, output
        others = torch.cat([total[:6], total[12:]])
        assert len(set(others.tolist())) == len(others)


def test_a_coupled_input_gate_has_no_parameters_and_leaves_the_others_as_they_are_drawn(make_model):
    plain, coupled = (
        make_model("lstm", num_layers=2, spread=None, input_gate=gate, forget_bias=1.0)
        for gate in ("untied", "coupled")
    )
    for layer, other in zip(plain.recurrent.layers, coupled.recurrent.layers, strict=True):
        for name, parameter in layer.named_parameters():
            assert other.get_parameter(name).equal(parameter[6:])
    assert plain.head.weight.equal(coupled.head.weight)


@pytest.mark.parametrize("block", ["plain", "residual"])
def test_the_size_of_the_outputs_is_known_from_the_configuration(make_model, block):
    for options in ({}, {"projection_size": 4}):
        model = make_model("lstm", block=block, **options)
        assert model.config.output_size == model.recurrent.output_size


def test_a_projection_stands_below_the_hidden_size_and_before_what_follows(make_model):
    model = make_model("lstm", num_layers=2, projection_size=4, embedding_size=5)
    hidden, state = model.features(torch.randint(12, (2, 3)), model.initial_state(2))
    assert hidden.shape == (2, 3, 4)
    assert [tuple(tensor.shape) for layer in state for tensor in layer] == [(2, 4), (2, 6)] * 2
    assert model.recurrent.layers[1].weight_ih_l0.shape == (24, 4)
    trace = model.trace(torch.randint(12, (2, 3)), model.initial_state(2))
    assert (trace.h[0].shape, trace.c[0].shape) == ((2, 3, 4), (2, 3, 6))
    with pytest.raises(ConfigError, match=r"--projection-size 6 must be below --hidden-size 6"):
        ModelConfig(hidden_size=6, projection_size=6)
    with pytest.raises(ConfigError, match=r"identity needs square matrices, .*makes them 6 x 4: use orthogonal"):
        ModelConfig(hidden_size=6, projection_size=4, recurrent_init="identity")


@pytest.mark.parametrize("option", [{"input_gate": "coupled"}, {"projection_size": 4}])
def test_gates_and_projection_are_an_lstms(option):
    with pytest.raises(ConfigError, match=r"needs --cell lstm: gru does not have it"):
        ModelConfig(cell="gru", **option)


def test_without_a_forget_bias_torchs_own_stays(make_model):
    (layer,) = make_model("lstm", spread=None).recurrent.layers
    assert (layer.bias_ih_l0 + layer.bias_hh_l0)[6:12].unique().numel() == 6


def test_a_forget_bias_needs_a_forget_gate():
    with pytest.raises(ConfigError, match="lstm"):
        ModelConfig(cell="gru", forget_bias=1.0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("embedding_size", [None, 4])
def test_tied_embeddings_share_storage(make_model, head, embedding_size):
    model = make_model("lstm", tie_embeddings=True, embedding_size=embedding_size, **head)
    before, _ = model(torch.tensor([[3]]), model.initial_state(1))
    with torch.no_grad():
        model.embedding.weight[7] += 1  # a token that is not read: only the output can show it
    after, _ = model(torch.tensor([[3]]), model.initial_state(1))
    changed = (before.log_softmax(-1) - after.log_softmax(-1)).abs()[0, 0]
    assert changed[7] > 1e-3
    (unique,) = {p.data_ptr() for p in model.parameters() if p.shape == model.embedding.weight.shape}
    assert unique == model.embedding.weight.data_ptr()


@pytest.mark.parametrize("head", HEADS)
def test_untied_models_have_an_output_of_their_own(make_model, head):
    model = make_model("lstm", **head)
    before, _ = model(torch.tensor([[3]]), model.initial_state(1))
    with torch.no_grad():
        model.embedding.weight[7] += 1
    assert model(torch.tensor([[3]]), model.initial_state(1))[0].equal(before)


def test_tying_saves_the_output_matrix_and_a_projection_costs_little(make_model):
    def size(**options):
        return sum(p.numel() for p in make_model("lstm", vocab_size=100, **options).parameters())

    assert size() - size(tie_embeddings=True) == 100 * 6
    assert size(embedding_size=4) - size(embedding_size=4, tie_embeddings=True) == 100 * 6 - 4 * 6


def test_ties_survive_a_move_to_another_type_and_a_load(make_model):
    model = make_model("lstm", tie_embeddings=True).double()
    other = make_model("lstm", tie_embeddings=True, spread=1.0).double()
    other.load_state_dict(model.state_dict())
    for each in (model, other):
        shared = {p.data_ptr() for p in each.parameters() if p.shape == each.embedding.weight.shape}
        assert shared == {each.embedding.weight.data_ptr()}
    tokens = torch.randint(12, (1, 4))
    assert model(tokens, model.initial_state(1))[0].equal(other(tokens, other.initial_state(1))[0])


@pytest.mark.parametrize(("cell", "tied"), [("lstm", False), *((cell, True) for cell in CELLS)])
def test_embedding_size_stands_apart_from_hidden_size(make_model, cell, tied):
    model = make_model(cell, num_layers=2, embedding_size=3, tie_embeddings=tied)
    assert model.embedding.weight.shape == (12, 3)
    hidden, state = model.features(torch.randint(12, (2, 5)), model.initial_state(2))
    assert hidden.shape == (2, 5, 6)
    assert all(len(tensor) == 2 for layer in state for tensor in layer)
    assert model(torch.randint(12, (2, 5)), model.initial_state(2))[0].shape == (2, 5, 12)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("embedding_size", [None, 3])
def test_logits_are_the_heads_log_probabilities_up_to_a_constant(make_model, head, tied, embedding_size):
    model = make_model("gru", tie_embeddings=tied, embedding_size=embedding_size, **head)
    tokens = torch.randint(12, (2, 5))
    logits, _ = model(tokens, model.initial_state(2))
    hidden, _ = model.features(tokens, model.initial_state(2))
    expected = model.head.log_probs(hidden.flatten(0, 1)).reshape(2, 5, 12)
    torch.testing.assert_close(logits.log_softmax(-1), expected)


def both(model, tokens):
    """Logits and state in training mode and in evaluation mode."""
    noisy = model.train()(tokens, model.initial_state(len(tokens)))
    return noisy, model.eval()(tokens, model.initial_state(len(tokens)))


PLACES = {"embedding_dropout": 0.0, "layer_dropout": 0.0, "output_dropout": 0.0}


@pytest.mark.parametrize(("cell", "num_layers"), [("lstm", 1), ("lstm", 3), *((cell, 2) for cell in CELLS)])
def test_embedding_dropout_falls_before_the_first_layer(make_model, cell, num_layers):
    model = make_model(cell, num_layers=num_layers, **{**PLACES, "embedding_dropout": 0.5})
    (noisy, noisy_state), (clean, clean_state) = both(model, torch.randint(12, (4, 3)))
    assert not noisy.equal(clean)
    assert not noisy_state[0][0].equal(clean_state[0][0])


@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if not cell.residual])
def test_layer_dropout_falls_between_layers_alone(make_model, cell):
    tokens = torch.randint(12, (4, 3))
    (noisy, _), (clean, _) = both(make_model(cell, **{**PLACES, "layer_dropout": 0.5}), tokens)
    assert noisy.equal(clean)
    model = make_model(cell, num_layers=3, **{**PLACES, "layer_dropout": 0.5})
    (noisy, noisy_state), (clean, clean_state) = both(model, tokens)
    assert not noisy.equal(clean)
    same = [a[0].equal(b[0]) for a, b in zip(noisy_state, clean_state, strict=True)]
    assert same == [True, False, False]


@pytest.mark.parametrize("cell", CELLS)
def test_output_dropout_leaves_the_state_alone(make_model, cell):
    model = make_model(cell, num_layers=2, **{**PLACES, "output_dropout": 0.5})
    (noisy, noisy_state), (clean, clean_state) = both(model, torch.randint(12, (4, 3)))
    assert not noisy.equal(clean)
    for a, b in zip(noisy_state, clean_state, strict=True):
        assert all(one.equal(other) for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("place", sorted(PLACES))
def test_dropout_keeps_the_mean(make_model, place):
    # an IRNN with positive parameters is linear, so the mean over many masks is the value without one
    model = make_model("irnn", num_layers=2, **{**PLACES, place: 0.4})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().mul_(0.5)
    (noisy, _), (clean, _) = both(model, torch.full((4000, 2), 3))
    errors = noisy.mean(0) - clean[0]
    assert (errors.abs() < 5 * noisy.std(0) / 4000**0.5 + 1e-5).all()
    assert noisy.std(0).min() > 1e-3


def test_one_dropout_stands_for_all_places_that_have_none_of_their_own():
    assert ModelConfig(dropout=0.3).dropouts == (0.3, 0.3, 0.3)
    assert ModelConfig(dropout=0.3, layer_dropout=0.1, output_dropout=0.0).dropouts == (0.3, 0.1, 0.0)


@pytest.mark.parametrize("cell", CELLS)
def test_evaluation_mode_has_no_dropout(make_model, cell):
    tokens = torch.randint(12, (2, 4))
    noisy, clean = make_model(cell, num_layers=2, dropout=0.6), make_model(cell, num_layers=2)
    clean.load_state_dict(noisy.state_dict())
    expected, _ = clean(tokens, clean.initial_state(2))
    assert noisy.eval()(tokens, noisy.initial_state(2))[0].equal(expected)


def test_clusters_begin_at_a_sixteenth_and_a_quarter():
    assert default_cutoffs(32_000) == (2000, 8000)
    for vocab_size in range(2, 100):
        cutoffs = default_cutoffs(vocab_size)
        assert list(cutoffs) == sorted(set(cutoffs))
        assert all(0 < cutoff < vocab_size for cutoff in cutoffs)


@pytest.mark.parametrize("vocab_size", [4, 5, 8, 16, 17])
def test_an_adaptive_head_works_for_any_vocabulary(vocab_size):
    model = LanguageModel(ModelConfig(head="adaptive", hidden_size=4, dropout=0.0), vocab_size)
    logits, _ = model(torch.arange(vocab_size)[None], model.initial_state(1))
    assert logits.shape == (1, vocab_size, vocab_size)


def test_a_vocabulary_too_small_for_clusters_is_refused():
    with pytest.raises(ConfigError, match="a vocabulary of 3 tokens: use --head full"):
        LanguageModel(ModelConfig(head="adaptive"), 3)


def test_a_cutoff_beyond_the_vocabulary_is_refused():
    for cutoffs in ((4, 12), (4, 20)):
        with pytest.raises(ConfigError, match=f"--cutoffs 4,{cutoffs[1]} must be below the vocabulary size 12"):
            LanguageModel(ModelConfig(head="adaptive", cutoffs=cutoffs), 12)


def test_the_same_seed_makes_the_same_model():
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(LanguageModel(ModelConfig(num_layers=2, hidden_size=5), 12).state_dict())
    assert all(models[0][key].equal(models[1][key]) for key in models[0])


def test_bfloat16_autocast_gives_float32_losses(make_model, needs_bfloat16):
    needs_bfloat16()
    for head in HEADS:
        model = make_model("lstm", **head)
        inputs, targets = torch.randint(12, (2, 3, 5))
        expected = SequenceLoss(model)(inputs, targets, model.initial_state(3)).nll
        with torch.autocast("cpu", torch.bfloat16):
            nll = SequenceLoss(model)(inputs, targets, model.initial_state(3)).nll
        assert nll.dtype == torch.float32
        assert nll.item() == pytest.approx(expected.item(), rel=0.02)
