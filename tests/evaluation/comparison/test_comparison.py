"""Comparison: the same text in the same order for all runs, differences with what hangs on the text, and bands."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from lmkit.errors import ConfigError, DataError, FailedError
from lmkit.evaluation.comparison.alignment import (
    ScoredRun,
    coarsest,
    refuse_lossy,
    same_tokens,
    span_units,
    token_offsets,
    token_units,
)
from lmkit.evaluation.comparison.bootstrap import paired_test
from lmkit.evaluation.comparison.comparison import compare, count_blocks
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.losses import token_losses
from lmkit.evaluation.measurement import measure
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text import BPETokenizer, CharacterTokenizer, WordTokenizer, encode_text
from lmkit.text.tokenizers.tokenizer import Tokenizer

TEXT = "the cat sat on the mat\nthe dog ran to the tree\n\nthe wörld is 漢字 and 🐈 now\n" * 3


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {
        "char": CharacterTokenizer.train([TEXT]),
        "word": WordTokenizer.train([TEXT]),
        "bpe": BPETokenizer.train([TEXT], vocab_size=280),
    }


def scored(tokenizer: Tokenizer, text: str = TEXT, losses=None, *, name: str = "run", documents: str = "file"):
    tokens = encode_text(tokenizer, text, documents=documents)
    if losses is None:
        losses = np.random.default_rng(len(tokens)).gamma(2.0, size=len(tokens))
    return ScoredRun(name, tokenizer, tokens, np.asarray(losses, dtype=float), documents)


def noisy(size: int, seed: int, level: float = 2.0) -> np.ndarray:
    return level + np.random.default_rng(seed).standard_normal(size)


# The losses


@pytest.mark.parametrize("state", ["carry", "document"])
@pytest.mark.parametrize("rows", [1, 3])
def test_losses_come_in_the_order_of_the_text(make_model, state: str, rows: int):
    tokenizer = CharacterTokenizer.train([TEXT])
    tokens = encode_text(tokenizer, TEXT, documents="line")
    predictor = NetworkPredictor(make_model(vocab_size=tokenizer.vocab_size))
    losses = token_losses(
        predictor, tokens, tokenizer.eos_id, EvalOptions(state=state, rows=rows, warmup=1000, window=7)
    )
    expected = measure(
        predictor, tokens, tokenizer, EvalOptions(state=state, rows=rows, warmup=1000), split="test"
    ).evaluation
    assert losses.sum() == pytest.approx(expected.nll, rel=1e-6)
    one = token_losses(predictor, tokens, tokenizer.eos_id, EvalOptions(state=state))
    np.testing.assert_allclose(losses, one, atol=1e-5)


def test_losses_that_are_not_finite_are_refused(make_model):
    model = make_model(vocab_size=30)
    with torch.no_grad():
        model.head.bias[3] = math.nan
    tokenizer = CharacterTokenizer.train([TEXT])
    with pytest.raises(FailedError, match=r"token 1 of the text is nan: `lmkit doctor`"):
        token_losses(NetworkPredictor(model), encode_text(tokenizer, TEXT), tokenizer.eos_id)


# Tokens and spans as units


def test_tokens_know_their_place_and_how_frequent_they_were(tokenizers):
    run = scored(tokenizers["word"], "the cat\nthe zebra", documents="line")
    counts = np.zeros(tokenizers["word"].vocab_size, dtype=np.int64)
    counts[tokenizers["word"].encode("the cat\n")] = 90, 4, 30
    units = token_units([run, run], counts)
    # the cat <eos> | the <unk> <eos>: the last document is closed by one of its own
    assert units.positions.tolist() == [1, 2, 3, 1, 2, 3]
    assert units.frequencies is not None
    assert units.frequencies.tolist() == [90, 4, 30, 90, -1, 30]
    assert units.sizes.tolist() == [1] * 6
    assert units.losses.shape == (2, 6)


def test_spans_end_where_a_token_of_every_run_ends():
    text = "ab ü\n c"
    characters, words = CharacterTokenizer.train([text]), WordTokenizer.train([text])
    letters = scored(characters, text, [1, 2, 4, 8, 16, 32, 64])
    wholes = scored(words, text, [100, 200, 300, 400])
    units = span_units([letters, wholes], [(0, text)], None)
    # ab | space ü | line end | space c
    assert units.losses.tolist() == [[3, 12, 16, 96], [100, 200, 300, 400]]
    assert units.sizes.tolist() == [2, 3, 1, 2]
    assert units.positions.tolist() == [1, 3, 6, 7]
    assert units.frequencies is None


@pytest.mark.parametrize("documents", ["file", "line", "blank-line"])
@pytest.mark.parametrize("pair", [("char", "bpe"), ("bpe", "char"), ("char", "word"), ("bpe", "word")])
def test_spans_lose_neither_loss_nor_bytes(tokenizers, pair, documents: str):
    runs = [scored(tokenizers[kind], documents=documents) for kind in pair]
    units = span_units(runs, [(0, TEXT[:10]), (0, TEXT[10:])], None)
    assert units.sizes.sum() == len(TEXT.encode())
    assert units.sizes.min() >= 1
    np.testing.assert_allclose(units.losses.sum(axis=1), [run.losses.sum() for run in runs])
    assert units.positions.min() == 1
    if documents == "line":
        assert units.positions.max() < 60


def test_tokens_that_share_a_character_end_together(tokenizers):
    run = scored(tokenizers["bpe"])
    offsets = token_offsets(run, [(0, TEXT)])
    assert len(offsets.ends) == len(run.tokens)
    assert offsets.ends[-1] == len(TEXT)
    assert len(np.unique(offsets.ends)) < len(run.tokens)
    for end in np.unique(offsets.ends):
        count = np.searchsorted(offsets.ends, end, side="right")
        assert run.tokenizer.decode(run.tokens.ids[:count].tolist()) == TEXT[:end]


def test_the_same_tokenizer_with_other_documents_is_compared_over_spans(tokenizers):
    runs = [scored(tokenizers["char"]), scored(tokenizers["char"], documents="line")]
    assert not same_tokens(runs)
    assert same_tokens([runs[0], runs[0]])
    units = span_units(runs, [(0, TEXT)], None)
    assert len(units.sizes) == len(TEXT)  # every character; the closing <eos> goes with the character before it
    np.testing.assert_allclose(units.losses.sum(axis=1), [run.losses.sum() for run in runs])


def test_several_files_are_several_documents(tokenizers):
    run = scored(tokenizers["char"], documents="line", text="ab\ncd\n")
    assert token_offsets(run, [(0, "ab\n"), (0, "cd\n")]).document_starts.tolist() == [0, 3]
    with pytest.raises(FailedError, match="cannot be placed"):
        token_offsets(run, [(0, "ab\n"), (0, "ce\n")])


def test_spans_take_the_frequency_of_the_rarest_coarse_token(tokenizers):
    runs = [scored(tokenizers["char"]), scored(tokenizers["word"])]
    assert coarsest(runs) == 1
    counts = np.bincount(runs[1].tokens.ids, minlength=tokenizers["word"].vocab_size)
    units = span_units(runs, [(0, TEXT)], counts)
    assert units.frequencies is not None
    assert units.frequencies.tolist() == counts[runs[1].tokens.ids].tolist()  # each span is one word or line end


def test_text_that_is_lost_is_refused(tokenizers):
    runs = [scored(tokenizers["char"]), scored(tokenizers["bpe"])]
    refuse_lossy(runs)
    with pytest.raises(ConfigError, match=r"word tokens of words .*\(white space is lost\): --allow-lossy"):
        refuse_lossy([*runs, scored(tokenizers["word"], name="words")])
    with pytest.raises(ConfigError, match=r"char tokens of letters .*\(1 are <unk>\)"):
        refuse_lossy([runs[1], scored(tokenizers["char"], "the cät", name="letters")])


# Comparing


def ends(interval: Interval | None) -> tuple[float, float, float]:
    """Low, value, high of an interval that is there."""
    assert interval is not None and interval.low is not None and interval.high is not None
    return interval.low, interval.value, interval.high


def pair_of(tokenizers, losses: list[np.ndarray]):
    text = "the cat sat on the mat\n" * (len(losses[0]) // 23 + 1)
    runs = [scored(tokenizers["char"], text[: len(row)], row, name=f"run {k}") for k, row in enumerate(losses)]
    return runs, token_units(runs, None)


def test_differences_are_means_with_their_signs(tokenizers):
    base = noisy(4000, 1)
    runs, units = pair_of(tokenizers, [base, base - 0.1 + 0.05 * noisy(4000, 2, 0), base + 0.3])
    result = compare(runs, units, resamples=500)
    better, worse = result.differences
    assert better.difference.value == pytest.approx(runs[1].losses.mean() - base.mean())
    assert worse.difference.value == pytest.approx(0.3)
    low, value, high = ends(better.difference)
    assert low < value < high < 0
    assert better.p_value < 1e-6
    assert ends(better.perplexity_ratio) == pytest.approx((math.exp(low), math.exp(value), math.exp(high)))
    assert (result.unit, result.blocks, result.block) == ("nats_per_token", 16, 250)
    loss = result.runs[0]
    assert loss.loss.value == pytest.approx(base.mean())
    assert ends(loss.perplexity)[1] == pytest.approx(math.exp(base.mean()))
    assert loss.bits_per_byte.value == pytest.approx(base.mean() / math.log(2))  # one byte a character


def test_a_run_against_itself_differs_by_nothing(tokenizers):
    base = noisy(1000, 3)
    result = compare(*pair_of(tokenizers, [base, base]), resamples=200)
    (same,) = result.differences
    assert dataclasses.astuple(same.difference) == (0, 0, 0)
    assert (same.t, same.p_value) == (0, 1)


def test_pairing_finds_what_the_intervals_of_the_runs_cannot(tokenizers):
    base = noisy(3000, 4) * 2
    result = compare(*pair_of(tokenizers, [base, base - 0.02 + 0.01 * noisy(3000, 5, 0)]), resamples=500)
    low, _, high = ends(result.runs[0].loss)
    assert low < result.runs[1].loss.value < high
    assert result.differences[0].p_value < 0.001


def test_the_test_is_that_of_the_differences_of_blocks(tokenizers):
    """Its level where tokens hang together is tested in test_bootstrap.py."""
    base, other = noisy(4000, 7, 5.0), noisy(4000, 6, 5.0)
    runs, _ = pair_of(tokenizers, [base, other])
    row = compare(runs, token_units(runs, None), resamples=100).differences[0]
    expected = paired_test((other - base).reshape(16, 250).sum(axis=1), np.full(16, 250.0))
    assert (row.t, row.p_value) == pytest.approx(expected)
    assert 0.01 < row.p_value < 0.99


def test_bands_put_together_are_the_whole(tokenizers):
    runs, _ = pair_of(tokenizers, [noisy(2000, 8), noisy(2000, 9, 2.5)])
    counts = np.arange(tokenizers["char"].vocab_size) * 40
    result = compare(runs, token_units(runs, counts), resamples=300)
    assert result.by_frequency is not None
    for bands in (result.by_frequency, result.by_position):
        assert sum(band.units for band in bands) == 2000
        assert sum(band.share for band in bands) == pytest.approx(1)
        for number in range(2):
            whole = sum(band.share * band.losses[number].value for band in bands)
            assert whole == pytest.approx(runs[number].losses.mean())
    assert [(band.first, band.last) for band in result.by_position] == [(1, 9), (10, 99), (100, 999), (1000, 9999)]
    assert result.by_position[0].differences[0].low is None  # all of it is in one block
    low, _, high = ends(result.by_frequency[0].differences[0])
    assert low < 0.5 < high


def test_bits_per_byte_between_tokenizers(tokenizers):
    text = TEXT * 5
    letters, pieces = scored(tokenizers["char"], text), scored(tokenizers["bpe"], text)
    result = compare([letters, pieces], span_units([letters, pieces], [(0, text)], None), resamples=200)
    size = len(text.encode())
    assert result.unit == "bits_per_byte"
    for run, row in zip((letters, pieces), result.runs, strict=True):
        assert row.bits_per_byte.value == row.loss.value == pytest.approx(run.losses.sum() / size / math.log(2))
        assert row.perplexity is None
    expected = (pieces.losses.sum() - letters.losses.sum()) / size / math.log(2)
    assert result.differences[0].difference.value == pytest.approx(expected)


def test_the_same_seed_gives_the_same_figures_and_they_are_json(tokenizers):
    runs, units = pair_of(tokenizers, [noisy(900, 1), noisy(900, 2), noisy(900, 3) - 100])
    first = compare(runs, units, resamples=200, seed=5).as_dict()
    assert first == compare(runs, units, resamples=200, seed=5).as_dict()
    assert first != compare(runs, units, resamples=200, seed=6).as_dict()
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    constant = compare(*pair_of(tokenizers, [np.ones(900), np.ones(900) * 2]), resamples=100)
    assert constant.differences[0].t == math.inf
    assert constant.as_dict()["differences"][0]["t"] is None


def test_a_wider_confidence_is_a_wider_interval(tokenizers):
    runs, units = pair_of(tokenizers, [noisy(2000, 1), noisy(2000, 2)])
    levels = (0.5, 0.9, 0.99)
    found = [compare(runs, units, resamples=2000, confidence=level).differences[0].difference for level in levels]
    widths = [high - low for low, _, high in map(ends, found)]
    assert 0 < widths[0] < widths[1] < widths[2]


def test_too_short_a_text_or_too_long_a_block_is_refused():
    assert count_blocks(5, None, "token") == 5
    assert count_blocks(1000, 200, "token") == 5
    with pytest.raises(DataError, match=r"A text of 4 tokens is too short"):
        count_blocks(4, None, "token")
    with pytest.raises(DataError, match=r"A text of 3 bytes"):
        count_blocks(3, 1, "span")
    with pytest.raises(ConfigError, match=r"--block 300 cuts 1,000 tokens into 3 blocks.*--block 200 or less"):
        count_blocks(1000, 300, "token")
