"""The Python API: a trained model samples, measures, scores and encodes, and all of it fits together."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lmkit
from lmkit.errors import ConfigError, DataError, LmkitError, RunError
from tests.runs import SMALL

TEXT = "The cat sat on the mat.\nThe dog ran to the tree, naïve as ever.\n" * 60
OTHER = "The dog sat on the naïve cat.\nThe tree ran."
KINDS: dict[str, dict[str, Any]] = {
    "char": {},
    "word": {"tokenizer": "word"},
    "bpe": {"tokenizer": "bpe", "vocab_size": 265},
    "adaptive": {"tokenizer": "word", "head": "adaptive", "tie_embeddings": True, "cell": "gru", "num_layers": 2},
    "document": {"sampler": "document", "documents": "line"},
}

Get = Callable[[str], lmkit.TrainedModel]


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """A trained model of a kind, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    made: dict[str, lmkit.TrainedModel] = {}

    def call(kind: str) -> lmkit.TrainedModel:
        if kind not in made:
            options = {**SMALL, "epochs": 3, "lr": 0.02, **KINDS[kind]}
            made[kind] = lmkit.train(folder / "text.txt", out=folder / kind, quiet=True, **options)
        return made[kind]

    return call


@pytest.fixture
def lm(get: Get) -> lmkit.TrainedModel:
    return get("char")


def test_everything_in_all_is_there_and_explains_itself():
    for name in lmkit.__all__:
        thing = getattr(lmkit, name)
        assert inspect.getdoc(thing), name
        assert thing.__module__.startswith("lmkit.")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        lmkit.no_such_name  # noqa: B018
    assert not hasattr(lmkit, "torch")
    assert lmkit.__version__


def test_a_run_is_loaded_by_a_path_of_any_kind(lm: lmkit.TrainedModel):
    assert lm.run is not None
    for path in (lm.run.path, str(lm.run.path)):
        again = lmkit.load(path)
        assert again.sample(length=20) == lm.sample(length=20)
        assert again.config == lm.config
        assert not again.model.training


def test_what_is_no_run_is_an_error_that_says_so(tmp_path: Path):
    with pytest.raises(RunError, match="no-such"):
        lmkit.load(tmp_path / "no-such")
    with pytest.raises(RunError, match=r"config\.json"):
        lmkit.load(tmp_path)


def test_a_device_that_does_not_exist_is_an_error_that_says_so(lm: lmkit.TrainedModel):
    assert lm.run is not None
    with pytest.raises(ConfigError, match="tpu"):
        lmkit.load(lm.run.path, device="tpu")


def test_unknown_options_of_train_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="hidden_size"):
        lmkit.train("text.txt", out=tmp_path / "run", hiden_size=5)  # type: ignore[call-arg]
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_by_a_relative_path_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lmkit.train("text.txt", out="run", max_steps=1, quiet=True, **SMALL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    name, tokens = lmkit.load("../run").split_tokens()
    assert (name, len(tokens)) == ("test", len(TEXT) // 10)


# Sampling


def test_a_sample_is_a_function_of_its_arguments(lm: lmkit.TrainedModel):
    first = lm.sample("The ", length=30, seed=4, temperature=0.8)
    torch.manual_seed(99)
    assert lm.sample("The ", length=30, seed=4, temperature=0.8) == first
    assert lm.sample("The ", length=30, seed=5, temperature=0.8) != first
    assert lm.sample("The ", length=30, seed=4, stream=1, temperature=0.8) != first
    assert lm.sample("The ", length=30, seed=4, decoding=lmkit.Decoding(temperature=0.8)) == first


def test_sampling_draws_nothing_from_torch_s_generator(lm: lmkit.TrainedModel):
    before = torch.get_rng_state()
    lm.sample(length=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_sample_in_pieces(get: Get, kind: str):
    pieces = list(get(kind).stream("The ", length=40))
    assert "".join(pieces) == get(kind).sample("The ", length=40)
    assert all(pieces), "no empty pieces"


@pytest.mark.parametrize("kind", KINDS)
def test_two_streams_side_by_side_do_not_disturb_each_other(get: Get, kind: str):
    lm = get(kind)
    expected = [lm.sample("The", length=15, stream=number) for number in range(2)]
    streams = [lm.stream("The", length=15, stream=number) for number in range(2)]
    found = ["", ""]
    for _ in range(200):
        for number, stream in enumerate(streams):
            found[number] += next(stream, "")
    assert found == expected


def test_texts_that_are_made_together_are_those_made_alone(lm: lmkit.TrainedModel, monkeypatch):
    monkeypatch.setattr("lmkit.api.TOGETHER", 3)
    texts = ["".join(pieces) for pieces in lm.streams("a", range(5), length=20, seed=2)]
    assert texts == [lm.sample("a", length=20, seed=2, stream=stream) for stream in range(5)]


def test_of_a_text_that_is_not_read_no_more_is_made_than_the_others_need(lm: lmkit.TrainedModel):
    texts = lm.streams("a", [4, 1], length=20)
    next(next(texts))
    second = next(texts)
    assert "".join(second) == lm.sample("a", length=20, stream=1)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_sample_is_what_a_score_would_expect(get: Get, kind: str):
    """Temperature 0 takes the most probable token: no other continuation scores higher at its first token."""
    lm = get(kind)
    text = "The dog"
    chosen = lm.sample(text, length=1, temperature=0)
    best = lm.score(text + chosen)[-1].log_prob
    vocabulary = [lm.tokenizer.decode([id]) for id in range(2 if kind == "char" else 1, lm.tokenizer.vocab_size)]
    for piece in vocabulary[:60]:
        tokens = lm.score(text + piece)
        if len(tokens) == len(lm.score(text)) + 1:
            assert tokens[-1].log_prob <= best + 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"length": 0},
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 1.5},
        {"min_p": 0},
        {"warmth": 1},
        {"decoding": lmkit.Decoding(), "temperature": 1.0},
        {"seed": -1},
        {"seed": 2**64},
        {"stop": [""]},
    ],
    ids=str,
)
def test_rules_that_cannot_be_are_refused_before_the_first_piece(lm: lmkit.TrainedModel, options: dict[str, Any]):
    with pytest.raises(ConfigError):
        lm.stream("The", **options)


def test_a_single_stop_string_is_not_taken_letter_by_letter(lm: lmkit.TrainedModel):
    whole = lm.sample(length=60)
    stop = whole[20:24]
    assert lm.sample(length=60, stop=stop) == whole[: whole.index(stop)]
    assert lm.sample(length=60, stop=[stop]) == whole[: whole.index(stop)]


# Measuring


def test_scores_and_evaluation_read_as_the_model_was_trained(tmp_path: Path):
    (tmp_path / "lines.txt").write_text(TEXT, encoding="utf-8")
    options = {**SMALL, "sampler": "document", "documents": "line", "max_steps": 2}
    lm = lmkit.train(tmp_path / "lines.txt", out=tmp_path / "run", quiet=True, **options)
    expected = lm.evaluate(OTHER).nll
    for scored in (lm.score(OTHER), lm.score_lines(OTHER)):
        assert -sum(entry.log_prob for entry in scored) == pytest.approx(expected, rel=1e-5)
    carried = lm.score(OTHER, state="carry", documents="file")
    assert -sum(token.log_prob for token in carried) == pytest.approx(
        lm.evaluate(OTHER, state="carry", documents="file").nll, rel=1e-5
    )
    assert len(carried) < len(lm.score(OTHER))  # each document is closed by <eos>


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_add_up_to_the_evaluation(get: Get, kind: str):
    scores = get(kind).score(OTHER)
    evaluation = get(kind).evaluate(OTHER)
    assert len(scores) == evaluation.tokens
    assert -sum(token.log_prob for token in scores) == pytest.approx(evaluation.nll, rel=1e-5)
    assert get(kind).perplexity(OTHER) == pytest.approx(math.exp(evaluation.nll / len(scores)))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_for_every_window(get: Get, kind: str):
    expected = get(kind).score(OTHER)
    for window in (1, 2, 7, 1000):
        found = get(kind).score(OTHER, window=window)
        assert [token[:4] for token in found] == [token[:4] for token in expected]
        assert [token.log_prob for token in found] == pytest.approx([token.log_prob for token in expected], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_token_is_scored(get: Get, kind: str):
    lm = get(kind)
    first = lm.score(OTHER)[0]
    assert first.start == 0
    assert first.log_prob < 0
    with torch.no_grad():
        logits, _ = lm.model(torch.tensor([[lm.tokenizer.eos_id]]), lm.model.initial_state(1))
    expected = logits[0, 0].double().log_softmax(0)[first.id]
    assert first.log_prob == pytest.approx(float(expected), abs=1e-5)


def test_one_token_can_be_scored(lm: lmkit.TrainedModel):
    (token,) = lm.score("T")
    assert token[:4] == ("T", lm.tokenizer.token_to_id("T"), 0, 1)
    assert token.surprisal == pytest.approx(-token.log_prob / math.log(2))


def test_spans_of_characters_and_words_are_the_text_s_own(get: Get):
    scores = get("char").score(OTHER)
    assert "".join(token.token for token in scores) == OTHER
    assert [(token.start, token.end) for token in scores] == [(place, place + 1) for place in range(len(OTHER))]
    for token in get("word").score(OTHER):
        piece = OTHER[token.start : token.end]
        assert token.token in (piece, "<unk>") or (piece, token.token) == ("\n", "<eos>")


def test_spans_of_bytes_cover_the_text(get: Get):
    text = "The naïve 🙂 cat"
    scores = get("bpe").score(text)
    covered = [False] * len(text)
    for token, following in zip(scores, [*scores[1:], None], strict=True):
        assert 0 <= token.start < token.end <= len(text)
        covered[token.start : token.end] = [True] * (token.end - token.start)
        if following is not None:
            assert token.start <= following.start
            assert token.end <= following.end
    assert all(covered)


def test_an_unknown_character_keeps_its_place(lm: lmkit.TrainedModel):
    token = lm.score("The Ж cat")[4]
    assert (token.token, token.start, token.end) == ("<unk>", 4, 5)
    assert lm.unknown_characters("The Ж Ж cat Я") == ["Ж", "Я"]
    assert lm.unknown_characters("") == []


def test_equal_texts_get_equal_scores_whatever_was_scored_before(lm: lmkit.TrainedModel):
    first = lm.score("The cat sat.")
    lm.score("Something else altogether. " * 10)
    lm.sample(length=20)
    assert lm.score("The cat sat.") == first


def test_an_evaluation_counts_every_unit(lm: lmkit.TrainedModel):
    result = lm.evaluate(OTHER)
    counts = (result.tokens, result.chars, result.bytes, result.words, result.line_ends, result.oov)
    assert counts == (len(OTHER), len(OTHER), len(OTHER.encode()), len(OTHER.split()), 1, 0)
    assert result.bits_per_byte == pytest.approx(result.nll / math.log(2) / len(OTHER.encode()))
    twice = result + result
    assert twice.perplexity == pytest.approx(result.perplexity)
    assert twice.chars == 2 * result.chars


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_the_same_for_every_window(get: Get, kind: str):
    expected = get(kind).evaluate(OTHER)
    for window in (1, 5, 1000):
        assert get(kind).evaluate(OTHER, window=window).nll == pytest.approx(expected.nll, rel=1e-5)


def test_lines_can_be_documents(lm: lmkit.TrainedModel):
    one, two = OTHER.splitlines(keepends=True)
    together = lm.evaluate(OTHER, documents="line", state="document")
    apart = lm.evaluate(one) + lm.evaluate(two)
    assert together.tokens == apart.tokens + 2  # each document is closed by <eos>
    assert together.chars == apart.chars
    assert together.nll > apart.nll


@pytest.mark.parametrize(
    "options",
    [
        {"state": "nonsense"},
        {"rows": 0},
        {"rows": -1},
        {"window": 0},
        {"window": -3},
        {"warmup": -1},
        {"documents": "chapter"},
    ],
    ids=str,
)
def test_options_of_an_evaluation_that_cannot_be_are_refused(lm: lmkit.TrainedModel, options: dict[str, Any]):
    with pytest.raises(LmkitError):
        lm.evaluate(OTHER, **options)


def test_a_window_of_nothing_is_refused(lm: lmkit.TrainedModel):
    with pytest.raises(LmkitError):
        lm.score(OTHER, window=0)


def test_nothing_cannot_be_measured(lm: lmkit.TrainedModel):
    for measure in (lm.evaluate, lm.perplexity, lm.score, lm.features):
        with pytest.raises(DataError, match="empty"):
            measure("")


@pytest.mark.parametrize("text", [" ", "\n", "\0", "🙂" * 30, "e\u0301", "\u2028", "<eos>", "<unk> <eos>"], ids=ascii)
@pytest.mark.parametrize("kind", KINDS)
def test_any_text_can_be_measured(get: Get, kind: str, text: str):
    lm = get(kind)
    if kind in ("word", "adaptive") and not text.strip() and "\n" not in text:  # no word and no line end: no token
        with pytest.raises(DataError):
            lm.perplexity(text)
        return
    assert lm.perplexity(text) > 1
    assert len(lm.score(text)) == lm.evaluate(text).tokens
    assert isinstance(lm.sample(text, length=2), str)


# Features


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_one_vector_a_token(get: Get, kind: str):
    lm = get(kind)
    features = lm.features(OTHER)
    assert features.shape == (len(lm.tokenizer.encode(OTHER)), 8)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert torch.equal(features, lm.features(OTHER))
    assert torch.allclose(lm.features(OTHER[:12])[:2], features[:2], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_scores_are_made_from(get: Get, kind: str):
    """The vector after token t predicts token t + 1 in the stream that is scored, which begins with ``<eos>``."""
    lm = get(kind)
    with torch.no_grad():
        log_probs = lm.model.head.log_probs(lm.features(OTHER))
    scores = lm.score(OTHER, state="carry", documents="file")
    expected = [token.log_prob for token in scores[1:]]
    found = [float(log_probs[place, token.id]) for place, token in enumerate(scores[1:])]
    assert found == pytest.approx(expected, abs=1e-4)


# Splits and files


def test_a_split_is_measured_as_on_the_command_line(lm: lmkit.TrainedModel):
    name, tokens = lm.split_tokens()
    assert name == "test"
    begin = int(0.9 * len(TEXT))
    assert lm.measure(tokens, split=name).evaluation.nll == pytest.approx(lm.evaluate(TEXT[begin:]).nll, rel=1e-6)
    with pytest.raises(RunError, match="nothing"):
        lm.split_tokens("nothing")


def test_a_file_is_measured_like_its_text(lm: lmkit.TrainedModel, tmp_path: Path):
    (tmp_path / "other.txt").write_text(OTHER, encoding="utf-8")
    tokens = lm.file_tokens(tmp_path / "other.txt")
    assert lm.measure(tokens, split="other").evaluation == lm.evaluate(OTHER)


def test_a_model_without_a_run_has_no_splits(lm: lmkit.TrainedModel):
    alone = lmkit.TrainedModel(lm.model, lm.tokenizer, lm.config)
    assert alone.sample("The", length=5)
    assert alone.perplexity(OTHER) == lm.perplexity(OTHER)
    with pytest.raises(RunError, match="no run"):
        alone.split_tokens()


def test_the_parts_fit_together_without_the_command_line(tmp_path: Path):
    """The documented way for those who bring a loop of their own."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    corpus = lmkit.build_corpus(lmkit.DataConfig(corpus=str(tmp_path / "text.txt")))
    model = lmkit.LanguageModel(lmkit.ModelConfig(hidden_size=8), corpus.tokenizer.vocab_size)
    train = corpus.splits["train"]
    sampler = lmkit.SequentialSampler(train.ids, eos_id=corpus.tokenizer.eos_id, batch_size=4, window=16)
    result = lmkit.evaluate(lmkit.NetworkPredictor(model), sampler.epoch(0), corpus.tokenizer.unk_id)
    assert result.tokens == len(train)
    assert result.nats_per_token == pytest.approx(math.log(corpus.tokenizer.vocab_size), rel=0.05)
    columns = lmkit.generate(
        lmkit.StepDecoder(model), [corpus.tokenizer.eos_id], model.initial_state(1), decoding=lmkit.Decoding()
    )
    assert next(columns).ids.shape == (1,)
