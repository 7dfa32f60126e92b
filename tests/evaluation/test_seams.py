"""Rows that prove themselves: whatever rows, warm-up and window are, the value is that of the one stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmkit.config import ModelConfig
from lmkit.evaluation.adapters.adapters import Components, Parts, stack
from lmkit.evaluation.adapters.levels import measure_stack
from lmkit.evaluation.comparison.alignment import ScoredRun, token_units
from lmkit.evaluation.comparison.comparison import compare
from lmkit.evaluation.comparison.losses import scored_losses
from lmkit.evaluation.measurement import measure, rows_read, text_scores
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.evaluation.options import AdapterSettings, EvalOptions
from lmkit.evaluation.perplexity import Evaluation, evaluate, evaluation_of
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.evaluation.seams import AGREEING
from lmkit.model.language_model import LanguageModel
from lmkit.samplers import IGNORE, stream_windows
from lmkit.text import CharacterTokenizer, encode_text
from lmkit.text.token_file import TokenFile

UP, DOWN = "ud"
TOKENIZER = CharacterTokenizer.train(["udxy"])
VOCAB = TOKENIZER.vocab_size


@pytest.fixture(scope="module")
def latch() -> NetworkPredictor:
    """An LSTM of one unit whose gates are saturated: UP and DOWN set its cell to 1 and -1, all other tokens leave it as
    it is. What it predicts depends on the cell, so a state of zero is wrong until the next UP or DOWN, however long.
    """
    model = LanguageModel(ModelConfig(cell="lstm", hidden_size=1, embedding_size=VOCAB, dropout=0.0), VOCAB)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        weights = dict(model.named_parameters())
        weights["embedding.weight"].copy_(torch.eye(VOCAB))
        # input, forget, cell, output
        weights["recurrent.layers.0.bias_ih_l0"].copy_(torch.tensor([-30.0, 30, 0, 30]))
        for token, cell in ((UP, 30.0), (DOWN, -30.0)):
            gates = weights["recurrent.layers.0.weight_ih_l0"]
            gates[:, int(TOKENIZER.encode(token)[0])] = torch.tensor([60.0, -60, cell, 0])
        weights["head.weight"].copy_(torch.linspace(-2, 2, VOCAB)[:, None])
    return NetworkPredictor(model)


def text_of(length: int, marks: dict[int, str]) -> TokenFile:
    """x and y at random, with a few UP and DOWN at the given places."""
    letters = np.random.default_rng(0).choice(["x", "y"], size=length).tolist()
    for place, mark in marks.items():
        letters[place] = mark
    return encode_text(TOKENIZER, "".join(letters))


def measured(predictor: Any, tokens: TokenFile, **how: Any) -> Evaluation:
    return measure(predictor, tokens, TOKENIZER, EvalOptions(**{"warmup": 0, **how}), split="test").evaluation


LONG = text_of(1500, {3: UP, 170: DOWN, 600: UP, 1210: DOWN})


@pytest.mark.parametrize("rows", [2, 7, 23])
@pytest.mark.parametrize("warmup", [0, 10, 100])
def test_rows_of_a_model_with_a_long_memory_give_the_figure_of_the_one_stream(latch, rows, warmup):
    one = measured(latch, LONG)
    for window in (50, 1000):
        found = measured(latch, LONG, rows=rows, warmup=warmup, window=window)
        assert found.nll == pytest.approx(one.nll, rel=1e-6)
        assert found.tokens == one.tokens
        assert found.seams_repaired > 0
        assert found.seams_open == 0
    cold = measured(latch, LONG, rows=rows, warmup=warmup, max_passes=0)
    assert cold.nll != pytest.approx(one.nll, rel=1e-3)
    assert cold.seams_repaired == 0


@settings(max_examples=25)
@given(
    length=st.integers(1, 400),
    marks=st.dictionaries(st.integers(0, 399), st.sampled_from([UP, DOWN]), max_size=4),
    rows=st.integers(1, 12),
    warmup=st.integers(0, 90),
    window=st.integers(1, 100),
    max_passes=st.sampled_from([None, 12]),
)
def test_the_figure_is_the_one_streams_for_every_text_and_every_cut(
    latch, length, marks, rows, warmup, window, max_passes
):
    tokens = text_of(length, {place: mark for place, mark in marks.items() if place < length})
    one = measured(latch, tokens)
    found = measured(latch, tokens, rows=rows, warmup=warmup, window=window, max_passes=max_passes)
    assert found.tokens == one.tokens == length
    if max_passes is None or length >= AGREEING * rows:  # shorter rows can only prove themselves by what they have
        assert found.nll == pytest.approx(one.nll, rel=1e-6)
        assert found.seams_open == 0


def test_the_rows_that_had_to_be_corrected_are_counted(latch):
    # rows of 300: the second and third lack DOWN, the fourth and fifth UP from the third row's last tokens
    tokens = text_of(1500, {3: DOWN, 890: UP})
    found = measure(latch, tokens, TOKENIZER, EvalOptions(rows=5, warmup=0), split="test")
    assert found.evaluation.seams_repaired == 4
    assert (found.metrics()["seams_repaired"], found.metrics()["seams_open"]) == (4, 0)
    # a warm-up of 100 tokens sees the UP, and the fourth row is right
    assert measured(latch, tokens, rows=5, warmup=100).seams_repaired == 3


class Sticks:
    """Gives every y a tenth of its probability where the first token that was read is an x, until a DOWN is read."""

    tolerance = 1e-4
    x, y, down = (int(TOKENIZER.encode(letter)[0]) for letter in ("x", "y", DOWN))
    FRESH, SOUND, STUCK = range(3)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.full((batch_size,), self.FRESH)

    def reset(self, state: Tensor, rows: Tensor) -> Tensor:
        return state.masked_fill(rows, self.FRESH)

    def gather(self, rows: Sequence[tuple[Tensor, int]]) -> Tensor:
        return torch.stack([state[row] for state, row in rows])

    def score(self, tokens: Tensor, targets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        columns = []
        for read, target in zip(tokens.T, targets.T, strict=True):
            state = torch.where((state == self.FRESH) & (read == self.x), self.STUCK, state.clamp_min(self.SOUND))
            state = torch.where(read == self.down, self.SOUND, state)
            wrong = (state == self.STUCK) & (target == self.y)
            columns.append(torch.where(wrong, -math.log(20), -math.log(2)).masked_fill(target == IGNORE, 0))
        return torch.stack(columns, dim=1), state

    def distribution(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def test_a_row_that_is_right_does_not_follow_one_that_was_wrong():
    # of rows of 300 the second one begins after an x and is stuck to its end, the third one after a y and is right
    letters = list("yx" * 450)
    letters[299], letters[599] = "xy"
    tokens = encode_text(TOKENIZER, "".join(letters))
    one = measured(Sticks(), tokens)
    cold = measured(Sticks(), tokens, rows=3, max_passes=0)
    assert cold.nll > 1.1 * one.nll
    found = measured(Sticks(), tokens, rows=3, max_passes=1)
    assert found.nll == pytest.approx(one.nll, rel=1e-9)
    assert (found.seams_repaired, found.seams_open) == (1, 1)
    proven = measured(Sticks(), tokens, rows=3)
    assert (proven.nll, proven.seams_repaired, proven.seams_open) == (found.nll, 1, 0)


def test_with_one_pass_the_rows_that_are_not_proven_are_counted(latch):
    tokens = text_of(1500, {3: UP})
    one, once = measured(latch, tokens), measured(latch, tokens, rows=5, warmup=0, max_passes=1)
    # the second row is corrected, and the third was read from its old end; the rest agree, wrong as they all are
    assert (once.seams_repaired, once.seams_open) == (1, 1)
    assert once.nll != pytest.approx(one.nll, rel=1e-3)
    twice = measured(latch, tokens, rows=5, warmup=0, max_passes=2)
    assert (twice.seams_repaired, twice.seams_open) == (2, 1)


def test_without_a_pass_rows_are_what_their_windows_give_to_the_last_bit(latch):
    how: dict[str, Any] = {"rows": 7, "warmup": 20, "window": 30}
    found = measured(latch, LONG, max_passes=0, **how)
    expected = evaluate(latch, stream_windows(LONG.ids, eos_id=TOKENIZER.eos_id, **how), TOKENIZER.unk_id)
    assert found.nll == expected.nll
    assert (found.seams_repaired, found.seams_open) == (0, 6)


@pytest.mark.parametrize("cell", ["rnn", "irnn", "gru", "lstm"])
def test_rows_that_agree_at_once_keep_their_bits(make_model, cell):
    predictor = NetworkPredictor(make_model(cell, num_layers=2, vocab_size=VOCAB))
    how = {"rows": 6, "warmup": 200, "window": 77}
    found = measured(predictor, LONG, **how)
    assert found.nll == measured(predictor, LONG, max_passes=0, **how).nll
    assert (found.seams_repaired, found.seams_open) == (0, 0)
    assert found.nll == pytest.approx(measured(predictor, LONG).nll, rel=1e-6)


def test_a_row_whose_warmup_reaches_the_beginning_needs_no_proof(latch):
    found = measured(latch, LONG, rows=8, warmup=len(LONG), max_passes=0)
    assert found.seams_open == 0
    assert found.nll == pytest.approx(measured(latch, LONG).nll, rel=1e-6)


@pytest.mark.parametrize(("length", "rows", "expected"), [(1, 64, 1), (63, 2, 1), (128, 64, 2), (1500, 1000, 23)])
def test_a_carried_stream_has_no_more_rows_than_can_prove_themselves(latch, length, rows, expected):
    tokens = text_of(length, {0: UP})
    made = measure(latch, tokens, TOKENIZER, EvalOptions(rows=rows), split="test")
    assert made.rows == expected == rows_read(tokens, EvalOptions(rows=rows))
    assert made.evaluation.nll == pytest.approx(measured(latch, tokens).nll, rel=1e-6)


@pytest.mark.parametrize("rows", [30, 100, 1000])
def test_with_few_passes_short_rows_are_read_as_they_are(latch, rows):
    # of 50, 15 and one token: they agree where UP is not lost, and every token is scored whatever they are
    tokens = text_of(1500, {700: UP})
    found = measured(latch, tokens, rows=rows, warmup=5, max_passes=1)
    assert found.tokens == 1500
    assert found.seams_open > 0
    lucky = measured(latch, text_of(1500, {}), rows=rows, warmup=5, max_passes=1)
    assert (lucky.seams_repaired, lucky.seams_open) == (0, 0)


def test_a_model_that_gives_no_numbers_is_measured_to_the_end(make_model):
    model = make_model("gru", vocab_size=VOCAB)
    with torch.no_grad():
        model.head.bias[TOKENIZER.encode("x")[0]] = math.nan
    found = measured(NetworkPredictor(model), LONG, rows=4, warmup=3)
    assert math.isnan(found.nll)
    assert (found.seams_repaired, found.seams_open) == (0, 0)


# Every predictor


@pytest.fixture(scope="module")
def parts(latch, make_model) -> Parts:
    ngram = NgramModel.train(LONG.ids[::-1], vocab_size=VOCAB, order=4, eos_id=TOKENIZER.eos_id)
    other = NetworkPredictor(make_model("gru", vocab_size=VOCAB))
    return Parts(latch.model, None, ngram, (other,), ngram_name="4-gram")


SETTINGS = AdapterSettings(cache=150, cache_flatness=0.7, cache_weight=0.4, ngram_weight=0.3, mixed_weights=(0.2,))


def test_every_predictor_gathers_rows_of_its_states(parts):
    layers = [layer.predictor for layer in stack(parts, SETTINGS)]
    generator = torch.Generator().manual_seed(1)
    first, second, third = torch.randint(VOCAB, (3, 4, 6), generator=generator)
    for predictor in (*layers, parts.ngram, Components(parts, SETTINGS)):
        _, one = predictor.score(first, first, predictor.initial_state(4))
        _, other = predictor.score(second, second, predictor.initial_state(4))
        chosen = [(one, 2), (other, 0), (one, 1)]
        found, _ = predictor.score(third[:3], third[:3], predictor.gather(chosen))
        for place, (state, row) in enumerate(chosen):
            same = third[place].expand(4, -1)
            expected, _ = predictor.score(same, same, state)
            # rounded as float32 is, also where scores are in float64: three rows can round unlike four
            torch.testing.assert_close(
                found[..., place, :], expected[..., row, :], rtol=1e-5, atol=1e-6, equal_nan=True
            )


def test_rows_of_every_predictor_give_the_figure_of_the_one_stream(parts):
    how = {"rows": 5, "warmup": 20, "window": 60}
    for predictor in (*[layer.predictor for layer in stack(parts, SETTINGS)], parts.ngram):
        one = measured(predictor, LONG)
        assert measured(predictor, LONG, **how).nll == pytest.approx(one.nll, abs=1e-4 * one.tokens, rel=0)
        assert measured(predictor, LONG, **how).nll == pytest.approx(one.nll, rel=1e-5)


def test_rows_of_a_stack_give_each_level_the_figure_of_the_one_stream(parts):
    def levels(**how: Any) -> list[Evaluation]:
        made = measure_stack(parts, LONG, TOKENIZER, EvalOptions(adapters=SETTINGS, **how), split="test")
        return [level.evaluation for level in made.levels]

    for found, one in zip(levels(rows=5, warmup=20, window=60), levels(), strict=True):
        assert found.nll == pytest.approx(one.nll, rel=1e-5)
        assert (found.seams_repaired, found.seams_open) == (4, 0)


def test_losses_of_rows_are_those_of_the_one_stream(latch):
    eos = TOKENIZER.eos_id
    one = scored_losses(latch, LONG, eos)
    found = scored_losses(latch, LONG, eos, EvalOptions(rows=5, warmup=20, window=60))
    np.testing.assert_allclose(found.values, one.values, atol=2e-4)
    assert one.seams == (0, 0)
    assert found.seams.repaired > 0


def test_a_comparison_tells_of_each_run_how_many_seams_were_repaired(latch):
    losses = scored_losses(latch, LONG, TOKENIZER.eos_id)
    runs = [
        ScoredRun(name, TOKENIZER, LONG, losses.values, seams_repaired=count) for name, count in (("a", 0), ("b", 3))
    ]
    metrics = compare(runs, token_units(runs, None)).as_dict()
    assert [run["seams_repaired"] for run in metrics["runs"]] == [0, 3]


def test_the_scores_of_rows_are_those_of_their_windows(latch):
    how: dict[str, Any] = {"rows": 5, "warmup": 20, "window": 60}
    scores, seams = text_scores(latch, LONG, TOKENIZER.eos_id, EvalOptions(**how))
    found = evaluation_of(scores, TOKENIZER.unk_id) + seams.evaluation()
    made = measured(latch, LONG, **how)
    assert (made.nll, made.tokens, made.seams_repaired) == (found.nll, found.tokens, found.seams_repaired)
