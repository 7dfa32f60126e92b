"""Tokenizers that others made."""

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lmkit.errors import TokenizerError
from lmkit.text import BPETokenizer, load_tokenizer, tokenizer_from_json
from lmkit.text.tokenizers.foreign import ForeignTokenizer


def like_gpt2() -> tokenizers.Tokenizer:
    own = json.loads(BPETokenizer.train(["to be or not to be\n" * 20], vocab_size=280).to_json())["model"]
    vocab = {token if token != "<eos>" else "unused": number for token, number in own["vocab"].items()}
    rust = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[tuple(pair) for pair in own["merges"]]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    return rust


def words(**more: int) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, **more}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    return rust


GPT2 = tokenizer_from_json(like_gpt2().to_str(), "gpt2.json")


def test_its_end_token_is_found_and_raw_text_never_writes_it():
    assert GPT2.kind == "foreign"
    assert GPT2.id_to_token(GPT2.eos_id) == "<|endoftext|>"
    ids = GPT2.encode("to be<|endoftext|>")
    assert GPT2.eos_id not in ids
    assert GPT2.decode(ids) == "to be<|endoftext|>"


@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from([" ", "\n", "<|endoftext|>", "é", "😀"]))))
def test_streams_and_stream_decoders_agree_with_the_whole(chunks):
    text = "".join(chunks)
    ids = GPT2.encode(text)
    assert np.concatenate([ids[:0], *GPT2.encode_stream(chunks)]).tolist() == ids.tolist()
    decoder = GPT2.stream_decoder()
    assert "".join(decoder.push(number) for number in ids) + decoder.flush() == text
    assert GPT2.encode_with_offsets(text)[0].tolist() == ids.tolist()


def test_any_other_structure_is_encoded_whole_and_counts_as_lossy():
    tokenizer = tokenizer_from_json(words(**{"</s>": 3}).to_str(), "words.json")
    assert isinstance(tokenizer, ForeignTokenizer)
    assert not tokenizer.lossless
    assert GPT2.lossless
    assert tokenizer.unk_id == 0
    assert [part.tolist() for part in tokenizer.encode_stream(["a b", " c"])] == [[1, 2, 0]]


def test_saving_keeps_its_own_text(tmp_path):
    GPT2.save(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == like_gpt2().to_str()
    assert load_tokenizer(tmp_path / "t.json").encode("to be").tolist() == GPT2.encode("to be").tolist()


def test_a_tokenizer_without_an_end_token_is_refused():
    with pytest.raises(TokenizerError, match=r"words.json has no token that ends a text.*<eos>, </s>"):
        tokenizer_from_json(words().to_str(), "words.json")


def test_a_tokenizer_that_drops_unknown_characters_is_refused():
    rust = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "</s>": 1}, merges=[]))
    with pytest.raises(TokenizerError, match="would drop characters"):
        tokenizer_from_json(rust.to_str(), "t.json")


def test_a_text_that_it_cannot_encode_is_an_error_not_a_traceback():
    rust = tokenizers.Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="[UNK]"))
    with pytest.raises(TokenizerError, match="cannot encode this text"):
        tokenizer_from_json(rust.to_str(), "t.json").encode("b")


def test_a_rule_that_makes_the_library_panic_is_an_error_not_a_traceback():
    rust = words(**{"</s>": 3})
    document = {**json.loads(rust.to_str()), "pre_tokenizer": {"type": "FixedLength", "length": 0}}
    tokenizer = tokenizer_from_json(json.dumps(document), "odd.json")
    with pytest.raises(TokenizerError, match=r"odd\.json has a rule"):
        tokenizer.encode("a b")
    with pytest.raises(TokenizerError, match=r"odd\.json has a rule"):
        tokenizer.encode_with_offsets("a b")
