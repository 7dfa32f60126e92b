"""All levels of a stack of adapters in one pass: the numbers of each level by itself, each model read once, gains with
intervals.
"""

from __future__ import annotations

import json
import math
import random
import weakref
from collections import Counter
from typing import Any

import pytest
import torch

from lmkit.errors import ConfigError
from lmkit.evaluation.adapters.adapters import Parts, stack
from lmkit.evaluation.adapters.dynamic import gradient_squares
from lmkit.evaluation.adapters.levels import Adapted, measure_stack
from lmkit.evaluation.adapters.tuning import FLATNESSES, RATES, Grid, _best, _Reading, ends_of_grids, tune
from lmkit.evaluation.comparison.alignment import ScoredRun, token_units
from lmkit.evaluation.comparison.comparison import compare
from lmkit.evaluation.comparison.losses import token_losses
from lmkit.evaluation.measurement import evaluation_windows, measure
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.evaluation.options import AdapterSettings, EvalOptions
from lmkit.evaluation.predictor import TOLERANCE, NetworkPredictor
from lmkit.samplers import SequentialSampler
from lmkit.text import CharacterTokenizer, encode_text
from lmkit.text.token_file import TokenFile

WORDS = ["the cat", "a dog", "ran to", "saw it", "on the mat", "in a tree"]
DRAW = random.Random(1)
TEXT = "".join(f"{' '.join(DRAW.choices(WORDS, k=3))}\n" for _ in range(16))
TOKENIZER = CharacterTokenizer.train([TEXT.replace("w", "")])  # w is unknown
EOS, VOCAB = TOKENIZER.eos_id, TOKENIZER.vocab_size
ALL = AdapterSettings(
    dynamic=True, dynamic_span=9, dynamic_lr=0.01, cache=40, cache_flatness=0.7, ngram_weight=0.3, mixed_weights=(0.2,)
)
STILL = AdapterSettings(cache=40, cache_flatness=0.7, ngram_weight=0.3, mixed_weights=(0.2,))


@pytest.fixture(scope="module")
def tokens() -> TokenFile:
    return encode_text(TOKENIZER, TEXT, documents="line")


@pytest.fixture(scope="module")
def parts(make_model, tokens) -> Parts:
    model = make_model(vocab_size=VOCAB)
    windows = list(SequentialSampler(tokens.ids, eos_id=EOS, batch_size=4, window=9).epoch(0))
    ngram = NgramModel.train(tokens.ids[::-1], vocab_size=VOCAB, order=3, eos_id=EOS)
    other = NetworkPredictor(make_model("gru", vocab_size=VOCAB))
    return Parts(model, gradient_squares(model, windows), ngram, (other,), ngram_name="3-gram")


def adapted(parts: Parts, settings: AdapterSettings, tokens: TokenFile, **how: Any) -> Adapted:
    return measure_stack(parts, tokens, TOKENIZER, EvalOptions(adapters=settings, **how), split="test")


def short(text: str) -> TokenFile:
    return encode_text(TOKENIZER, text, documents="file")


HOW: list[dict[str, Any]] = [
    {"window": 13},
    {"window": 1000},
    {"state": "document", "window": 13},
    {"state": "reset", "window": 13},
    {"rows": 3, "warmup": 20, "window": 13},
    {"rows": 3, "state": "document", "window": 13},
]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_one_pass_gives_the_numbers_of_each_level_measured_by_itself(parts, tokens, how):
    settings = STILL if "rows" in how else ALL
    # rows are read on until all that a level is made of agrees, and each alone until it agrees itself
    near = TOLERANCE * len(tokens) if "warmup" in how else 0.0
    found = adapted(parts, settings, tokens, **how)
    layers = stack(parts, settings)
    alone = [*[layer.predictor for layer in layers], parts.ngram]
    assert [level.name for level in found.levels] == [*[layer.name for layer in layers], "3-gram alone"]
    for level, predictor in zip(found.levels, alone, strict=True):
        expected = measure(predictor, tokens, TOKENIZER, EvalOptions(**how), split="test")
        assert level.evaluation.nll == pytest.approx(expected.evaluation.nll, rel=1e-9, abs=near)
        assert level.evaluation.oov_nll == pytest.approx(expected.evaluation.oov_nll, rel=1e-9, abs=near)
        rest = {"nll": 0.0, "oov_nll": 0.0, "seams_repaired": 0}
        assert vars(level.evaluation) | rest == vars(expected.evaluation) | rest
        assert level.measurement[1:] == expected[1:]


def test_a_stack_without_some_adapters_is_measured_too(parts, tokens):
    bare = Parts(parts.model, parts.squares)
    for settings in (AdapterSettings(dynamic=True, dynamic_span=9), AdapterSettings(cache=5), AdapterSettings()):
        found = adapted(bare, settings, tokens).levels
        for level, layer in zip(found, stack(bare, settings), strict=True):
            expected = measure(layer.predictor, tokens, TOKENIZER, split="test").evaluation
            assert level.evaluation.nll == pytest.approx(expected.nll, rel=1e-9)


class Reads:
    """Counts the tokens that networks and n-gram models score, and looks at how many hidden vectors are kept."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tokens: Counter[str] = Counter()
        self.vectors: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
        self.most_kept = 0
        network, ngram = NetworkPredictor.hidden_and_scores, NgramModel.score

        def read_network(predictor, tokens, targets, state):
            hidden, scores, state = network(predictor, tokens, targets, state)
            self.tokens["network"] += tokens.numel()
            self.vectors.add(hidden)
            self.most_kept = max(self.most_kept, len(self.vectors))
            return hidden, scores, state

        def read_ngram(model, tokens, targets, state):
            self.tokens["n-gram"] += tokens.numel()
            return ngram(model, tokens, targets, state)

        patch.setattr(NetworkPredictor, "hidden_and_scores", read_network)
        patch.setattr(NgramModel, "score", read_ngram)


def test_measuring_reads_the_text_once_with_each_model_and_keeps_no_hidden_vectors(parts, tokens, monkeypatch):
    reads = Reads(monkeypatch)
    adapted(parts, ALL, tokens, window=9)
    # the network, the same under dynamic evaluation, the other network
    assert reads.tokens == {"network": 3 * len(tokens), "n-gram": len(tokens)}
    assert reads.most_kept <= 6


def test_tuning_reads_the_text_once_for_each_rate_and_once_with_each_other_model(parts, tokens, monkeypatch):
    reads = Reads(monkeypatch)
    chosen = tune(parts, ALL, lambda: whole(tokens))
    assert reads.tokens == {"network": (tried(RATES, chosen.dynamic_lr) + 1) * len(tokens), "n-gram": len(tokens)}
    reads = Reads(monkeypatch)
    tune(parts, STILL, lambda: whole(tokens))
    assert reads.tokens["network"] == 2 * len(tokens)


def tried(grid: Grid, best: float) -> int:
    """How many values tuning reads that ends at this one: all of the start, and one beyond the best."""
    for beyond in (grid.below, grid.above):
        if best in beyond:
            return len(grid.start) + min(len(beyond), beyond.index(best) + 2)
    return len(grid.start) + (best in (grid.start[0], grid.start[-1]))


@pytest.mark.parametrize("best", [*RATES.below, *RATES.start, *RATES.above])
def test_tuning_goes_on_where_the_best_is_at_an_end_of_its_grid_and_no_further(best):
    read = []

    def reading(rates):
        for rate in rates:
            read.append(rate)
            yield _Reading(AdapterSettings(dynamic_lr=rate), -torch.tensor([abs(math.log(rate / best))]), ())

    assert _best(RATES, reading).settings.dynamic_lr == best
    assert len(read) == len(set(read)) == tried(RATES, best)


@pytest.mark.parametrize("grid", [RATES, FLATNESSES])
def test_settings_at_the_last_value_that_is_tried_have_a_note(grid):
    def notes(value: float) -> list[str]:
        values: dict[str, Any] = {"dynamic": True, "cache": 5, grid.setting: value}
        return ends_of_grids(AdapterSettings(**values))

    assert "smallest" in notes(grid.below[-1])[0]
    assert "largest" in notes(grid.above[-1])[0]
    assert notes(grid.start[0]) == notes(grid.below[0]) == []
    assert ends_of_grids(AdapterSettings(dynamic_lr=RATES.above[-1], cache_flatness=FLATNESSES.above[-1])) == []


def whole(tokens: TokenFile, **how: Any):
    return evaluation_windows(tokens, EOS, EvalOptions(**{"window": 50, **how}))


@pytest.mark.parametrize("state", ["carry", pytest.param("document", marks=pytest.mark.slow)])
def test_what_tuning_chooses_is_the_best_of_its_grids(parts, tokens, state):
    # of so few tokens that neither is so good, or so bad, that its share would be all or nothing
    two = [
        NgramModel.train(part, vocab_size=VOCAB, order=3, eos_id=EOS) for part in (tokens.ids[40:60], tokens.ids[:6])
    ]
    mixed = parts._replace(ngram=two[0], others=(two[1],))

    def nll(settings: AdapterSettings, level: int) -> float:
        predictor = stack(mixed, settings)[level].predictor
        return measure(predictor, tokens, TOKENIZER, EvalOptions(state=state, window=50), split="valid").evaluation.nll

    def changed(**values: Any) -> AdapterSettings:
        return AdapterSettings(**{**vars(chosen), **values})

    chosen = tune(mixed, ALL, lambda: whole(tokens, state=state))
    assert chosen.dynamic_lr == min(RATES.start + RATES.above, key=lambda rate: nll(changed(dynamic_lr=rate), 1))
    best = nll(chosen, 2)
    for flatness in FLATNESSES.start:
        for weight in (0.5, 0.98, 1.02):
            nearby = changed(cache_flatness=flatness, cache_weight=min(0.999, weight * chosen.cache_weight))
            assert best <= nll(nearby, 2) * (1 + 1e-9)
    assert min(chosen.ngram_weight, *chosen.mixed_weights) > 0.01
    for factor in (0.98, 1.02):
        assert nll(chosen, 3) <= nll(changed(ngram_weight=factor * chosen.ngram_weight), 3) * (1 + 1e-9)
        share = (factor * chosen.mixed_weights[0],)
        assert nll(chosen, 4) <= nll(changed(mixed_weights=share), 4) * (1 + 1e-9)


# Gains


def test_a_gain_and_its_interval_are_those_of_a_comparison_of_two_runs(parts, tokens):
    found = adapted(parts, ALL, tokens)
    predictors = [*[layer.predictor for layer in stack(parts, ALL)], parts.ngram]
    runs = [
        ScoredRun(level.name, TOKENIZER, tokens, token_losses(predictor, tokens, EOS), "line")
        for level, predictor in zip(found.levels, predictors, strict=True)
    ]
    for place, level in enumerate(found.levels):
        below = None if level.name in ("network", "3-gram alone") else place - 1
        for gain, baseline in ((level.gain, 0 if place else None), (level.gain_below, below)):
            if baseline is None:
                assert gain is None
                continue
            pair = [runs[baseline], runs[place]]
            result = compare(pair, token_units(pair, None))
            ratio = result.differences[0].perplexity_ratio
            assert gain is not None
            assert ratio is not None
            assert ratio.low is not None
            assert ratio.high is not None
            expected = [1 - ratio.value, 1 - ratio.high, 1 - ratio.low]
            assert [gain.value, gain.low, gain.high] == pytest.approx(expected, abs=1e-9)
            assert gain.low is not None
            assert gain.high is not None
            assert gain.low < gain.value < gain.high
            assert found.blocks is not None
            how = (result.blocks, result.block, result.confidence, result.resamples, result.seed)
            assert tuple(found.blocks) == how


def test_a_gain_is_the_relative_reduction_of_perplexity(parts, tokens):
    levels = adapted(parts, ALL, tokens).levels
    perplexity = [level.evaluation.perplexity for level in levels]
    for place in range(1, len(levels)):
        gain, below = levels[place].gain, levels[place].gain_below
        assert gain is not None
        assert gain.value == pytest.approx(1 - perplexity[place] / perplexity[0])
        if place < len(levels) - 1:
            assert below is not None
            assert below.value == pytest.approx(1 - perplexity[place] / perplexity[place - 1])


def test_an_adapter_that_changes_nothing_gains_nothing_for_sure(parts, tokens):
    settings = AdapterSettings(mixed_weights=(0.5,))
    itself = Parts(parts.model, others=(NetworkPredictor(parts.model),))
    gain = adapted(itself, settings, tokens).levels[1].metrics()
    assert [gain["gain"], gain["gain_low"], gain["gain_high"]] == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_text_too_short_for_blocks_has_gains_without_intervals_and_a_note(parts):
    found = adapted(parts, STILL, short("the "))
    metrics = found.metrics()
    assert metrics["adapter_intervals"] is None
    assert metrics["adapter_notes"] == ["A text of 4 tokens is too short for intervals."]
    for row in metrics["adapters"][1:]:
        assert isinstance(row["gain"], float)
        assert row["gain_low"] is row["gain_high"] is row["gain_below_low"] is row["gain_below_high"] is None
    enough = adapted(parts, STILL, short("the c")).metrics()
    assert enough["adapter_notes"] == []
    assert enough["adapters"][1]["gain_low"] is not None


def test_a_level_that_runs_away_has_no_numbers_and_the_others_keep_theirs(parts, tokens):
    wild = AdapterSettings(dynamic=True, dynamic_span=9, dynamic_lr=1e40)
    metrics = adapted(parts._replace(others=()), wild, tokens).metrics()
    network, dynamic, mixed, ngram = json.loads(json.dumps(metrics, allow_nan=False))["adapters"]
    for row in (dynamic, mixed):
        assert all(value is None for name, value in row.items() if name != "name")
    assert network["perplexity"] > 1
    assert ngram["gain_low"] < ngram["gain_high"]
    assert "--dynamic-lr" in metrics["adapter_notes"][0]


def test_the_networks_measurement_is_that_of_a_measurement_without_adapters(parts, tokens):
    plain = measure(
        NetworkPredictor(parts.model), tokens, TOKENIZER, EvalOptions(rows=3, warmup=999), split="test"
    ).metrics()
    with_adapters = adapted(parts, STILL, tokens, rows=3, warmup=999).network.metrics()
    assert with_adapters.keys() == plain.keys()
    for name, value in plain.items():
        assert with_adapters[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


def test_a_lower_precision_is_that_of_every_network(parts, tokens, needs_bfloat16):
    needs_bfloat16()
    lower = parts._replace(precision=torch.bfloat16)
    found = adapted(lower, ALL, tokens).levels
    expected = measure(NetworkPredictor(parts.model, torch.bfloat16), tokens, TOKENIZER, split="test")
    assert found[0].evaluation.nll == pytest.approx(expected.evaluation.nll, rel=1e-9)
    exact = adapted(parts, ALL, tokens).levels
    assert found[0].measurement.precision == "bfloat16"
    assert found[1].evaluation.nll != exact[1].evaluation.nll
    assert found[1].evaluation.nll == pytest.approx(exact[1].evaluation.nll, rel=0.02)


def test_dynamic_evaluation_of_rows_is_refused_and_one_document_is_one_row(parts, tokens):
    for state in ("carry", "document"):
        with pytest.raises(ConfigError, match="--rows 1"):
            adapted(parts, ALL, tokens, rows=2, state=state)
    one = short("the cat saw it")
    assert adapted(parts, ALL, one, rows=2, state="document").network.rows == 1


def test_impossible_settings_are_refused(parts, tokens):
    with pytest.raises(ConfigError, match="squares"):
        adapted(Parts(parts.model), AdapterSettings(dynamic=True), tokens)
    with pytest.raises(ConfigError, match="--cache-weight"):
        adapted(parts, AdapterSettings(cache=3, cache_weight=1.5, mixed_weights=(0.1,)), tokens)
    with pytest.raises(ConfigError, match="weights"):
        adapted(parts, AdapterSettings(ngram_weight=0.1), tokens)  # none for the other model


def test_losses_stand_at_the_place_of_their_token_whatever_the_rows(parts, tokens):
    one = adapted(parts, STILL, tokens, rows=1, warmup=len(tokens))
    many = adapted(parts, STILL, tokens, rows=4, warmup=len(tokens))
    for a, b in zip(one.levels, many.levels, strict=True):
        metrics = b.metrics()
        for name, value in a.metrics().items():
            expected = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            assert metrics[name] == expected, (a.name, name)
