"""Scores of tokens: every token once, the same as an evaluation's, whatever the chunks, windows and neighbours are."""

from __future__ import annotations

import json
import random
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.measurement import measure
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.evaluation.scoring import blocks as blocks_module
from lmkit.evaluation.scoring import reading
from lmkit.evaluation.scoring.blocks import token_blocks
from lmkit.evaluation.scoring.reading import score_blocks
from lmkit.evaluation.scoring.scoring import score_text, scored_tokens
from lmkit.samplers import IGNORE
from lmkit.text import TOKENIZERS, encode_path, encode_text
from lmkit.text.documents import EACH_LINE
from lmkit.text.tokenizers.kinds import tokenizer_from_json
from lmkit.text.tokenizers.lookup import word_level_document

KINDS = ["char", "word", "bpe"]
TEXT = (
    "the cat sat\n\n\n  on a  mat .\r\nthe é😀 cab\x00\tsat\r12 \u00a0 bad\x1ccab \u2028 on\n"
    + "the cat sat\n" * 3
    + "a mat"
)
NASTY = [
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "  ",
    "\t",
    "\0",
    "\x1c",
    "\u00a0",
    "\u2028",
    "the",
    " cat",
    "a",
    "é",
    "😀",
    "12",
    "'s",
]
texts = st.lists(st.sampled_from(NASTY), max_size=20).map("".join)


def scored(predictor, tokenizer, *files, **options):
    """The tokens of files, each a text or a list of chunks."""
    chunks = [[file] if isinstance(file, str) else file for file in files]
    blocks = score_text(predictor, tokenizer, chunks, **options)
    return list(chain.from_iterable(scored_tokens(block, tokenizer) for block in blocks))


def total(tokens):
    return sum(token.log_prob for token in tokens)


def close(values):
    return pytest.approx(values, abs=1e-5)


def log_probs(tokens):
    return [token.log_prob for token in tokens]


# The same number as an evaluation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("documents", ["file", "line", "blank-line"])
@pytest.mark.parametrize("state", ["carry", "document"])
@pytest.mark.parametrize("text", [TEXT, "a cab\n", "the", "a\n\ncat\n", "  \n"], ids=ascii)
def test_the_scores_add_up_to_the_evaluation(get, kind, documents, state, text):
    predictor, tokenizer = get(kind)
    tokens = encode_text(tokenizer, text, documents=documents)
    expected = measure(predictor, tokens, tokenizer, EvalOptions(state=state), split="text").evaluation
    found = scored(predictor, tokenizer, text, state=state, documents=documents)
    assert [token.id for token in found] == tokens.ids.tolist()
    assert -total(found) == pytest.approx(expected.nll, rel=1e-6)
    assert sum(token.oov for token in found) == expected.oov


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [TEXT, "a cab\n", "the", "a\n\ncat\n", "\n\n", "a\n  "], ids=ascii)
def test_the_scores_of_lines_add_up_to_the_evaluation_of_lines(get, kind, text):
    predictor, tokenizer = get(kind)
    tokens = encode_text(tokenizer, text, documents=EACH_LINE)
    found = scored(predictor, tokenizer, text, state="line")
    assert [token.id for token in found] == tokens.ids.tolist()
    for rows, window in ((1, 256), (1, 3), (3, 256), (50, 2)):
        made = measure(predictor, tokens, tokenizer, EvalOptions(state="line", rows=rows, window=window), split="text")
        assert -total(found) == pytest.approx(made.evaluation.nll, rel=1e-6)
        assert sum(token.oov for token in found) == made.evaluation.oov


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("state", "documents"),
    [("carry", "file"), ("carry", "line"), ("document", "file"), ("document", "line"), ("line", EACH_LINE)],
)
def test_the_scores_of_files_add_up_to_the_evaluation_of_their_folder(get, tmp_path, kind, state, documents):
    predictor, tokenizer = get(kind)
    files = ["a cat\nsat", "", "on a mat\n", "the cab"]
    for number, text in enumerate(files):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    tokens = encode_path(tokenizer, tmp_path, documents=documents)
    expected = measure(predictor, tokens, tokenizer, EvalOptions(state=state), split="text").evaluation
    found = scored(predictor, tokenizer, *files, state=state, documents="file" if state == "line" else documents)
    assert [token.id for token in found] == tokens.ids.tolist()
    assert -total(found) == pytest.approx(expected.nll, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_state_scores_each_line_as_an_evaluation_of_it_alone(get, kind):
    predictor, tokenizer = get(kind)
    found = scored(predictor, tokenizer, TEXT, state="line")
    for number, line in enumerate(TEXT.split("\n"), 1):
        line += "\n" if number <= TEXT.count("\n") else ""
        tokens = encode_text(tokenizer, line)
        expected = measure(predictor, tokens, tokenizer, split="text").evaluation
        mine = [token for token in found if token.line == number]
        assert [token.id for token in mine] == tokens.ids.tolist()
        assert -total(mine) == pytest.approx(expected.nll, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_token_is_scored_after_eos(get, kind):
    predictor, tokenizer = get(kind)
    first = scored(predictor, tokenizer, TEXT)[0]
    predicted, _ = predictor.distribution(torch.tensor([[tokenizer.eos_id]]), predictor.initial_state(1))
    assert first.log_prob == pytest.approx(float(predicted[0, 0, first.id]), abs=1e-6)
    assert (first.start, first.word, first.line) == (0, 1, 1)


# What must not matter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
def test_windows_do_not_matter(get, kind, state):
    predictor, tokenizer = get(kind)
    expected = scored(predictor, tokenizer, TEXT, state=state, documents="line")
    for window in (1, 3, 1000):
        found = scored(predictor, tokenizer, TEXT, state=state, documents="line", window=window)
        assert [token._replace(log_prob=0) for token in found] == [token._replace(log_prob=0) for token in expected]
        assert log_probs(found) == close(log_probs(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("state", "documents"), [("carry", "file"), ("document", "blank-line"), ("line", "file")])
@given(data=st.data())
def test_chunks_do_not_matter(tokenizer_of, kind, state, documents, data):
    tokenizer = tokenizer_of(kind)
    chunks = data.draw(st.lists(texts, min_size=1))

    def columns(files):
        found = list(token_blocks(tokenizer, files, state=state, documents=documents, marks=True))
        names = ("ids", "starts", "ends", "words", "lines", "pieces")
        return [[value for block in found for value in getattr(block, name).tolist()] for name in names]

    assert columns([chunks]) == columns([["".join(chunks)]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_the_size_of_blocks_does_not_matter(get, monkeypatch, kind, state, size):
    predictor, tokenizer = get(kind)
    options = {"state": state, "documents": "line", "words": True}
    expected = scored(predictor, tokenizer, TEXT, "a cab", **options)
    monkeypatch.setattr(blocks_module, "CHARACTERS", size)
    found = scored(predictor, tokenizer, TEXT, "a cab", **options)
    assert [token._replace(log_prob=0) for token in found] == [token._replace(log_prob=0) for token in expected]
    assert log_probs(found) == close(log_probs(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_lines_get_equal_scores_in_any_order_and_batch(get, kind):
    predictor, tokenizer = get(kind)
    lines = ["the cat sat\n", "a\n", "\n", "on a mat . the bad cab é\n", "the cat\n"] * 4
    (alone,) = [log_probs(scored(predictor, tokenizer, "the cat sat\n", state="line"))]
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        for rows in (1, 3, 64):
            blocks = token_blocks(tokenizer, [["".join(lines)]], state="line")
            sizes = {"eos_id": tokenizer.eos_id, "vocab_size": tokenizer.vocab_size}
            tokens = list(
                chain.from_iterable(
                    scored_tokens(block, tokenizer) for block in score_blocks(predictor, blocks, rows=rows, **sizes)
                )
            )
            for number, line in enumerate(lines, 1):
                if line == "the cat sat\n":
                    assert [token.log_prob for token in tokens if token.line == number] == close(alone)


def test_under_carry_equal_lines_get_scores_of_their_own(get):
    predictor, tokenizer = get("char")
    tokens = scored(predictor, tokenizer, "a cab\n" * 2)
    assert log_probs(tokens[:6]) != close(log_probs(tokens[6:]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "line"])
def test_asking_for_more_changes_no_score(get, monkeypatch, kind, state):
    predictor, tokenizer = get(kind)
    expected = scored(predictor, tokenizer, TEXT, state=state)
    found = scored(predictor, tokenizer, TEXT, state=state, entropy=True, rank=True, top_k=2, words=True)
    assert log_probs(found) == close(log_probs(expected))
    monkeypatch.setattr(reading, "NUMBERS_AT_ONCE", 100)  # less than one row of the vocabulary of BPE
    again = scored(predictor, tokenizer, TEXT, state=state, entropy=True, rank=True, top_k=2, words=True)
    assert log_probs(again) == close(log_probs(expected))
    assert [token.rank for token in again] == [token.rank for token in found]
    assert [token.entropy for token in again] == close([token.entropy for token in found])


# What a prediction says


@pytest.mark.parametrize("state", ["carry", "line"])
def test_entropy_rank_and_alternatives_are_those_of_the_distribution(get, state):
    predictor, tokenizer = get("char")
    tokens = scored(predictor, tokenizer, "the cat sat", state=state, entropy=True, rank=True, top_k=3)
    ids = [tokenizer.eos_id, *(token.id for token in tokens)]
    predicted, _ = predictor.distribution(torch.tensor([ids[:-1]]), predictor.initial_state(1))
    for token, row in zip(tokens, predicted[0].double(), strict=True):
        assert token.log_prob == pytest.approx(float(row[token.id]), abs=1e-5)
        assert token.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-5)
        assert token.rank == 1 + int((row > row[token.id]).sum())
        best = row.argsort(descending=True)[:3].tolist()
        assert [one.id for one in token.top] == best
        assert [one.token for one in token.top] == [tokenizer.id_to_token(id) for id in best]
        assert [one.log_prob for one in token.top] == close(row[best].tolist())


def test_more_alternatives_than_tokens_are_all_of_them(get):
    predictor, tokenizer = get("char")
    (token,) = scored(predictor, tokenizer, "a", top_k=10_000)
    assert sorted(one.id for one in token.top) == list(range(tokenizer.vocab_size))
    assert sum(np.exp(one.log_prob) for one in token.top) == pytest.approx(1, abs=1e-5)


def test_what_is_not_asked_for_is_not_there(get):
    (token,) = scored(*get("char"), "a")
    assert (token.entropy, token.rank, token.top) == (None, None, ())
    assert token.surprisal == pytest.approx(-token.log_prob / np.log(2))


def test_an_impossible_token_has_an_entropy_and_a_rank():
    class Sure:
        """Always the token 2."""

        def initial_state(self, batch_size):
            return None

        def distribution(self, tokens, state):
            return torch.tensor([-torch.inf, -torch.inf, 0.0]).expand(*tokens.shape, 3), state

    tokenizer = TOKENIZERS["char"].train(["a"])
    found = scored(Sure(), tokenizer, "ab", entropy=True, rank=True)
    assert [(token.log_prob, token.entropy, token.rank) for token in found] == [(0, 0, 1), (-np.inf, 0, 2)]


# Positions


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts.filter(bool))
def test_tokens_and_characters_are_those_of_the_tokenizer(tokenizer_of, kind, text):
    tokenizer = tokenizer_of(kind)
    expected_ids, expected_spans = tokenizer.encode_with_offsets(text)
    found = list(token_blocks(tokenizer, [[text]], state="carry"))
    assert [id for block in found for id in block.ids.tolist()] == expected_ids.tolist()
    assert [start for block in found for start in block.starts.tolist()] == expected_spans[:, 0].tolist()


def positions(tokenizer, text, **options):
    """Word and line of each token, and its characters."""
    found = token_blocks(tokenizer, [[text]], **{"state": "carry", **options})
    rows = [
        zip(block.words.tolist(), block.lines.tolist(), block.starts.tolist(), block.ends.tolist(), strict=True)
        for block in found
    ]
    return [(word, line, text[start:end]) for word, line, start, end in chain.from_iterable(rows)]


def test_words_and_lines_of_characters(tokenizer_of):
    assert positions(tokenizer_of("char"), "a b\n\n c ") == [
        (1, 1, "a"), (2, 1, " "), (2, 1, "b"), (3, 1, "\n"), (4, 2, "\n"), (5, 3, " "), (5, 3, "c"), (6, 3, " "),
    ]  # fmt: skip


def test_words_and_lines_of_words(tokenizer_of):
    assert positions(tokenizer_of("word"), " a  b \n\nc\r\n") == [
        (1, 1, "a"), (2, 1, "b"), (3, 1, "\n"), (4, 2, "\n"), (5, 3, "c"), (6, 3, "\n"),
    ]  # fmt: skip


def test_words_and_lines_of_pieces(tokenizer_of):
    assert positions(tokenizer_of("bpe"), "the catch\n\n\nsat on") == [
        (1, 1, "the"), (2, 1, " cat"), (2, 1, "c"), (2, 1, "h"), (3, 1, "\n\n"), (4, 3, "\n"), (5, 4, "sat"),
        (6, 4, " on"),
    ]  # fmt: skip


def test_the_end_of_a_document_is_a_word_of_the_line_that_it_closes(tokenizer_of):
    found = positions(tokenizer_of("char"), "a\nb\n", state="document", documents="line")
    assert found == [(1, 1, "a"), (2, 1, "\n"), (3, 1, ""), (4, 2, "b"), (5, 2, "\n"), (6, 2, "")]


def test_numbers_begin_anew_in_each_file(get):
    predictor, tokenizer = get("word")
    found = scored(predictor, tokenizer, "the cat\nsat", "a\nmat", state="line")
    assert [(token.start, token.word, token.line) for token in found] == [
        (0, 1, 1), (4, 2, 1), (7, 3, 1), (8, 4, 2), (0, 1, 1), (1, 2, 1), (2, 3, 2),
    ]  # fmt: skip


# Long and strange texts


def test_scores_come_before_the_text_has_been_read(get):
    predictor, tokenizer = get("char")
    read = []

    def chunks():
        for number in range(100):
            read.append(number)
            yield "the cat sat\n"

    for state in ("carry", "document", "line"):
        read.clear()
        next(score_text(predictor, tokenizer, [chunks()], state=state))
        assert len(read) <= 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
def test_blocks_stay_small_in_a_text_without_a_position_to_cut(tokenizer_of, kind, state, monkeypatch):
    monkeypatch.setattr(blocks_module, "CHARACTERS", 100)
    found = list(token_blocks(tokenizer_of(kind), [["ab😀" * 5000]], state=state))
    assert max(len(block) for block in found) < 110
    assert sum(len(block) for block in found) == len(tokenizer_of(kind).encode("ab😀" * 5000))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_is_no_token(get, kind):
    predictor, tokenizer = get(kind)
    blocks = list(token_blocks(tokenizer, [["a cat"]], state="line", marks=True))
    assert blocks[-1].ids[-1] == IGNORE
    assert IGNORE not in {token.id for token in scored(predictor, tokenizer, "a cat", state="line", words=True)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
@pytest.mark.parametrize("files", [[], [""], ["", ""]], ids=str)
def test_nothing_is_refused(get, kind, state, files):
    with pytest.raises(DataError, match="empty"):
        scored(*get(kind), *files, state=state)


def test_white_space_that_a_model_does_not_read_is_refused_before_any_block(get):
    predictor, tokenizer = get("word")
    with pytest.raises(DataError, match="white space"):
        next(score_text(predictor, tokenizer, [["  ", " \t"]]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["x", "é", "\0", "\n", "zzz qqq", "\r.", "\ufeff", "<eos>", "<unk>"], ids=ascii)
@pytest.mark.parametrize("state", ["carry", "line"])
def test_one_character_and_unknown_words_have_scores(get, kind, text, state):
    found = scored(*get(kind), text, state=state)
    assert found
    assert np.isfinite(log_probs(found)).all()


@pytest.mark.parametrize(
    "options", [{"state": "reset"}, {"documents": "chapter"}, {"state": ""}, {"top_k": -1}, {"window": 0}], ids=str
)
def test_options_that_cannot_be_are_refused(get, options):
    with pytest.raises(ConfigError):
        scored(*get("char"), "a", **options)


def test_a_foreign_tokenizer_is_read_as_it_is(make_model):
    document = word_level_document(
        ["<unk>", "</s>", "the", "cat", "."], normalizer=None, pre_tokenizer={"type": "Whitespace"}, decoder=None
    )
    tokenizer = tokenizer_from_json(json.dumps(document), "foreign")
    assert tokenizer.kind == "foreign"
    predictor = NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size))
    found = scored(predictor, tokenizer, "the cat.\nthe dog", state="carry", words=True)
    assert [(token.token, token.word, token.line) for token in found] == [
        ("the", 1, 1), ("cat", 2, 1), (".", 2, 1), ("the", 3, 2), ("<unk>", 4, 2),
    ]  # fmt: skip
