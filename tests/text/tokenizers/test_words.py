"""The word tokenizer, after the convention of the Penn Treebank and WikiText."""

from collections import Counter
from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmkit.config import DataConfig
from lmkit.text import WordTokenizer, build_corpus
from lmkit.text.sources.chunk import Chunk
from lmkit.text.tokenizers.word_table import WordTable, find_words
from lmkit.text.whitespace import split_words


def test_each_line_end_is_eos_and_ids_descend_by_frequency_then_word():
    tokenizer = WordTokenizer.train(["b a c\n", "c b a c\n"])
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "c", "a", "b"]
    assert tokenizer.encode("a x\n\nb").tolist() == [3, 0, 1, 1, 4]
    assert tokenizer.eos_is_line_end
    assert tokenizer.ids_by_frequency


def test_literal_special_tokens_in_the_text_share_the_special_ids():
    tokenizer = WordTokenizer.train(["a <unk> <eos> <unk>"])
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "a"]
    assert tokenizer.encode("<unk> a <eos> a<eos>").tolist() == [0, 2, 1, 0]


def test_a_word_cut_by_a_chunk_is_one_word():
    assert WordTokenizer.train(["ab", "cd ", "e"]).vocabulary == ["<unk>", "<eos>", "abcd", "e"]


def test_the_vocabulary_can_be_limited_by_size_and_by_count():
    assert WordTokenizer.train(["a a a b b c"], vocab_size=4).vocabulary == ["<unk>", "<eos>", "a", "b"]
    assert WordTokenizer.train(["a a a b b c"], min_count=3).vocabulary == ["<unk>", "<eos>", "a"]


def test_decoding_writes_no_spaces_around_line_ends():
    tokenizer = WordTokenizer.train(["to be\nor not\n"])
    assert tokenizer.decode(tokenizer.encode("\n to  be \n\n or not\n")) == "\nto be\n\nor not\n"


def test_wikitext_2_has_the_counts_that_papers_report(data_dir):
    config = DataConfig(corpus=str(data_dir / "wikitext-2"), tokenizer="word")
    corpus = build_corpus(config)
    assert corpus.tokenizer.vocab_size == 33_278
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 2_088_628,
        "valid": 217_646,
        "test": 245_569,
    }
    for split in corpus.splits.values():
        assert split.counts.words + split.counts.line_ends == split.counts.tokens == len(split)
        assert split.ids.dtype == "uint16"
    assert corpus.splits["train"].counts.oov == 54_625


PARTS = [*"a\0 \n\t\r\x1c\x85\xa0\u3000é😀", "b\0", "<unk>", "<eos>", "x" * 15, "y" * 16]
texts = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=9))).map("".join)


@given(known=texts, chunks=st.lists(texts))
def test_words_looked_up_together_are_those_looked_up_one_by_one(known, chunks):
    tokenizer = WordTokenizer.train([known, " a <unk> 😀"])
    found = [ids.tolist() for ids in tokenizer.encode_chunks(map(Chunk.of, chunks))]
    text = "".join(chunks)
    assert list(chain.from_iterable(found)) == tokenizer.encode(text).tolist()
    ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
    assert tokenizer.encode(text).tolist() == [ids.get(word, 0) for word in split_words(text.replace("\n", " <eos> "))]


@given(st.lists(texts))
def test_words_are_counted_in_bytes_as_in_the_string(chunks):
    counts = Counter(split_words("".join(chunks)))
    expected = sorted(counts.keys() - {"<unk>", "<eos>"}, key=lambda word: (-counts[word], word))
    assert WordTokenizer.train(chunks).vocabulary[2:] == expected


def test_a_table_knows_each_of_many_words_and_no_other():
    words = [f"{number:x}".encode() for number in range(20_000)]
    table = WordTable()
    for begin, end in ((0, 100), (100, 9_000), (9_000, 10_000)):  # it grows on the way
        table.add(words[begin:end], range(begin, end))
    found = table.find(find_words(b" ".join(words)))
    assert found.tolist() == [*range(10_000), *[-1] * 10_000]
    assert table.find(find_words(b"0\0 \0000 00 " + b"0" * 16)).tolist() == [-1] * 4


def test_words_that_meet_in_one_slot_are_told_apart(monkeypatch):
    monkeypatch.setattr(WordTable, "_slots", lambda self, first, second: np.zeros(len(first), dtype=np.int64))
    table = WordTable()
    table.add([b"a", b"b", b"a-longer-word"], [7, 8, 9])
    assert table.find(find_words(b"c a-longer-word a\nb a ab")).tolist() == [-1, 9, 7, -1, 8, 7, -1]
