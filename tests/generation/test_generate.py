"""Generation: columns of tokens that depend on the seed, the stream and the place, and on nothing else."""

from itertools import islice

import pytest
import torch

from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.generation import prompt as prompt_module
from lmkit.generation.decoder import LONG_PROMPT, StepDecoder
from lmkit.generation.decoding import Decoding
from lmkit.generation.generate import generate
from lmkit.model.cells import CELLS

EOS = 11
SHAPES = [
    {},
    {"num_layers": 2, "tie_embeddings": True, "embedding_size": 5},
    {"head": "adaptive", "cutoffs": (4, 8)},
    {"head": "adaptive", "cutoffs": (4, 8), "tie_embeddings": True},
]
RULES = [Decoding(), Decoding(temperature=0.7, top_k=4), Decoding(temperature=0.0)]


def columns(model, length=30, prompt=(EOS,), decoding=Decoding(), state=None, **options):  # noqa: B008
    state = model.initial_state(1) if state is None else state
    return list(islice(generate(StepDecoder(model), prompt, state, decoding=decoding, **options), length))


def stepwise(decoder, prompt, state):
    for token in prompt.split(1):
        logits, state = decoder(token, state)
    return logits, state


def ids(found):
    """(streams, length)"""
    return torch.stack([column.ids for column in found], 1)


@pytest.mark.parametrize("cell", CELLS)
def test_temperature_zero_is_argmax(make_model, cell):
    model = make_model(cell)
    found = ids(columns(model, decoding=Decoding(temperature=0.0), prompt=[EOS, 3, 4]))[0].tolist()
    text = [EOS, 3, 4]
    for _ in range(30):
        logits, _ = model(torch.tensor([text]), model.initial_state(1))
        text.append(int(logits[0, -1].argmax()))
    assert found == text[3:]


def test_temperature_zero_is_the_same_for_every_seed_and_stream(make_model):
    model = make_model()
    found = [ids(columns(model, decoding=Decoding(temperature=0.0), seed=seed, streams=range(3))) for seed in (0, 1)]
    assert found[0].equal(found[1])
    assert (found[0] == found[0][0]).all()


def test_same_seed_same_text(make_model):
    model = make_model()
    first = ids(columns(model, seed=3))
    torch.rand(1)
    assert ids(columns(model, seed=3)).equal(first)
    assert not ids(columns(model, seed=4)).equal(first)


def test_generating_leaves_the_global_random_state_alone(make_model):
    model = make_model()
    before = torch.get_rng_state()
    columns(model, seed=3)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("seed", range(5))
def test_a_text_does_not_depend_on_how_many_are_made(make_model, seed):
    model = make_model("lstm", num_layers=2, hidden_size=17)
    alone, three, sixteen = (ids(columns(model, 25, seed=seed, streams=range(number))) for number in (1, 3, 16))
    assert three[0].equal(alone[0])
    assert sixteen[:3].equal(three)
    assert len({tuple(row.tolist()) for row in sixteen}) == 16


def test_streams_can_be_made_one_by_one_in_any_order(make_model):
    model = make_model("gru")
    together = columns(model, streams=[5, 0, 9])
    for place, stream in enumerate([5, 0, 9]):
        alone = columns(model, streams=[stream])
        assert ids(alone)[0].equal(ids(together)[place])
        assert [float(c.log_probs[0]) for c in alone] == [float(c.log_probs[place]) for c in together]


@pytest.mark.parametrize(
    ("cell", "options", "decoding"),
    [
        *((cell, SHAPES[number % 4], RULES[number % 3]) for number, cell in enumerate(CELLS)),
        *(("gru", options, rule) for options in SHAPES for rule in RULES),
    ],
)
def test_generation_equals_rescoring(make_model, cell, options, decoding):
    model = make_model(cell, **options)
    prompt = [EOS, 3, 1, 4]
    found = columns(model, prompt=prompt, decoding=decoding, streams=range(3), seed=1)
    targets = ids(found)
    inputs = torch.cat([torch.tensor([prompt]).expand(3, -1), targets[:, :-1]], 1)
    ignored = torch.full((3, len(prompt) - 1), -100)
    predictor = NetworkPredictor(model)
    expected, _ = predictor.score(inputs, torch.cat([ignored, targets], 1), predictor.initial_state(3))
    log_probs = torch.stack([column.log_probs for column in found], 1)
    torch.testing.assert_close(log_probs.float(), expected[:, len(prompt) - 1 :], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_prompts_state_is_carried_in(make_model, cell):
    model = make_model(cell)
    greedy = Decoding(temperature=0.0)
    whole = columns(model, prompt=[EOS, 1, 2, 3, 4], decoding=greedy)
    _, state = model(torch.tensor([[EOS, 1, 2]]), model.initial_state(1))
    continued = columns(model, prompt=[3, 4], decoding=greedy, state=state)
    assert ids(continued).equal(ids(whole))
    longer = columns(model, 10, prompt=[EOS, 1, 2, 3, 4, *ids(whole)[0, :20].tolist()], decoding=greedy)
    assert ids(longer)[0].tolist() == ids(whole)[0, 20:].tolist()


def test_the_prompt_matters(make_model):
    model = make_model()
    one = columns(model, prompt=[EOS, 1])[0].log_probs
    assert not columns(model, prompt=[EOS, 2])[0].log_probs.equal(one)
    assert not columns(model, prompt=[1, EOS])[0].log_probs.equal(columns(model, prompt=[EOS])[0].log_probs)


def test_the_state_given_is_left_alone(make_model):
    model = make_model()
    _, state = model(torch.tensor([[EOS, 1, 2]]), model.initial_state(1))
    before = [tensor.clone() for layer in state for tensor in layer]
    columns(model, streams=range(3), state=state)
    assert all(a.equal(b) for a, b in zip(before, (t for layer in state for t in layer), strict=True))


def test_a_stop_id_finishes_a_stream_and_leaves_the_others_alone(make_model):
    model = make_model()
    free = ids(columns(model, 60, streams=range(6)))
    assert not any(column.finished.any() for column in columns(model, 60, streams=range(6)))
    stopped = columns(model, 60, streams=range(6), stop_id=4)
    assert any(4 in row for row in free.tolist())
    for stream in range(6):
        row = free[stream].tolist()
        end = row.index(4) if 4 in row else 60
        assert ids(stopped)[stream].tolist() == row[:end] + [4] * (60 - end)
        assert [bool(column.finished[stream]) for column in stopped] == [place >= end for place in range(60)]


def test_columns_have_one_entry_for_each_stream(make_model):
    model = make_model()
    for column in columns(model, 3, streams=[4, 7]):
        assert column.ids.shape == column.log_probs.shape == column.finished.shape == (2,)
        assert column.ids.dtype == torch.int64
        assert column.finished.dtype == torch.bool
        assert not column.log_probs.requires_grad


def test_draws_follow_the_models_distribution(make_model):
    model = make_model()
    logits, _ = model(torch.tensor([[EOS, 3]]), model.initial_state(1))
    expected = 4000 * logits[0, -1].softmax(0)
    (column,) = columns(model, 1, prompt=[EOS, 3], streams=range(4000))
    counts = torch.bincount(column.ids, minlength=12)
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-square, 11 degrees, 0.1 %


def test_only_what_top_k_keeps_is_generated(make_model):
    model = make_model()
    text = [EOS, *ids(columns(model, 50, decoding=Decoding(top_k=2)))[0].tolist()]
    logits, _ = model(torch.tensor([text[:-1]]), model.initial_state(1))
    best = logits[0].topk(2).indices.tolist()
    assert all(token in allowed for token, allowed in zip(text[1:], best, strict=True))


def test_the_model_itself_is_a_step_too(make_model):
    model = make_model("gru")

    @torch.no_grad()
    def step(tokens, state):
        logits, state = model(tokens[:, None], state)
        return logits[:, 0], state

    plain = list(islice(generate(step, [EOS], model.initial_state(1), decoding=Decoding(), streams=range(3)), 20))
    assert ids(plain).equal(ids(columns(model, 20, streams=range(3))))


def test_unwanted_tokens_are_not_chosen_and_the_log_probs_stay_the_models_own(make_model):
    model = make_model()
    found = columns(model, 200, never=[0, 3])
    assert not torch.isin(ids(found), torch.tensor([0, 3])).any()
    assert torch.isin(ids(columns(model, 200)), torch.tensor([0, 3])).any()
    text = torch.tensor([[EOS, *ids(found)[0].tolist()]])
    logits, _ = model(text[:, :-1], model.initial_state(1))
    own = logits[0].double().log_softmax(-1).gather(1, text[0, 1:, None]).squeeze(1)
    assert torch.cat([column.log_probs for column in found]).tolist() == pytest.approx(own.tolist(), abs=1e-4)


@pytest.mark.parametrize(("cell", "length"), [*((cell, 130) for cell in CELLS), ("lstm", LONG_PROMPT + 1)])
@torch.no_grad()
def test_a_long_prompt_read_by_the_kernels_gives_what_its_steps_give(make_model, monkeypatch, cell, length):
    monkeypatch.setattr(prompt_module, "WINDOW", 50)
    model = make_model(cell, num_layers=2, dropout=0.5).double().train()
    decoder, prompt = StepDecoder(model), torch.randint(12, (length,))
    logits, state = decoder.read(prompt, model.initial_state(1))
    expected, stepped = stepwise(decoder, prompt, model.initial_state(1))
    torch.testing.assert_close(logits.log_softmax(1), expected.log_softmax(1), rtol=1e-8, atol=1e-8)
    for layer, other in zip(state, stepped, strict=True):
        torch.testing.assert_close(layer, other, rtol=1e-8, atol=1e-8)
    assert all(module.training for module in model.modules())
    column = columns(model, 1, prompt=prompt.tolist(), decoding=Decoding(temperature=0.0))[0]
    assert int(column.ids[0]) == int(logits.argmax())


@torch.no_grad()
def test_a_short_prompt_is_read_step_by_step_to_the_last_bit(make_model):
    model = make_model("gru")
    decoder, prompt = StepDecoder(model), torch.randint(12, (LONG_PROMPT,))
    assert decoder.read(prompt, model.initial_state(1))[0].equal(stepwise(decoder, prompt, model.initial_state(1))[0])


def test_texts_after_a_long_prompt_do_not_depend_on_how_many_are_made(make_model):
    model, prompt = make_model("lstm"), torch.randint(12, (3 * LONG_PROMPT,)).tolist()
    together = ids(columns(model, prompt=prompt, streams=range(4)))
    for stream in range(4):
        assert ids(columns(model, prompt=prompt, streams=[stream]))[0].equal(together[stream])
