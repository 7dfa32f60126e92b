"""Cuts between and inside GPT-2's pre-tokens: the pieces are pre-tokenised as the whole is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from lmkit.text import BPETokenizer
from lmkit.text.tokenizers import bpe as bpe_module
from lmkit.text.tokenizers import tokenizer as tokenizer_module
from lmkit.text.tokenizers.pretokens import (
    LETTER,
    NUMBER,
    OTHER,
    SPACE,
    _classes,
    cut_between_pretokens,
    cut_inside_run,
)

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
PIECE = 6  # bytes; 512 in a tokenizer
PIECES = pre_tokenizers.Sequence([BYTE_LEVEL, pre_tokenizers.FixedLength(PIECE)])
NASTY = [
    *("a", "Z", "s", "re", "ll", "é", "e\u0301", "日", "я", "ǅ", "ª"),
    *("0", "9", "1", "²", "½", "Ⅷ", "१"),
    *("'", "''", "!", ",", "。", "’", "\0", "\x1c", "\u00ad", "\ufeff", "_", "👩", "\u200d", "\ue000"),
    *("\t", "\r", "\x85", "\xa0", "\u2028", "\u3000", "\u180e", "\u200b", "\u1c80", "\ua7f2"),
]
unspaced = st.lists(st.sampled_from(NASTY), max_size=12).map("".join)
spaced = st.lists(st.sampled_from([*NASTY, " ", "  ", "\n"]), max_size=12).map("".join)
runs = st.sampled_from(["a", "日", "é", "aé", "1", "1²", "'", "!'", "!。", " ", "\t\xa0", " \u3000"])


def pieces(text, rule=BYTE_LEVEL):
    return [piece for piece, _ in rule.pre_tokenize_str(text)]


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(["it's 12 o'clock, the cat sat at 1:30 !! ab1,ab1,\n" * 50], vocab_size=320)


@given(left=unspaced, right=spaced)
def test_a_cut_is_between_two_pretokens_whatever_comes_after(left, right):
    place = cut_between_pretokens(left)
    if place >= 0:
        text = left + right
        assert pieces(text[:place]) + pieces(text[place:]) == pieces(text)


@given(before=spaced, chunk=unspaced)
def test_a_cut_is_between_two_pretokens_whatever_stands_before(before, chunk):
    place = cut_between_pretokens(chunk)
    if place >= 0:
        text, place = before + chunk, len(before) + place
        assert pieces(text[:place]) + pieces(text[place:]) == pieces(text)


@pytest.mark.parametrize("kind", [SPACE, LETTER, NUMBER, OTHER])
def test_all_characters_of_a_class_are_one_pretoken(kind):
    (codes,) = np.nonzero(_classes() == kind)
    assert len(codes) > 20
    assert len(pieces("".join(map(chr, codes.tolist())))) == 1


@pytest.mark.parametrize(
    ("chunk", "place"),
    [
        ("ab1,", 3),
        ("a1b", 2),
        ("12ab", 2),
        ("a'", 1),
        ("1'2", 2),
        ("aa!bb", 3),
        ("日本。語", 3),
        ("a\tb", 1),
        ("a b1", 1),  # a space is found first
        ("it's", 2),  # before the apostrophe, not after it
    ],
)
def test_cuts_are(chunk, place):
    assert cut_between_pretokens(chunk) == place


@pytest.mark.parametrize(
    "chunk", ["", "a", "abc", "'s", "123", "!?", "  a", "\t\t", "\ue000a", "\U00010400a", "\udc80a"]
)
def test_where_nothing_is_sure_there_is_no_cut(chunk):
    assert cut_between_pretokens(chunk) == -1


def test_a_cut_far_from_the_end_is_found():
    assert cut_between_pretokens("ab1" + "2" * 100_000) == 2


@given(begin=st.sampled_from(["", " ", "'", "!", "a"]), run=runs, times=st.integers(1, 40), after=spaced)
def test_a_cut_inside_a_run_is_a_cut_between_its_pieces(begin, run, times, after):
    text = begin + run * times
    place = cut_inside_run(text, PIECE)
    if place >= 0:
        whole = text + after
        assert pieces(whole[:place], PIECES) + pieces(whole[place:], PIECES) == pieces(whole, PIECES)
        again = cut_inside_run(whole[place:], PIECE)
        if again >= 0:
            rest = whole[place:]
            assert pieces(rest[:again], PIECES) + pieces(rest[again:], PIECES) == pieces(rest, PIECES)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a" * 20, 18), (" " + "a" * 20, 18), ("日" * 20, 18), ("!" * 13, 6), ("!" * 14, 12), (" " * 20, 18)],
)
def test_cuts_inside_runs_are(text, place):
    assert cut_inside_run(text, PIECE) == place


@pytest.mark.parametrize("text", ["", "a", "aaaa", " " + "я" * 50, "'" + "a" * 50, "a" * 50 + "1", "\ue000" * 50])
def test_a_run_that_is_short_mixed_or_does_not_fit_has_no_cut(text):
    assert cut_inside_run(text, PIECE) == -1


@given(data=st.data())
def test_a_long_line_without_white_space_is_encoded_in_pieces_as_the_whole(tokenizer, data):
    stretches = st.builds(lambda run, times: run * times, st.sampled_from([*NASTY, "ab1,", " "]), st.integers(1, 1500))
    text = "".join(data.draw(st.lists(stretches, max_size=4)))
    size = data.draw(st.integers(1, 700))
    expected = tokenizer._rust.encode(text, add_special_tokens=False).ids
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_module, "STRETCH", 600)
        patch.setattr(tokenizer_module, "CHUNK", size)
        patch.setattr(bpe_module, "LONGEST_AT_ONCE", 700)
        parts = [ids.tolist() for ids in tokenizer.encode_stream([text])]
        assert [number for part in parts for number in part] == expected
        ids, lengths = tokenizer.encode_batch([text, "", text])
        assert ids.tolist() == expected * 2
        assert lengths.tolist() == [len(expected), 0, len(expected)]


@pytest.mark.parametrize("run", ["the" * 1000, " " + "the" * 1000, "日the" * 2000, "12" * 2000])
def test_a_run_has_the_ids_of_the_whole_where_the_library_cuts_it(tokenizer, run, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "STRETCH", 600)
    monkeypatch.setattr(tokenizer_module, "CHUNK", 100)
    parts = [ids.tolist() for ids in tokenizer.encode_stream([run])]
    assert len(parts) > 2
    assert [number for part in parts for number in part] == tokenizer._rust.encode(run, add_special_tokens=False).ids


@pytest.mark.parametrize("unit", ["ab1,", " ", "x", "7", "!", "日本語", "\t\xa0"])
def test_what_is_encoded_at_once_does_not_grow_with_the_line(tokenizer, unit):
    text = unit * (1_000_000 // len(unit))
    chunks = [text[begin : begin + 50_000] for begin in range(0, len(text), 50_000)]
    parts = list(tokenizer.parts(chunks))
    assert "".join(parts) == text
    assert max(map(len, parts)) < 150_000


def test_training_on_a_line_without_white_space_learns_the_same_from_any_chunks():
    text = "ab1,it's2be" * 400
    expected = BPETokenizer.train([text], vocab_size=280).to_json()
    assert (
        BPETokenizer.train([text[at : at + 5] for at in range(0, len(text), 5)], vocab_size=280).to_json() == expected
    )
