"""A chunk tells of its bytes what the simple way tells of its string."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmkit.errors import DataError
from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.reading import whole_characters
from lmkit.text.sources.source import Document, Reading, Slice
from lmkit.text.whitespace import split_words

RARE = (
    "\x00\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x7f\x85\xa0ÿ\u07ff\u0800\u1680\u2003\u2028\u3000\ud7ff\ue000\uffff\U0010ffff"
)
texts = st.one_of(
    st.text(), st.text(st.sampled_from("ab \n" + RARE)), st.text("ab \n").map(lambda text: text * 9 + "é")
)


@given(texts)
def test_what_is_counted_in_bytes_is_what_the_string_has(text):
    chunk = Chunk(text.encode())
    assert chunk.text == text
    assert chunk.chars == len(text)
    assert chunk.line_ends == text.count("\n")
    assert "".join(map(chr, chunk.rare)) == "".join(character for character in text if character > "\x7f")


@given(st.lists(texts))
def test_words_of_chunks_are_those_of_the_whole(parts):
    words, inside = 0, False
    for part in parts:
        found, inside = Chunk(part.encode()).count_words(inside_word=inside)
        words += found
    assert words == len(split_words("".join(parts)))


@given(texts, st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_part_is_cut_in_characters(text, begin, end):
    assert Chunk.of(text).part(begin, end).data == text[begin:end].encode()


@given(
    st.binary(max_size=12)
    | st.lists(st.sampled_from([b"a" * 20, b"\xc3", b"\xa9", b"\xe2\x82", b"\xac"])).map(b"".join)
)
@example(b"\xc3" + b"a" * 20 + b"\xa9")
def test_bytes_are_taken_exactly_where_they_are_utf_8(data):
    def accepted(take) -> bool:
        try:
            return bool(take()) or True
        except (UnicodeDecodeError, DataError):
            return False

    strict = accepted(lambda: data.decode("utf-8"))
    assert accepted(lambda: Chunk(data).rare.size) == strict
    blocks = [b"a", *(data[at : at + 3] for at in range(0, len(data), 3))]
    assert accepted(lambda: list(whole_characters(blocks, "name"))) == strict


def test_a_lone_surrogate_is_no_text():
    with pytest.raises(DataError, match="lone surrogate"):
        Chunk.of("a\ud800")


@given(st.lists(st.lists(st.text("aé\n"), max_size=4), max_size=4), st.lists(st.integers(0, 12), min_size=2))
def test_slices_taken_in_one_reading_are_the_slices_alone(documents, cuts):
    opened = []

    def document(chunks: list[str]) -> Document:
        def read() -> Iterator[str]:
            opened.append(chunks)
            return iter(chunks)

        return Document("name", read)

    text = "".join("".join(chunks) for chunks in documents)
    made = [document(chunks) for chunks in documents]
    reading = Reading(made)
    slices = [Slice(made, begin, end) for begin, end in pairwise(sorted(cuts))]
    found = [[(number, chunk.text) for number, chunk in reading.take(slice_.begin, slice_.end)] for slice_ in slices]
    assert len(opened) <= len(documents)
    for slice_, pieces in zip(slices, found, strict=True):
        assert "".join(part for _, part in pieces) == text[slice_.begin : slice_.end]
        assert all(part for _, part in pieces)
        assert pieces == list(slice_.pieces())
