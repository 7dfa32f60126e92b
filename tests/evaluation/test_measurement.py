"""A measurement: an evaluation under a state policy, with the text's own counts."""

import json
import math
from itertools import pairwise

import pytest

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.measurement import evaluation_windows, measure, measurement_of
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import Evaluation, evaluate, token_scores
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.samplers import IGNORE, stream_windows
from lmkit.text.corpus import encode_text
from lmkit.text.documents import EACH_LINE
from lmkit.text.tokenizers.kinds import TOKENIZERS

LINES = ["a cab", "dad had a bad bed", "é", "be a bee", "a cab", "", "ha"]
TEXT = "\n".join(LINES) + "\n"


@pytest.fixture(scope="module")
def tokenizer():
    return TOKENIZERS["char"].train(["abcde h\n" * 3])  # no é


@pytest.fixture(scope="module")
def words():
    return TOKENIZERS["word"].train(["a cab dad had a bad bed be a bee\n"])


@pytest.fixture
def predictor(make_model, tokenizer):
    return NetworkPredictor(make_model("lstm", vocab_size=tokenizer.vocab_size))


def measured(predictor, tokenizer, documents="file", text=TEXT, split="test", **options):
    tokens = encode_text(tokenizer, text, documents=documents)
    return measure(predictor, tokens, tokenizer, EvalOptions(**options), split=split)


def test_a_measurement_counts_the_text_in_every_unit(predictor, tokenizer):
    found = measured(predictor, tokenizer).evaluation
    assert found.chars == len(TEXT) == found.tokens
    assert found.bytes == len(TEXT) + 1  # é has two
    assert found.words == len(TEXT.split())
    assert found.line_ends == len(LINES)
    assert found.oov == 1
    expected = evaluate(
        predictor,
        stream_windows(encode_text(tokenizer, TEXT).ids, eos_id=tokenizer.eos_id, window=9),
        tokenizer.unk_id,
    )
    assert found.nll == pytest.approx(expected.nll, rel=1e-6)
    assert found.oov_nll == pytest.approx(expected.oov_nll, rel=1e-6)


def test_a_measurement_says_how_it_was_made(predictor, tokenizer):
    made = measured(predictor, tokenizer, text=TEXT * 3, rows=2, warmup=30, window=5, split="valid")
    assert (made.split, made.state, made.rows, made.warmup, made.window) == ("valid", "carry", 2, 30, 5)
    assert made.precision == "float32"
    assert made.lossless == tokenizer.lossless


def test_the_rows_that_are_told_are_those_that_were_read(predictor, tokenizer):
    for state, documents, expected in (("reset", "file", len(TEXT)), ("document", "line", len(LINES))):
        assert measured(predictor, tokenizer, documents, state=state, rows=1000).rows == expected


@pytest.mark.parametrize(("text", "noted"), [("a cab\n" * 33 + "x", False), ("a cab\n" * 30 + "x x", True)])
def test_more_than_two_in_a_hundred_unknown_words_are_told_with_what_they_mean(make_model, words, text, noted):
    text += " <unk>" * 5  # these are the text's own
    tokens = encode_text(words, text)
    found = measure(NetworkPredictor(make_model(vocab_size=words.vocab_size)), tokens, words, split="test")
    unknown = text.split().count("x")
    metrics = found.metrics()
    assert (metrics["unknown_tokens"], metrics["oov_written_tokens"]) == (unknown, 5)
    assert metrics["oov_tokens"] == unknown + 5
    assert metrics["unknown_rate"] == unknown / len(tokens)
    notes = [note for note in metrics["notes"] if "<unk>" in note]
    assert len(notes) == noted
    if noted:
        assert f"{unknown} of {len(tokens)} tokens" in notes[0]
        assert "same vocabulary" in notes[0]


@pytest.mark.parametrize(
    ("nll", "words"),
    [
        (math.nan, "not a number"),
        (math.inf, "infinite"),
        (8e5, "too large"),
        (300.0, "worse than guessing"),
        (10.0, ""),
    ],
)
def test_a_figure_that_no_sound_model_has_comes_with_its_reason(tokenizer, nll, words):
    tokens = encode_text(tokenizer, "a bad cab" * 10)
    made = measurement_of(Evaluation(nll=nll, tokens=len(tokens)), tokens, tokenizer, EvalOptions(), split="test")
    metrics = json.loads(json.dumps(made.metrics(), allow_nan=False))
    assert words in "".join(metrics["notes"])
    assert len(metrics["notes"]) == bool(words)
    assert (metrics["perplexity"] is None) == (metrics["not_finite"] is not None)
    assert metrics["not_finite"] == (metrics["notes"][0] if metrics["perplexity"] is None else None)


def test_figures_are_ready_for_json(predictor, tokenizer):
    made = measured(predictor, tokenizer)
    metrics = json.loads(json.dumps(made.metrics(), allow_nan=False))
    found = made.evaluation
    expected = {
        "nll_nats": found.nll,
        "tokens": found.tokens,
        "perplexity": found.perplexity,
        "bits_per_token": found.bits_per_token,
        "bits_per_char": found.bits_per_char,
        "bits_per_byte": found.bits_per_byte,
        "word_perplexity": found.word_perplexity,
        "oov_tokens": found.oov,
        "perplexity_excluding_oov": found.perplexity_excluding_oov,
        "state": "carry",
        "rows": 1,
        "warmup": 0,
        "window": made.window,
        "precision": "float32",
        "split": "test",
        "lossless": made.lossless,
    }
    assert {name: metrics[name] for name in expected} == expected


def test_a_figure_that_does_not_exist_is_none(predictor, tokenizer):
    tokens = encode_text(tokenizer, " ")
    metrics = measure(predictor, tokens, tokenizer, split="test").metrics()
    assert metrics["word_perplexity"] is None
    assert metrics["perplexity"] is not None
    json.dumps(metrics, allow_nan=False)


def test_figures_of_a_hopeless_model_are_ready_for_json(predictor, tokenizer):
    hopeless = Evaluation(nll=1e9, tokens=3, chars=3, bytes=3, words=1)
    metrics = measured(predictor, tokenizer)._replace(evaluation=hopeless).metrics()
    json.dumps(metrics, allow_nan=False)


def test_the_number_does_not_depend_on_the_window(predictor, tokenizer):
    values = [measured(predictor, tokenizer, window=window).evaluation.nll for window in (1, 5, 35, 1000)]
    assert values == pytest.approx([values[0]] * 4, rel=1e-6)


def test_carried_documents_are_one_stream(predictor, tokenizer):
    tokens = encode_text(tokenizer, TEXT, documents="line")
    found = measure(predictor, tokens, tokenizer, split="test")
    assert found.evaluation.tokens == len(tokens.ids)
    stream = evaluate(predictor, stream_windows(tokens.ids, eos_id=tokenizer.eos_id, window=1000))
    assert found.evaluation.nll == pytest.approx(stream.nll, rel=1e-6)


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize(("rows", "window"), [(1, 3), (1, 1000), (3, 4), (50, 2)])
def test_the_state_begins_anew_at_each_document(make_model, tokenizer, words, kind, rows, window):
    tokenizer = {"char": tokenizer, "word": words}[kind]
    predictor = NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size))
    tokens = encode_text(tokenizer, TEXT, documents="line")
    made = measure(predictor, tokens, tokenizer, EvalOptions(state="document", rows=rows, window=window), split="test")
    bounds = [*tokens.document_starts.tolist(), len(tokens.ids)]
    separate = Evaluation()
    for start, end in pairwise(bounds):
        piece = stream_windows(tokens.ids[start:end], eos_id=tokenizer.eos_id, window=1000)
        separate += evaluate(predictor, piece, tokenizer.unk_id)
    assert made.evaluation.tokens == separate.tokens == len(tokens.ids)
    assert made.evaluation.nll == pytest.approx(separate.nll, rel=1e-6)
    assert made.evaluation.oov == separate.oov
    assert made.state == "document"


def test_equal_documents_get_equal_scores_wherever_they_stand(predictor, tokenizer):
    def document_scores(lines):
        tokens = encode_text(tokenizer, "\n".join(lines) + "\n", documents="line")
        windows = evaluation_windows(tokens, tokenizer.eos_id, EvalOptions(state="document", window=100))
        for scores in token_scores(predictor, windows):
            yield float(scores.log_probs[scores.targets != IGNORE].sum())

    lines = ["a cab", "dad", "a cab", "bee"]
    forward, backward = list(document_scores(lines)), list(document_scores(lines[::-1]))
    assert forward == pytest.approx(backward[::-1], rel=1e-6)
    assert forward[0] == pytest.approx(forward[2], rel=1e-6)
    assert not math.isclose(forward[0], forward[1], rel_tol=1e-3)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
@pytest.mark.parametrize(("rows", "window"), [(1, 3), (1, 1000), (3, 4), (50, 2)])
def test_a_line_is_read_alone_whatever_stands_before_it(make_model, kind, rows, window):
    tokenizer = TOKENIZERS[kind].train([TEXT], vocab_size=290 if kind == "bpe" else None)
    predictor = NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size))
    tokens = encode_text(tokenizer, TEXT, documents=EACH_LINE)
    made = measure(predictor, tokens, tokenizer, EvalOptions(state="line", rows=rows, window=window), split="test")
    separate = Evaluation()
    for line in LINES:
        separate += measure(predictor, encode_text(tokenizer, line + "\n"), tokenizer, split="line").evaluation
    assert made.evaluation.nll == pytest.approx(separate.nll, rel=1e-6)
    assert made.evaluation.tokens == separate.tokens
    assert made.evaluation.chars == separate.chars
    assert made.evaluation.words == separate.words
    assert (made.state, made.rows) == ("line", min(rows, len(LINES)))


@pytest.mark.parametrize(("state", "documents"), [("line", "file"), ("line", "line"), ("carry", EACH_LINE)])
def test_a_state_that_does_not_go_with_the_tokens_is_refused(predictor, tokenizer, state, documents):
    with pytest.raises(ConfigError, match=f"--state {state} does not go"):
        measured(predictor, tokenizer, documents, state=state)


@pytest.mark.parametrize(("state", "documents"), [("carry", "file"), ("document", "line"), ("line", EACH_LINE)])
def test_a_text_without_tokens_cannot_be_measured(make_model, words, state, documents):
    predictor = NetworkPredictor(make_model("gru", vocab_size=words.vocab_size))
    with pytest.raises(DataError, match="no token"):
        measure(
            predictor, encode_text(words, " \t", documents=documents), words, EvalOptions(state=state), split="test"
        )


def test_reset_windows_start_from_zero(predictor, tokenizer):
    tokens = encode_text(tokenizer, TEXT)
    made = measured(predictor, tokenizer, state="reset", window=4)
    expected = evaluate(predictor, stream_windows(tokens.ids, eos_id=tokenizer.eos_id, window=4, state="reset"))
    assert made.evaluation.nll == pytest.approx(expected.nll, rel=1e-6)
    assert made.window == 4
    assert made.evaluation.nll != pytest.approx(measured(predictor, tokenizer).evaluation.nll, rel=1e-4)


def test_word_perplexity_of_a_word_model_is_its_perplexity(make_model, words):
    predictor = NetworkPredictor(make_model("lstm", vocab_size=words.vocab_size))
    found = measure(predictor, encode_text(words, TEXT), words, split="test").evaluation
    assert found.tokens == found.words + found.line_ends
    assert found.word_perplexity == pytest.approx(found.perplexity, rel=1e-9)
