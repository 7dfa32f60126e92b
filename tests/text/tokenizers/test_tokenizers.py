"""What every tokenizer promises: the saved file gives the same ids, and streaming gives the same ids and text."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import TokenizerError
from lmkit.text import TOKENIZERS, Tokenizer, load_tokenizer, tokenizer_from_json
from lmkit.text.tokenizers.tokenizer import id_dtype

NASTY = [
    "\r\n", "\n", "\r", "\t", " ", "  ", "\0", "\ufeff", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u2028",
    "👩‍👩‍👧",
    "😀", "é", "e\u0301", "क्षि", "<unk>", "<eos>", "<unk", "</s>", "it's", "'ll", "a", "the", "中文", "１２", "12",
    "\u180e", "\u200b", "\U0010ffff", "Ġ", "Ċ", "\ud7ff", "'S", ".",
]  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=8))).map("".join)
KINDS = ["char", "word", "bpe"]
TRAINING = "the cat sat on the mat .\r\nit's 12 o'clock <unk> <eos>e, é 😀\x1c\t\0\ufeff \n\n\n" * 20


@functools.cache
def trained(kind: str) -> Tokenizer:
    return TOKENIZERS[kind].train([TRAINING], vocab_size=300 if kind == "bpe" else None)


@functools.cache
def rust(kind: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(trained(kind).to_json())


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_the_saved_file_gives_the_same_ids_in_hugging_face_tokenizers(kind, text):
    assert trained(kind).encode(text).tolist() == rust(kind).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
@given(chunks=st.lists(texts))
def test_a_text_in_chunks_gives_the_ids_of_the_whole(kind, chunks):
    tokenizer = trained(kind)
    parts = list(tokenizer.encode_stream(chunks))
    ids = np.concatenate([np.empty(0, tokenizer.id_dtype), *parts])
    assert ids.tolist() == tokenizer.encode("".join(chunks)).tolist()
    assert ids.dtype == tokenizer.id_dtype == np.dtype("uint8" if kind != "bpe" else "uint16")


@pytest.mark.parametrize("kind", KINDS)
@given(batch=st.lists(texts))
def test_a_batch_gives_the_ids_of_each_text(kind, batch):
    tokenizer = trained(kind)
    ids, lengths = tokenizer.encode_batch(batch)
    expected = [tokenizer.encode(text).tolist() for text in batch]
    assert lengths.tolist() == [len(part) for part in expected]
    assert ids.tolist() == [number for part in expected for number in part]


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_a_lossless_tokenizer_gives_back_the_texts_of_its_alphabet(kind, text):
    tokenizer = trained(kind)
    if tokenizer.alphabet is not None:
        text = "".join(letter for letter in text if letter in tokenizer.alphabet)
    if tokenizer.lossless:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_offsets_point_at_the_characters_of_each_token(kind, text):
    tokenizer = trained(kind)
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    assert spans.shape == (len(ids), 2)
    for number, (begin, end) in zip(ids.tolist(), spans.tolist(), strict=True):
        piece = text[begin:end]
        if number == tokenizer.eos_id:
            assert piece in ("\n", "<eos>")
        elif number != tokenizer.unk_id and kind != "bpe":
            assert piece == tokenizer.id_to_token(number)
        assert piece


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_decoding_one_id_at_a_time_gives_the_text_of_all(kind, data):
    tokenizer = trained(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    decoder = tokenizer.stream_decoder()
    told = [decoder.push(number) for number in ids]
    whole = "".join(told) + decoder.flush()
    assert whole == tokenizer.decode(ids)
    whole.encode("utf-8")


@given(text=texts)
def test_any_text_survives_byte_level_bpe(text):
    tokenizer = trained("bpe")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_id not in ids


@given(text=st.text(st.sampled_from(sorted(set(TRAINING)))))
def test_a_text_of_known_characters_survives_the_character_tokenizer(text):
    tokenizer = trained("char")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text == rust("char").decode(ids.tolist(), skip_special_tokens=False)
    assert not np.isin(ids, [0, tokenizer.eos_id]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_loaded_as_its_own_kind_with_the_same_bytes(kind, tmp_path):
    tokenizer = trained(kind)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert type(loaded) is type(tokenizer)
    assert loaded.to_json() == path.read_text(encoding="utf-8") == tokenizer.to_json()
    assert loaded.vocabulary == tokenizer.vocabulary
    opened = tokenizers.Tokenizer.from_file(str(path))
    assert opened.get_vocab_size() == tokenizer.vocab_size
    assert loaded.encode(TRAINING).tolist() == opened.encode(TRAINING).ids
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_hugging_face_wrote_back_is_still_recognised(kind):
    again = tokenizer_from_json(rust(kind).to_str(pretty=True), "file")
    assert again.kind == kind
    assert again.to_json() == trained(kind).to_json()


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_for_any_chunks(kind):
    size = 300 if kind == "bpe" else None
    pieces = [TRAINING[at : at + 7] for at in range(0, len(TRAINING), 7)]
    assert TOKENIZERS[kind].train(iter(pieces), vocab_size=size).to_json() == trained(kind).to_json()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_refused_in_one_sentence(kind):
    for encode in (trained(kind).encode, trained(kind).encode_with_offsets):
        with pytest.raises(TokenizerError, match="lone surrogate"):
            encode("a\udcff b")


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_outside_the_vocabulary_is_refused(kind):
    tokenizer = trained(kind)
    for number in (-1, tokenizer.vocab_size):
        with pytest.raises(TokenizerError, match="ids go from 0"):
            tokenizer.decode([number])


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    trained("char").save(path)

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        trained("word").save(path)
    assert load_tokenizer(path).kind == "char"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "not valid JSON"),
        (b"[1]", "no table named model"),
        (b"{}", "no table named model"),
        (b'{"model": {"type": "Nonsense"}}', "can read"),
        (b'{"model": {"type": "BPE"}}', "can read"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": "b"}, "unk_token": "<unk>"}}', "can read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named_in_one_sentence(content, words, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=words) as caught:
        load_tokenizer(path)
    assert "tokenizer.json" in str(caught.value)


def test_a_missing_tokenizer_file_says_what_to_give():
    with pytest.raises(TokenizerError, match=r"give char, word, bpe or a tokenizer.json"):
        load_tokenizer(Path("nowhere.json"))


def test_ids_take_the_smallest_unsigned_type():
    sizes = {256: np.uint8, 257: np.uint16, 65536: np.uint16, 65537: np.uint32}
    assert {size: id_dtype(size) for size in sizes} == {size: np.dtype(kind) for size, kind in sizes.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_plain_entries_of_the_vocabulary(kind):
    assert json.loads(trained(kind).to_json())["added_tokens"] == []
