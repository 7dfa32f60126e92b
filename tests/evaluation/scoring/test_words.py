"""Words and lines: their probabilities are proper, depend on nothing that follows, and add up to the tokens' own."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.evaluation.scoring.lines import scored_lines
from lmkit.evaluation.scoring.scoring import score_text, scored_tokens
from lmkit.evaluation.scoring.words import ScoredWord, follows_word, scored_words
from lmkit.samplers import IGNORE
from lmkit.text import TOKENIZERS, BPETokenizer
from lmkit.text.tokenizers.bpe import byte_alphabet
from lmkit.text.tokenizers.tokenizer import EOS
from lmkit.text.whitespace import split_words

KINDS = ["char", "word", "bpe"]
TEXT = "the cat sat\n\n\n  on a  mat .\r\nthe é😀 cab\x00\tsat\r12 \u00a0 bad\x1ccab \u2028 on\na mat "


class Markov:
    """The next token depends on the last one alone, by a table (V, V) of log-probabilities."""

    tolerance = 1e-4

    def __init__(self, table):
        self.table = table

    def initial_state(self, batch_size):
        return torch.zeros(batch_size)

    def reset(self, state, rows):
        return state

    def gather(self, rows):
        return torch.zeros(len(rows))

    def score(self, tokens, targets, state):
        known = targets != IGNORE
        found = self.distribution(tokens, state)[0].gather(2, (targets * known)[..., None])[..., 0]
        return found.masked_fill(~known, 0), state

    def distribution(self, tokens, state):
        return self.table[tokens], state


def test_a_line_that_rests_on_unknown_words_is_flagged_but_not_for_those_the_text_holds(get):
    predictor, tokenizer = get("word")
    known = tokenizer.id_to_token(2)
    texts = [f"{known} " * 9 + "zzz", f"{known} " * 7 + "zzz", f"{known} " * 7 + "<unk>", "zzz <unk>"]
    lines = lines_of(predictor, tokenizer, "".join(text + "\n" for text in texts))
    assert [(line.oov, line.unknown, line.rests_on_unk) for line in lines] == [
        (1, 1, False),  # one of eleven tokens
        (1, 1, True),
        (1, 0, False),
        (2, 1, True),
    ]


def words_of(predictor, tokenizer, *files, **options):
    chunks = [[file] if isinstance(file, str) else file for file in files]
    return list(scored_words(score_text(predictor, tokenizer, chunks, words=True, **options), tokenizer))


def lines_of(predictor, tokenizer, *files, **options):
    chunks = [[file] if isinstance(file, str) else file for file in files]
    return list(scored_lines(score_text(predictor, tokenizer, chunks, **options), tokenizer))


def tokens_of(predictor, tokenizer, *files, **options):
    blocks = score_text(predictor, tokenizer, [[file] for file in files], **options)
    return [token for block in blocks for token in scored_tokens(block, tokenizer)]


def token_sum(*arguments, **options):
    return sum(token.log_prob for token in tokens_of(*arguments, **options))


# Probabilities that are proper


def pieces_that_carry_a_space():
    """A byte-level BPE of the words over a and b, whose first letter comes with its space; its living tokens."""
    alphabet = sorted(byte_alphabet())
    tokenizer = BPETokenizer([EOS, *alphabet, "Ġa", "Ġb"], [("Ġ", "a"), ("Ġ", "b")])
    return tokenizer, ["a", "b", "Ġa", "Ġb", "Ċ"]


def plain_characters():
    return TOKENIZERS["char"].train(["ab \n"]), ["a", "b", " ", "\n"]


def random_markov(tokenizer, living):
    """Random odds between the living tokens, from every token; each ends a word with a good chance."""
    ids = [tokenizer.token_to_id(token) for token in living]
    odds = torch.zeros(tokenizer.vocab_size, tokenizer.vocab_size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(7)
    chances = torch.rand(tokenizer.vocab_size, len(ids), generator=generator, dtype=torch.float64) + 0.1
    chances[:, 2:4] += 3
    if "Ġa" in living:  # a second letter is likely, a third one is not
        chances[[tokenizer.token_to_id("Ġa"), tokenizer.token_to_id("Ġb")], :2] += 20
    if " " in living:  # one space between words, or the lists of words would not end
        chances[tokenizer.token_to_id(" "), 2:] = 0
    odds[:, ids] = chances / chances.sum(1, keepdim=True)
    return Markov(odds.log())


@pytest.mark.parametrize("make", [pieces_that_carry_a_space, plain_characters])
def test_the_probabilities_of_all_words_that_can_follow_sum_to_one(make):
    tokenizer, living = make()
    predictor = random_markov(tokenizer, living)
    longest = 12
    candidates = ["".join(letters) for size in range(longest) for letters in itertools.product("ab", repeat=size + 1)]
    text = "".join(f"ab {word}\n" for word in candidates)
    words = words_of(predictor, tokenizer, text, state="line")
    assert [word.text for word in words[1::3]] == candidates
    sums = [sum(math.exp(word.log_prob) for word in words[1::3] if len(word.text) <= size) for size in (6, 9, longest)]
    line_end = math.exp(words_of(predictor, tokenizer, "ab\n", state="line")[-1].log_prob)
    assert sums[0] < sums[1] < sums[2] <= 1 - line_end + 1e-9
    assert sums[2] + line_end == pytest.approx(1, abs=0.01)
    assert sums[2] + line_end > sums[1] + line_end > 0.97


def test_without_the_correction_they_would_sum_to_more_than_one():
    tokenizer, living = pieces_that_carry_a_space()
    predictor = random_markov(tokenizer, living)
    words = ["".join(letters) for size in range(8) for letters in itertools.product("ab", repeat=size + 1)]
    tokens = tokens_of(predictor, tokenizer, "".join(f"ab {word}\n" for word in words), state="line")
    total = 0.0
    for number, word in enumerate(words, 1):
        line = [token.log_prob for token in tokens if token.line == number]
        assert len(line) == len("ab") + len(word) + 1
        total += math.exp(sum(line[2:-1]))
    assert total > 1.2


def test_a_word_by_hand():
    tokenizer, living = pieces_that_carry_a_space()
    predictor = random_markov(tokenizer, living)
    table = predictor.table.exp()
    a, b, space_a, space_b, line_end = (tokenizer.token_to_id(token) for token in living)
    after = [space_a, space_b, line_end, tokenizer.eos_id]
    words = words_of(predictor, tokenizer, "ab ba\n")
    expected = [
        table[tokenizer.eos_id, a] * table[a, b] * table[b, after].sum(),
        table[b, space_b] * table[space_b, a] / table[b, after].sum() * table[a, after].sum(),
        table[a, line_end] / table[a, after].sum(),
    ]
    assert [word.text for word in words] == ["ab", "ba", "\n"]
    assert [math.exp(word.log_prob) for word in words] == pytest.approx([float(value) for value in expected], rel=1e-9)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_word_does_not_depend_on_what_follows_it(get, kind):
    predictor, tokenizer = get(kind)
    followed = ["the cat\n", "the cat sat\n", "the cat  on\n", "the cat\r\n", "the cat \n", "the cat"]
    words = words_of(predictor, tokenizer, "".join(followed), state="line")
    found = [word.log_prob for word in words if word.text == "cat"]
    assert len(found) == len(followed)
    assert found == pytest.approx([found[0]] * len(followed), abs=1e-5)
    alone = [word.log_prob for word in words_of(predictor, tokenizer, "the cat") if word.text == "cat"]
    closed = [word.log_prob for word in words_of(predictor, tokenizer, "the cat", "mat") if word.text == "cat"]
    assert alone == closed == pytest.approx(found[:1], abs=1e-5)


def test_tokens_that_follow_a_word_begin_with_white_space(tokenizer_of):
    for kind, beginnings in (("char", {" ", "\n", EOS}), ("bpe", {"Ġ", "Ċ", "ĉ", "č", EOS[0]})):
        tokenizer = tokenizer_of(kind)
        after = follows_word(tokenizer)
        assert after is not None
        found = {token for token, chosen in zip(tokenizer.vocabulary, after.tolist(), strict=True) if chosen}
        assert after.shape == (tokenizer.vocab_size,)
        if kind == "char":
            assert found == beginnings
        else:
            assert beginnings <= {token[0] for token in found}
            assert {"Ġthe", "Ġ", "Ċ"} <= found
            assert not found & {"the", "a", "Ã"}
    assert follows_word(tokenizer_of("word")) is None


# Words and their tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document"])
@pytest.mark.parametrize("text", [TEXT, TEXT.rstrip() + "\n", "a", "  ", "\n", " a"], ids=ascii)
def test_words_add_up_to_their_tokens(get, kind, state, text):
    predictor, tokenizer = get(kind)
    if kind == "word" and text == "  ":
        return
    words = words_of(predictor, tokenizer, text, state=state)
    expected = token_sum(predictor, tokenizer, text, state=state)
    after = follows_word(tokenizer)
    if after is not None and not text[-1].isspace():
        ids = torch.from_numpy(tokenizer.encode(text).astype("int64"))
        predicted, _ = predictor.distribution(
            torch.cat([torch.tensor([tokenizer.eos_id]), ids])[None], predictor.initial_state(1)
        )
        expected += float(predicted[0, -1, after].logsumexp(0))
    assert sum(word.log_prob for word in words) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(pieces=st.lists(st.sampled_from(["a", "cat", " ", "  ", "\n", "\r\n", "é😀", "\x1c", "\u00a0", "12", "."])))
def test_words_are_those_of_the_text_with_its_line_ends(tokenizer_of, kind, pieces):
    tokenizer = tokenizer_of(kind)
    text = "a" + "".join(pieces) + "\n"
    predictor = Markov(torch.zeros(tokenizer.vocab_size, tokenizer.vocab_size).log_softmax(1))
    for state in ("carry", "line"):
        words = words_of(predictor, tokenizer, text, state=state)
        assert [word.text for word in words if split_words(word.text)] == split_words(text)
        assert all(text[word.start : word.end] == word.text for word in words)
        assert "".join(word.text for word in words).count("\n") == text.count("\n")
        numbers = [word.word for word in words]
        assert numbers == list(range(1, len(words) + 1))
        assert all(word.line == 1 + text[: word.start].count("\n") for word in words if split_words(word.text))
        lines = [word.line for word in words]
        assert [word.word_in_line for word in words] == [
            lines[: number + 1].count(line) for number, line in enumerate(lines)
        ]


def test_each_token_of_a_word_model_is_a_word(get):
    predictor, tokenizer = get("word")
    tokens, words = tokens_of(predictor, tokenizer, TEXT), words_of(predictor, tokenizer, TEXT)
    assert [(word.start, word.end, word.log_prob, word.oov) for word in words] == [
        (token.start, token.end, token.log_prob, token.oov) for token in tokens
    ]
    assert {word.tokens for word in words} == {1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
def test_chunks_do_not_matter_to_words_and_lines(get, kind, state):
    predictor, tokenizer = get(kind)
    options = {"state": state, "documents": "line"}
    words, lines = words_of(predictor, tokenizer, TEXT, **options), lines_of(predictor, tokenizer, TEXT, **options)
    for size in (1, 3, 10):
        chunks = [TEXT[begin : begin + size] for begin in range(0, len(TEXT), size)]
        for found, expected in (
            (words_of(predictor, tokenizer, chunks, **options), words),
            (lines_of(predictor, tokenizer, chunks, **options), lines),
        ):
            assert [entry._replace(log_prob=0) for entry in found] == [entry._replace(log_prob=0) for entry in expected]
            assert [entry.log_prob for entry in found] == pytest.approx(
                [entry.log_prob for entry in expected], abs=1e-4
            )


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_document_and_white_space_at_the_end_are_listed(get, kind):
    predictor, tokenizer = get(kind)
    words = words_of(predictor, tokenizer, "a cat ", "a mat\n")
    assert [(word.text, word.file) for word in words if word.text.strip()] == [
        ("a", 0), ("cat", 0), (EOS, 0), ("a", 1), ("mat", 1), *([(EOS, 1)] if kind != "word" else []),
    ]  # fmt: skip
    assert [word.text for word in words if not word.text.strip()] == ["\n"] if kind == "word" else [" ", "\n"]


def test_words_of_a_line_are_counted_anew_in_each_file(get):
    words = words_of(*get("char"), "a cat", "a mat\n")
    assert [(word.file, word.word_in_line) for word in words if word.text != EOS] == [
        (0, 1), (0, 2), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip


def test_a_word_shows_its_surprisal():
    shown = "ScoredWord(word=2, text='cat', start=4, end=7, line=1, tokens=3, log_prob=-0.5, oov=False, file=0, "
    word = ScoredWord(2, "cat", 4, 7, 1, 3, -0.5, False)
    assert repr(word) == shown + "word_in_line=1, surprisal=0.721348)"


def test_a_word_with_an_unknown_token_is_marked(get):
    words = words_of(*get("char"), "a céb mat")
    assert [(word.text, word.oov) for word in words] == [("a", False), ("céb", True), ("mat", False)]


# Lines


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["carry", "document", "line"])
@pytest.mark.parametrize("documents", ["file", "line", "blank-line"])
def test_lines_add_up_to_their_tokens(get, kind, state, documents):
    predictor, tokenizer = get(kind)
    options = {"state": state, "documents": documents}
    lines = lines_of(predictor, tokenizer, TEXT, "a\ncat", **options)
    expected = token_sum(predictor, tokenizer, TEXT, "a\ncat", **options)
    assert sum(line.log_prob for line in lines) == pytest.approx(expected, rel=1e-6)
    for file, text in enumerate([TEXT, "a\ncat"]):
        mine = [line for line in lines if line.file == file]
        pieces = [piece for piece in re.split(r"(?<=\n)", text) if piece]
        assert [line.line for line in mine] == list(range(1, len(pieces) + 1))
        assert [text[line.start : line.end] for line in mine] == pieces
        assert [line.words for line in mine] == [len(split_words(piece)) for piece in pieces]


def test_a_line_counts_its_tokens_and_unknown_ones(get):
    predictor, tokenizer = get("word")
    first, second = lines_of(predictor, tokenizer, "the zebra sat\n\n", state="line")
    assert (first.tokens, first.words, first.oov) == (4, 3, 1)
    assert (second.tokens, second.words, second.oov) == (1, 0, 0)
    assert first.perplexity == pytest.approx(math.exp(-first.log_prob / 4))
    assert first.surprisal == pytest.approx(-first.log_prob / math.log(2))


def test_a_line_whose_end_belongs_to_the_token_before_is_listed_without_tokens(get):
    lines = lines_of(*get("bpe"), "the cat\n\n\nsat")
    assert [line.tokens > 0 for line in lines] == [True, False, True, True]
    assert lines[1].log_prob == 0
    assert math.isnan(lines[1].perplexity)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_lines_get_equal_scores_under_the_line_state(get, kind):
    lines = lines_of(*get(kind), "a cat\nthe mat .\na cat\n", "sat\na cat\n", state="line")
    found = [line.log_prob for line in lines if (line.file, line.line) in {(0, 1), (0, 3), (1, 2)}]
    assert found == pytest.approx([found[0]] * 3, abs=1e-5)


def test_a_line_comes_as_soon_as_it_is_known(get):
    predictor, tokenizer = get("char")
    asked = []

    def chunks():
        for number in range(5):
            asked.append(number)
            yield "the cat\n"

    lines = scored_lines(score_text(predictor, tokenizer, [chunks()], state="line"), tokenizer)
    assert next(lines).line == 1
    assert len(asked) == 1
