"""Words are split where Hugging Face's WhitespaceSplit splits."""

import sys

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from lmkit.text.whitespace import (
    code_points,
    count_words,
    cut_at_space,
    cut_before_space,
    split_words,
    white_space_table,
)

SPACES = "\t\n\x0b\x0c\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2007\u2028\u2029\u202f\u205f\u3000\u200b\u180e\ufeff"
spaced = st.text(st.sampled_from("ab<" + SPACES))


def test_every_code_point_separates_words_exactly_where_the_rust_splitter_says_so():
    split = pre_tokenizers.WhitespaceSplit()
    everything = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    text = "".join(f"a{chr(code)}" for code in everything)
    words = [word for word, _ in split.pre_tokenize_str(text)]
    assert split_words(text) == words
    assert count_words(code_points(text))[0] == len(words)
    assert white_space_table().sum() == len(words) - 1


@given(spaced)
def test_words_are_those_of_the_rust_splitter(text):
    assert split_words(text) == [word for word, _ in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(text)]


@given(st.lists(spaced))
def test_words_counted_piece_by_piece_are_those_of_the_whole(parts):
    total, inside = 0, False
    for part in parts:
        found, inside = count_words(code_points(part), inside_word=inside)
        total += found
    assert total == len(split_words("".join(parts)))


@given(spaced)
def test_no_word_crosses_a_cut(text):
    place = cut_at_space(text)
    if place >= 0:
        assert split_words(text[:place]) + split_words(text[place:]) == split_words(text)


@given(spaced)
def test_a_cut_before_a_space_stands_between_a_character_and_a_space(text):
    place = cut_before_space(text)
    possible = [at for at in range(1, len(text)) if not text[at - 1].isspace() and text[at] in " \n"]
    assert place == max(possible, default=-1)
