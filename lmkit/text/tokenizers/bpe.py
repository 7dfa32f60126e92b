"""Byte-pair encoding over bytes: any text at all survives the round trip."""

from __future__ import annotations

import codecs
import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import TokenizerError
from lmkit.text.tokenizers.lookup import tokens_in_order
from lmkit.text.tokenizers.pretokens import cut_between_pretokens, cut_inside_run
from lmkit.text.tokenizers.rust import encode_parts, import_tokenizers, parallel
from lmkit.text.tokenizers.tokenizer import CHUNK, EOS, Ids, Spans, StreamDecoder, Tokenizer, no_surrogates, rechunk

__all__ = ["BPETokenizer", "byte_alphabet"]

DEFAULT_SIZE = 4096
SMALLEST_SIZE = 256 + 1
LARGEST_SIZE = 1 << 22  # for each of them the trainer takes memory before it begins
# Merging inside a pre-token takes more than linear time, so very long ones are cut; the bytes stay the same.
LONGEST_PRE_TOKEN = 512
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
        {"type": "FixedLength", "length": LONGEST_PRE_TOKEN},
    ],
}
DECODER = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
# No token goes from a character that is not whitespace to a whitespace character, so these cuts change no id.
LINES = re.compile(r"(?<=\S)(?=\n)")
PARALLEL_CHARACTERS = 1 << 18
LONGEST_AT_ONCE = 2 * CHUNK


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in plain)
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


class BPETokenizer(Tokenizer):
    """Byte-level BPE with GPT-2's pre-tokens and no normaliser.

    ``<eos>`` is 0 and no text can write it: the angle brackets and the letters are never in one pre-token. There is no
    ``<unk>``: every byte is in the vocabulary. Ids follow the order of learning, not the frequency.

    A long text is encoded piece by piece, in constant memory, if it has white space, or changes now and then between
    letters, numbers and other characters, or is a run of one of these or of white space whose characters fit into
    pieces of 512 bytes. What is left is encoded at once: long runs of rare characters, or of two-byte letters that
    stand after a space.
    """

    kind: ClassVar[str] = "bpe"
    unk_id = None
    eos_id = 0
    lossless = True

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        super().__init__(vocabulary)
        self.merges = list(merges)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        """Learn merges; ``vocab_size`` is 4096 unless given, and at least 257. Pairs below ``min_count`` stay apart."""
        size = DEFAULT_SIZE if vocab_size is None else vocab_size
        if size < SMALLEST_SIZE:
            raise TokenizerError(f"A byte-level BPE needs a vocabulary of at least {SMALLEST_SIZE}, not {size}.")
        if size > LARGEST_SIZE:
            raise TokenizerError(f"A byte-level BPE has a vocabulary of at most {LARGEST_SIZE:,}, not {size:,}.")
        tokenizers = import_tokenizers()
        rust = tokenizers.Tokenizer(tokenizers.models.BPE())
        rust.pre_tokenizer = _rust_of(_document([EOS], [])).pre_tokenizer
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_count,
            special_tokens=[EOS],
            initial_alphabet=sorted(byte_alphabet()),
            show_progress=False,
        )
        try:
            with parallel():
                rust.train_from_iterator(_lines(texts), trainer)
        except UnicodeEncodeError as error:
            raise no_surrogates(error) from error
        trained = cls.from_document(json.loads(rust.to_str()) | _frame())
        assert trained is not None
        return trained

    @classmethod
    def training_version(cls) -> str:
        from importlib import metadata

        return metadata.version("tokenizers")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self | None:
        model = document["model"]
        frame = {part: document.get(part) for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}
        plain = all(not model.get(name) for name in ("dropout", "unk_token", "byte_fallback", "ignore_merges"))
        fixes = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        added = document.get("added_tokens")
        if model.get("type") != "BPE" or frame != _frame(added=False) or not plain or fixes or added:
            return None
        tokens = tokens_in_order(model.get("vocab"))
        alphabet = byte_alphabet()
        if not tokens or tokens[0] != EOS or not set(alphabet) <= set(tokens):
            return None
        if any(letter not in alphabet for token in tokens[1:] for letter in token):
            return None
        merges = _merges(model.get("merges"), set(tokens))
        return None if merges is None else cls(tokens, merges)

    def document(self) -> dict[str, Any]:
        return _document(self.vocabulary, self.merges)

    @functools.cached_property
    def _rust(self) -> Any:
        return _rust_of(self.document())

    @functools.cached_property
    def _bytes(self) -> list[bytes]:
        alphabet = byte_alphabet()
        return [EOS.encode(), *(bytes(alphabet[letter] for letter in token) for token in self.vocabulary[1:])]

    @functools.cached_property
    def _widths(self) -> NDArray[np.int64]:
        return np.fromiter(map(len, self._bytes), dtype=np.int64, count=self.vocab_size)

    @property
    def token_texts(self) -> list[str]:
        return [data.decode("utf-8", "replace") for data in self._bytes]

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        if all(len(text) <= LONGEST_AT_ONCE for text in texts):
            return self._encode(texts)
        found = [self._encode_long(text) for text in texts]
        return np.concatenate(found), np.array([len(ids) for ids in found], dtype=np.int64)

    def _encode_long(self, text: str) -> Ids:
        """Ids of a text that may be long: what the library holds of a token takes some 200 bytes."""
        return np.concatenate([self._encode([part])[0] for part in self.parts([text])] or [self._encode([""])[0]])

    def _encode(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        parts = [LINES.split(text) for text in texts]
        if sum(map(len, texts)) < PARALLEL_CHARACTERS:
            return encode_parts(self._rust, parts, self.id_dtype)
        with parallel():
            return encode_parts(self._rust, parts, self.id_dtype)

    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        # counted from the bytes of the tokens: half the library's time, and a third of its memory
        ids = self.encode(text)
        ends = np.cumsum(self._widths[ids])
        data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
        character = np.cumsum((data & 0xC0) != 0x80) - 1  # of each byte: all but the first begin with the bits 10
        return ids, np.stack([character[ends - self._widths[ids]], character[ends - 1] + 1], axis=1)

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for."""
        self.id_to_token(token_id)
        return self._bytes[token_id]

    def stream_decoder(self) -> StreamDecoder:
        return _ByteDecoder(self)

    def cut(self, chunk: str) -> int:
        return cut_between_pretokens(chunk)

    def cut_stretch(self, text: str) -> int:
        return cut_inside_run(text, LONGEST_PRE_TOKEN)


class _ByteDecoder(StreamDecoder):
    """Holds back the bytes of a character that is not whole yet."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    return chain.from_iterable(LINES.split(part) for part in rechunk(texts, cut_between_pretokens))


def _frame(*, added: bool = True) -> dict[str, Any]:
    frame = {"normalizer": None, "pre_tokenizer": PRE_TOKENIZER, "post_processor": None, "decoder": DECODER}
    return frame | {"added_tokens": []} if added else frame


def _document(vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, Any]:
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(vocabulary)},
        "merges": [list(pair) for pair in merges],
    }
    return {"version": "1.0", "truncation": None, "padding": None} | _frame() | {"model": model}


def _merges(found: Any, tokens: set[str]) -> list[tuple[str, str]] | None:
    """Pairs of tokens that make a token, None where there is anything else."""
    if not isinstance(found, list):
        return None
    merges: list[tuple[str, str]] = []
    for pair in found:
        parts = pair.split(" ") if isinstance(pair, str) else pair
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            return None
        left, right = parts
        if not {left, right, left + right} <= tokens:
            return None
        merges.append((left, right))
    return merges


def _rust_of(document: dict[str, Any]) -> Any:
    return import_tokenizers().Tokenizer.from_str(json.dumps(document))
