"""The byte-level BPE tokenizer."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import TokenizerError
from lmkit.text import BPETokenizer
from lmkit.text.tokenizers.bpe import byte_alphabet


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(["to be or not to be, that is the question.\n" * 50], vocab_size=300)


def test_the_vocabulary_is_eos_then_bytes_then_merges(tokenizer):
    assert tokenizer.vocabulary[0] == "<eos>"
    assert sorted(tokenizer.vocabulary[1:257]) == sorted(byte_alphabet())
    assert len(tokenizer.merges) == tokenizer.vocab_size - 257
    assert tokenizer.unk_id is None
    assert not tokenizer.ids_by_frequency


def test_the_byte_alphabet_is_the_one_of_the_library():
    from tokenizers import pre_tokenizers

    assert sorted(byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_every_byte_is_the_one_that_its_letter_stands_for(tokenizer):
    text = "".join(chr(code) for code in range(0x800))
    assert b"".join(tokenizer.token_bytes(number) for number in tokenizer.encode(text).tolist()) == text.encode()


@given(text=st.text())
def test_offsets_are_those_of_the_library(tokenizer, text):
    from tokenizers import Tokenizer

    expected = Tokenizer.from_str(tokenizer.to_json()).encode(text)
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids.tolist() == expected.ids
    assert list(map(tuple, spans.tolist())) == expected.offsets


def test_even_a_text_full_of_eos_never_gives_the_eos_id():
    text = "<eos><eos> <eos>\n" * 200
    tokenizer = BPETokenizer.train([text], vocab_size=400)
    ids = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode(ids) == text


def test_a_very_long_word_is_encoded_and_comes_back(tokenizer):
    text = "x" * 500_000
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bytes_are_held_back_until_a_character_is_whole(tokenizer):
    decoder = tokenizer.stream_decoder()
    told = [decoder.push(number) for number in tokenizer.encode("é😀").tolist()]
    assert told == ["", "é", "", "", "", "😀"]
    assert decoder.flush() == ""


def test_a_character_that_never_becomes_whole_is_replaced(tokenizer):
    decoder = tokenizer.stream_decoder()
    first = tokenizer.encode("é").tolist()[0]
    assert decoder.push(first) == ""
    assert decoder.flush() == "\ufffd" == tokenizer.decode([first])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_after_training_neither_warns_nor_hangs():
    code = """
import os, signal, warnings
signal.alarm(90)
warnings.simplefilter("ignore", DeprecationWarning)
from lmkit.text import BPETokenizer
t = BPETokenizer.train(["to be or not to be\\n"] * 2000)
t.encode("to be or not to be\\n" * 20000)
child = os.fork()
signal.alarm(60)
if child:
    os._exit(os.waitpid(child, 0)[1])
t.encode("to be or not to be\\n" * 20000)
os._exit(0)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(TokenizerError, match="at least 257, not 256"):
        BPETokenizer.train(["a"], vocab_size=256)


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_one():
    assert BPETokenizer.train(["ab"]).vocab_size == 258
