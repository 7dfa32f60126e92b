"""Documents: pieces that joined are the text, each closed by one <eos> where there are several."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.text import BPETokenizer, CharacterTokenizer, WordTokenizer, encode_text
from lmkit.text.documents import EACH_LINE, split_documents

lines = st.text(st.sampled_from("ab \t\r\n\n\n\x0b\u2028"))
KINDS = {
    "char": CharacterTokenizer.train(["ab \t\r\n"]),
    "word": WordTokenizer.train(["a b ab"]),
    "bpe": BPETokenizer.train(["a b\n"], vocab_size=257),
}


def documents(text: str, rule: str) -> list[str]:
    return [document for whole in split_documents([text], rule) for document in whole]


@pytest.mark.parametrize("rule", ["line", "blank-line"])
@given(chunks=st.lists(lines))
def test_documents_are_the_text_and_the_same_for_any_chunks(rule, chunks):
    text = "".join(chunks)
    cut = [document for whole in split_documents(chunks, rule) for document in whole]
    assert "".join(cut) == text
    assert all(cut)
    assert cut == documents(text, rule)


def test_a_long_text_without_blank_lines_is_not_searched_again_and_again(monkeypatch):
    from lmkit.text import documents as module

    joined = []
    take = module._take_paragraphs

    def counting(text):
        joined.append(len(text))
        return take(text)

    monkeypatch.setattr(module, "_take_paragraphs", counting)
    chunks = ["no blank line\nin here"] * 1000
    assert list(split_documents(chunks, "blank-line")) == [["".join(chunks)]]
    assert len(joined) == 1


def test_a_line_keeps_its_line_end():
    assert documents("a\r\n\nb", "line") == ["a\r\n", "\n", "b"]


def test_a_paragraph_keeps_the_blank_lines_that_close_it():
    text = "\n\na\nb\n \n\nc\r\n\r\nd\n"
    assert documents(text, "blank-line") == ["\n\na\nb\n \n\n", "c\r\n\r\n", "d\n"]


def test_several_documents_are_closed_by_one_eos_each():
    tokenizer = KINDS["char"]
    file = encode_text(tokenizer, "a\nb\nab", documents="line")
    assert tokenizer.decode(file.ids) == "a\n<eos>b\n<eos>ab<eos>"
    assert file.document_starts.tolist() == [0, 3, 6]
    assert file.counts.documents == 3
    assert file.counts.tokens == len(file) == 9
    assert file.counts.chars == 6


def test_a_document_that_ends_in_eos_gets_no_second_one():
    file = encode_text(KINDS["word"], "a\n\nb\na b", documents="line")
    assert KINDS["word"].decode(file.ids) == "a\n\nb\na b\n"
    assert file.document_starts.tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("kind", list(KINDS))
@given(text=lines.filter(bool))
def test_lines_that_are_read_alone_have_the_ids_of_their_own_text_and_no_eos(kind, text):
    tokenizer = KINDS[kind]
    file = encode_text(tokenizer, text, documents=EACH_LINE)
    expected = [ids for line in documents(text, "line") if (ids := tokenizer.encode(line).tolist())]
    borders = [*file.document_starts.tolist(), len(file)]
    assert [file.ids[start:end].tolist() for start, end in pairwise(borders)] == expected
    assert file.counts.tokens == len(file)
    assert file.counts.documents == len(expected)
    assert file.documents == EACH_LINE


@pytest.mark.parametrize("rule", ["file", "line", "blank-line"])
@pytest.mark.parametrize("text", ["ab", "ab\n"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_single_document_is_left_as_it_is(rule, text, kind):
    file = encode_text(KINDS[kind], text, documents=rule)
    assert file.ids.tolist() == KINDS[kind].encode(text).tolist()
    assert file.document_starts.tolist() == [0]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rule", ["line", "blank-line"])
@given(text=lines.filter(bool))
def test_each_document_has_the_ids_of_its_own_text(kind, rule, text):
    tokenizer = KINDS[kind]
    file = encode_text(tokenizer, text, documents=rule)
    expected = [tokenizer.encode(document).tolist() for document in documents(text, rule)]
    if len(expected) > 1:
        eos = tokenizer.eos_id
        expected = [ids if ids[-1:] == [eos] else [*ids, eos] for ids in expected]
    found = [part.tolist() for part in np.split(file.ids, file.document_starts[1:])]
    assert found == expected
    assert file.counts.tokens == len(file)
    assert file.counts.documents == len(file.document_starts)
    assert file.counts.oov == sum(
        int((file.ids == tokenizer.unk_id).sum()) for _ in [0] if tokenizer.unk_id is not None
    )
