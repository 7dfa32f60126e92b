"""Tokenizers that others trained, run by Hugging Face ``tokenizers`` as they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import TokenizerError
from lmkit.text.tokenizers.bpe import byte_alphabet
from lmkit.text.tokenizers.rust import encode_parts, import_tokenizers
from lmkit.text.tokenizers.tokenizer import Ids, Spans, StreamDecoder, Tokenizer, no_surrogates
from lmkit.text.whitespace import cut_before_space

__all__ = ["ForeignTokenizer"]

MOST_HOLES = 1 << 16  # ids without a token, which some tokenizers have
METASPACE = "\u2581"  # a space, in the vocabularies of SentencePiece
END_TOKENS = ("<eos>", "</s>", "<|endoftext|>", "[SEP]")


class ForeignTokenizer(Tokenizer):
    """Any other tokenizer.json with a token that can close a document: <eos>, </s>, <|endoftext|> or [SEP].

    Text never matches its special tokens, and it adds none. A tokenizer whose structure is GPT-2's is lossless and
    encodes long texts in pieces; any other one takes a whole document at once, because nothing is known of where it may
    be cut.
    """

    kind: ClassVar[str] = "foreign"

    def __init__(self, rust: Any, text: str, name: str) -> None:
        vocab: dict[str, int] = rust.get_vocab(with_added_tokens=True)
        size = max(vocab.values(), default=-1) + 1
        if size > 2 * len(vocab) + MOST_HOLES:
            raise TokenizerError(f"{name} has {len(vocab):,} tokens with ids up to {size - 1:,}: number them from 0.")
        tokens = [""] * size
        for token, index in vocab.items():
            tokens[index] = token
        super().__init__(tokens)
        self._ids = vocab
        document = json.loads(text)
        self._rust, self._json, self._name = rust, text, name
        self._like_gpt2 = _is_like_gpt2(document, set(vocab))
        self.lossless = self._like_gpt2
        self.eos_id = self._find_end(vocab)
        unknown = document["model"].get("unk_token")
        number = document["model"].get("unk_id")
        self.unk_id = vocab.get(unknown) if isinstance(unknown, str) else number if isinstance(number, int) else None
        self._refuse_silent_loss(document)

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """Raises TokenizerError where the file is no tokenizer, has no end token, or would drop unknown characters."""
        try:
            rust = import_tokenizers().Tokenizer.from_str(text)
        except Exception as error:  # the Rust library raises plain Exception
            raise TokenizerError(f"{name} is not a tokenizer.json that `tokenizers` can read: {error}.") from error
        rust.encode_special_tokens = True  # not kept in the file, so set at every load
        rust.no_truncation()
        rust.no_padding()
        return cls(rust, text, name)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        raise TokenizerError("A foreign tokenizer cannot be trained: choose char, word or bpe.")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self | None:
        return cls.from_json(json.dumps(document), "the tokenizer")

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._json)
        return document

    def to_json(self) -> str:
        return self._json

    @property
    def token_texts(self) -> list[str]:
        if self._like_gpt2:
            return [_text_of_bytes(token) for token in self.vocabulary]
        return [token.replace(METASPACE, " ") for token in self.vocabulary]

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        try:
            with self._no_panic():
                return encode_parts(self._rust, [[text] for text in texts], self.id_dtype)
        except (TokenizerError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise TokenizerError(f"{self._name} cannot encode this text: {error}.") from error

    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        try:
            with self._no_panic():
                found = self._rust.encode(text, add_special_tokens=False)
        except TypeError as error:
            raise no_surrogates(UnicodeError(str(error))) from error
        return np.array(found.ids, dtype=self.id_dtype), np.array(found.offsets, dtype=np.int64).reshape(-1, 2)

    def decode(self, ids: Iterable[int]) -> str:
        with self._no_panic():
            text: str = self._rust.decode([int(number) for number in ids], skip_special_tokens=False)
        return text

    @contextlib.contextmanager
    def _no_panic(self) -> Iterator[None]:
        """What a senseless rule in the file makes the Rust library do is no Exception; it has no importable name."""
        try:
            yield
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            raise TokenizerError(f"{self._name} has a rule that `tokenizers` cannot apply: {error}.") from error

    def stream_decoder(self) -> StreamDecoder:
        return _WindowDecoder(self)

    def cut(self, chunk: str) -> int:
        return cut_before_space(chunk) if self._like_gpt2 else -1

    def _find_end(self, vocab: dict[str, int]) -> int:
        for token in END_TOKENS:
            if token in vocab:
                return vocab[token]
        raise TokenizerError(
            f"{self._name} has no token that ends a text: it needs one of {', '.join(END_TOKENS)} in its vocabulary."
        )

    def _refuse_silent_loss(self, document: dict[str, Any]) -> None:
        model = document["model"]
        is_bpe = model.get("type") == "BPE" or "merges" in model
        covered = set(byte_alphabet()) <= set(self._ids) or model.get("byte_fallback")
        if is_bpe and self.unk_id is None and not covered:
            raise TokenizerError(
                f"{self._name} would drop characters that it does not know: it needs an unk_token or byte fallback."
            )


class _WindowDecoder(StreamDecoder):
    """Decodes the last few ids together and gives what is new, for decoders that know more than single tokens."""

    def __init__(self, tokenizer: ForeignTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._decoded = 0

    def push(self, token_id: int) -> str:
        self._ids.append(int(token_id))
        before = self._tokenizer.decode(self._ids[: self._decoded])
        now = self._tokenizer.decode(self._ids)
        if now.endswith("\ufffd") or len(now) <= len(before):
            return ""
        self._ids = self._ids[self._decoded :]
        self._decoded = len(self._ids)
        return now[len(before) :]

    def flush(self) -> str:
        before = self._tokenizer.decode(self._ids[: self._decoded])
        now = self._tokenizer.decode(self._ids)
        self._ids, self._decoded = [], 0
        return now[len(before) :]


def _text_of_bytes(token: str) -> str:
    """The text of a byte-level token, nothing for a special one."""
    alphabet = byte_alphabet()
    if any(letter not in alphabet for letter in token):
        return ""
    return bytes(alphabet[letter] for letter in token).decode("utf-8", "replace")


def _is_like_gpt2(document: dict[str, Any], vocab: set[str]) -> bool:
    """Whether the file only splits by GPT-2's pattern into bytes: every text survives, and long ones can be cut."""
    split = document.get("pre_tokenizer") or {}
    plain = split.get("type") == "ByteLevel" and split.get("use_regex", True) and not split.get("add_prefix_space")
    decoder = (document.get("decoder") or {}).get("type") == "ByteLevel"
    return bool(plain and decoder and not document.get("normalizer") and set(byte_alphabet()) <= vocab)
