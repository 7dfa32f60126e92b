"""The state that is carried through a long text: whether it grows is measured, not guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lmkit.evaluation.carried_state import LEAST, ROWS, WINDOW, read_carried_state
from lmkit.evaluation.measurement import measure
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text import CharacterTokenizer, encode_text

TEXT = "a bad cab had a bed\n" * 30
TOKENIZER = CharacterTokenizer.train([TEXT])


@pytest.fixture
def network(make_model):
    def make(cell: str, factor: float = 0.0, **options: Any) -> NetworkPredictor:
        model = make_model(cell, vocab_size=TOKENIZER.vocab_size, **options)
        with torch.no_grad():
            for name, parameter in model.named_parameters() if factor else ():
                if "weight_hh" in name:
                    parameter.copy_(factor * torch.eye(len(parameter)))
        return NetworkPredictor(model)

    return make


def read(predictor, text=TEXT, documents="file", **options):
    return read_carried_state(predictor, encode_text(TOKENIZER, text, documents=documents), TOKENIZER.eos_id, **options)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "irnn"])
def test_a_state_that_is_bounded_is_found_sound(network, cell):
    found = read(network(cell))
    assert not found.grows
    assert found.notes() == []


def test_a_state_that_grows_steadily_is_found_before_it_ends_in_no_number(network):
    found = read(network("irnn", 1.02))
    assert found.grows
    assert found.broken_at is None
    assert found.growth > 2
    assert "The carried state grows: " in found.notes()[0]


def test_the_token_is_named_at_which_a_state_is_no_number_any_more(network):
    predictor = network("irnn", 4.0)
    found = read(predictor)
    (note,) = found.notes()
    assert f"at token {found.broken_at:,} of one stream" in note
    first, second = found.broken_at // WINDOW * WINDOW, found.broken_at // WINDOW * WINDOW + WINDOW
    assert np.isfinite(found.carried[: found.broken_at - 1]).all()
    assert not (np.isfinite(found.carried[first:second]).all() and np.isfinite(found.norms[: second // WINDOW]).all())


def test_the_losses_are_those_of_a_measurement_of_one_stream_and_of_rows(network):
    predictor, tokens = network("gru"), encode_text(TOKENIZER, TEXT)
    found = read(predictor)
    for losses, rows in ((found.carried, 1), (found.fresh, ROWS)):
        expected = measure(
            predictor, tokens, TOKENIZER, EvalOptions(rows=rows, warmup=0, max_passes=0), split="test"
        ).evaluation.nll
        assert losses.sum() == pytest.approx(expected, rel=1e-6)
    half = len(tokens) // 2
    assert found.excess == pytest.approx(found.carried[half:].mean() - found.fresh[half:].mean())


def test_the_size_is_that_of_the_largest_layer_after_each_window(network):
    predictor, tokens = network("lstm", num_layers=2), encode_text(TOKENIZER, TEXT)
    state = predictor.initial_state(1)
    stream = torch.tensor([[TOKENIZER.eos_id, *tokens.ids.tolist()]])
    for number, size in enumerate(read(predictor).norms):
        window = stream[:, :-1][:, number * WINDOW : (number + 1) * WINDOW]
        _, state = predictor.score(window, window, state)
        assert size == pytest.approx(max(float(layer[0].square().mean().sqrt()) for layer in state), rel=1e-5)


def test_under_the_document_policy_the_longest_document_is_read(network):
    predictor = network("gru")
    text = "a cab\n\n" + TEXT + "\na bed\n"
    found = read(predictor, text, "blank-line", state="document")
    alone = read(predictor, TEXT + "\n")
    assert len(found.carried) in (len(alone.carried), len(alone.carried) + 1)  # the <eos> that closes it
    assert found.carried[: len(TEXT)] == pytest.approx(alone.carried[: len(TEXT)], rel=1e-6)


def test_where_no_state_is_carried_or_the_text_is_short_there_is_nothing_to_say(network):
    predictor = network("irnn", 2.0)
    assert read(predictor, state="reset") is None
    assert read(predictor, TEXT[: LEAST - 1]) is None
    assert read(predictor, TEXT[:LEAST]) is not None
    assert len(read(predictor, most=LEAST).carried) == LEAST
