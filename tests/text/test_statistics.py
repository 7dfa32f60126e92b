"""Characters, words and BPE side by side."""

import io

import pytest

from lmkit.text.statistics import tokenizer_statistics

TEXT = "".join(f"the cat {number} sat on the mat\n" for number in range(400))


def test_each_kind_is_counted_on_the_same_last_tenth(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    char, word, bpe = tokenizer_statistics(str(path), vocab_size=300)
    assert [row.kind for row in (char, word, bpe)] == ["char", "word", "bpe"]
    assert char.words == word.words == bpe.words
    assert char.chars == word.chars == bpe.chars == len(TEXT) - int(0.9 * len(TEXT))
    assert char.chars_per_token == 1.0
    assert word.tokens_per_word == 1.0
    assert 1 < bpe.tokens_per_word < char.tokens_per_word
    assert word.oov > 30
    assert word.oov_rate == word.oov / word.tokens
    assert char.oov == bpe.oov == 0
    assert bpe.vocab_size == 300


def test_standard_input_is_read_once_for_all_kinds(tmp_path):
    rows = tokenizer_statistics("-", vocab_size=300, stdin=io.BytesIO(TEXT.encode()))
    assert len({row.words for row in rows}) == 1
    assert rows[0].chars == pytest.approx(len(TEXT) / 10, abs=1)
