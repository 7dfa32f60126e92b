"""The character tokenizer."""

import pytest

from lmkit.errors import TokenizerError
from lmkit.text import CharacterTokenizer


def test_ids_descend_by_frequency_then_code_point():
    tokenizer = CharacterTokenizer.train(["bbaacccd"])
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "c", "a", "b", "d"]
    assert tokenizer.ids_by_frequency


def test_the_vocabulary_size_counts_the_special_tokens():
    tokenizer = CharacterTokenizer.train(["bbaacccd"], vocab_size=4)
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "c", "a"]
    assert tokenizer.encode("abcd").tolist() == [3, 0, 2, 0]


def test_rare_characters_are_unknown():
    assert CharacterTokenizer.train(["aab"], min_count=2).vocabulary == ["<unk>", "<eos>", "a"]


def test_an_unknown_character_is_counted_never_dropped():
    tokenizer = CharacterTokenizer.train(["ab"])
    assert tokenizer.encode("a😀b\U0010ffff").tolist() == [2, 0, 3, 0]
    assert tokenizer.decode([2, 0, 1]) == "a<unk><eos>"


def test_a_literal_special_token_is_ordinary_characters():
    tokenizer = CharacterTokenizer.train(["<unk><eos>"])
    assert tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"
    assert len(tokenizer.encode("<unk>")) == 5


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(TokenizerError, match="at least 3"):
        CharacterTokenizer.train(["ab"], vocab_size=2)


def test_tokens_are_found_by_name_and_by_number():
    tokenizer = CharacterTokenizer.train(["ab"])
    assert tokenizer.token_to_id("b") == 3
    assert tokenizer.token_to_id("c") is None
    assert tokenizer.id_to_token(1) == "<eos>"
