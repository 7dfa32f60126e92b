"""The character tokenizer."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import TokenizerError
from lmkit.text import CharacterTokenizer
from lmkit.text.sources.chunk import Chunk
from lmkit.text.tokenizers import character as character_module


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


@given(texts=st.lists(st.text()), size=st.integers(2, 700))
def test_ids_are_those_of_a_table_of_characters_however_many_it_has(texts, size):
    others = "".join(map(chr, range(0x100, 0x100 + size)))  # with many, frequent letters have ids that fill no byte
    for rare_first in (True, False):
        tokens = [*others, *"aé \n"] if rare_first else [*"aé \n", *others]
        tokenizer = CharacterTokenizer(["<unk>", "<eos>", *tokens])
        ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
        expected = [ids.get(character, 0) for text in texts for character in text + "aĀé"]
        found = [ids.tolist() for ids in tokenizer.encode_chunks(Chunk.of(text + "aĀé") for text in texts)]
        assert (
            list(chain.from_iterable(found))
            == expected
            == tokenizer.encode("".join(text + "aĀé" for text in texts)).tolist()
        )


@given(st.lists(st.text(st.sampled_from("ab\0\x7f\x80é中😀"))), st.integers(1, 30))
def test_characters_are_counted_in_bytes_as_in_the_string(texts, repeats):
    counts = Counter("".join(texts))
    expected = sorted(counts, key=lambda character: (-counts[character], character))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(character_module, "PAIRED", repeats)
        assert CharacterTokenizer.train_chunks(map(Chunk.of, texts)).vocabulary[2:] == expected
    assert CharacterTokenizer.train(texts).vocabulary[2:] == expected
