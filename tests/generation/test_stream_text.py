"""Text as it is made: whole characters, up to a stop string and nothing after it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmkit.generation.generate import stream_text
from lmkit.text.tokenizers.kinds import TOKENIZERS


class Pieces:
    """Decodes ids as places in a list of strings; ``rest`` is held back until the end."""

    def __init__(self, pieces, rest=""):
        self.pieces, self.rest = pieces, rest

    def push(self, token_id):
        return self.pieces[token_id]

    def flush(self):
        return self.rest


def streamed(pieces, stops=(), rest=""):
    return list(stream_text(iter(range(len(pieces))), Pieces(pieces, rest), stops))


def test_pieces_come_as_they_are_made():
    assert [text for text in streamed(["ab", "c", "d"]) if text] == ["ab", "c", "d"]


def test_a_piece_comes_before_the_next_id_is_asked_for():
    asked = []

    def ids():
        for number in range(3):
            asked.append(number)
            yield number

    text = stream_text(ids(), Pieces(["a", "b", "c"]), ["STOP"])
    assert next(text) == "a"
    assert asked == [0]


def test_nothing_is_asked_for_behind_a_stop():
    left = iter(range(4))
    assert "".join(stream_text(left, Pieces(["ab", "c.", "de", "f"]), ["."])) == "abc"
    assert list(left) == [2, 3]


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["abENDcd"], ["END"], "ab"),
        (["abE", "N", "Dxyz", "more"], ["END"], "ab"),
        (["abE", "Nx", "END"], ["END"], "abENx"),
        (["EE", "EN", "D"], ["END"], "EE"),
        (["aab"], ["ab"], "a"),
        (["a", "a", "b"], ["ab"], "a"),
        (["xxaabb"], ["bb", "aa"], "xx"),
        (["END"], ["END"], ""),
        (["", "E", "", "ND"], ["END"], ""),
        (["abab", "c"], ["ababc"], ""),
        (["aba", "babc"], ["ababc"], "ab"),
        (["abEN"], ["END"], "abEN"),
        (["ab\n", "\n", "c"], ["\n\n"], "ab"),
        (["aß😀", "x"], ["😀"], "aß"),
        (["abc"], [], "abc"),
        ([], ["END"], ""),
    ],
)
def test_text_ends_before_the_first_stop_string(pieces, stops, text):
    assert "".join(streamed(pieces, stops)) == text


def test_only_what_may_begin_a_stop_is_held_back():
    assert [text for text in streamed(["abE", "c", "EN", "d"], ["END"]) if text] == ["ab", "Ec", "ENd"]


@pytest.mark.parametrize(("rest", "text"), [("!", "ab!"), ("", "ab"), ("END!", "ab")])
def test_what_the_decoder_holds_back_comes_at_the_end(rest, text):
    assert "".join(streamed(["a", "b"], ["END"], rest)) == text


def test_a_stop_may_end_in_what_the_decoder_held_back():
    assert "".join(streamed(["abE", "N"], ["END"], "D")) == "ab"


cuts = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "", "c"]), max_size=12)


@given(pieces=cuts, stop=st.text("abc", min_size=1, max_size=4))
def test_a_stop_is_found_wherever_the_pieces_are_cut(pieces, stop):
    whole = "".join(pieces)
    assert "".join(streamed(pieces, [stop])) == whole.partition(stop)[0]


@example(pieces=["abc", "c"], stops=["abcc", "bc"])  # one begins first, the other ends first
@example(pieces=["abb"], stops=["abb", "b"])
@given(pieces=cuts, stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_the_text_does_not_depend_on_where_the_pieces_are_cut(pieces, stops):
    whole = "".join(pieces)
    found = "".join(streamed(pieces, stops))
    assert found == "".join(streamed([whole], stops)) == "".join(streamed(list(whole), stops))
    assert whole.startswith(found)
    assert not any(stop in found for stop in stops)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_tokenizers_texts_come_back_whole(kind):
    text = "naïve 😀 日本語 text\nand more 😀"
    tokenizer = TOKENIZERS[kind].train([text], vocab_size=300 if kind == "bpe" else None)
    ids = tokenizer.encode(text).tolist()
    pieces = list(stream_text(iter(ids), tokenizer.stream_decoder()))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_marked():
    tokenizer = TOKENIZERS["bpe"].train(["plain text"], vocab_size=300)
    ids = tokenizer.encode("a😀").tolist()[:-1]
    assert "".join(stream_text(iter(ids), tokenizer.stream_decoder())) == "a\ufffd"
