"""Texts and configurations in a process: whatever comes in, only LmkitErrors come out, and what was promised holds."""

from __future__ import annotations

import random
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_text"]

LETTERS: tuple[str, ...] = (
    "abc de\n",
    "\n\r\t \x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u2028\u2029\u3000",
    "\0\x01\x1b\x7f\ufeff\ufffe\uffff\ufffd",
    "éüßñ\u0301\u0308\u200d\u200b",
    "日本語中文한국",
    "\U0001f469\u200d\U0001f680\U0001f600\U00010000\U0010ffff",
    "\ue000\ud7ff\u0378\U000e0001",
    "<unk><eos></s>|endoftext ",
    "0123456789.,'’s don't I'll ",
)
SURROGATES = "\ud800\udbff\udc00\udfff\udcff"
LENGTHS = (0, 1, 1, 2, 5, 20, 100, 1000)
LONG = (5000, 40_000)


def check_text(draw: random.Random, folder: Path) -> int:
    """Run one case; 0 where it went well, 2 where it was refused. Any exception is a fault."""
    from lmkit.errors import LmkitError

    work: Callable[[random.Random, Path], None] = draw.choices(
        (_round_trip, _foreign_bytes, _stream, _config, _toml, _reading, _nbest, _documents),
        (30, 10, 12, 20, 10, 8, 5, 5),
    )[0]
    try:
        work(draw, folder)
    except LmkitError as error:
        assert str(error).strip(), "an error without a word"
        assert len(str(error)) < 3000, f"a message of {len(str(error)):,} characters"
        print(error, file=sys.stderr)
        return 2
    return 0


def draw_text(draw: random.Random, *, surrogates: bool = True) -> str:
    length = draw.choice((*LENGTHS, *LENGTHS, *LONG) if draw.random() < 0.2 else LENGTHS)
    kind = draw.random()
    if kind < 0.1:
        return draw.choice(draw.choice(LETTERS)) * length
    if kind < 0.2:
        return "".join(
            chr(draw.choice((draw.randrange(0xD800), draw.randrange(0xE000, 0x110000)))) for _ in range(length)
        )
    letters = "".join(draw.sample(LETTERS, draw.choice((1, 2, 3, len(LETTERS)))))
    if surrogates and kind > 0.97:
        letters += SURROGATES
    return "".join(draw.choices(letters, k=length))


def _tokenizer(draw: random.Random, text: str) -> Any:
    from lmkit.text.tokenizers.kinds import TOKENIZERS

    kind = draw.choice(sorted(TOKENIZERS))
    size = draw.choice((*(None,) * 8, 3, 4, 10, 257, 260, 300, 300, 0, -1, 256, 2**40))
    if size == 2**40 and kind == "bpe":
        size = 400
    return TOKENIZERS[kind].train([text], vocab_size=size, min_count=draw.choice((*(1,) * 12, 2, 3, 10, 10**12)))


def _round_trip(draw: random.Random, folder: Path) -> None:
    """train, encode, decode, save, load: lossless is lossless, and what was loaded is what was saved."""
    from lmkit.text.tokenizers.kinds import load_tokenizer

    text = draw_text(draw)
    tokenizer = _tokenizer(draw, text)
    other = text if draw.random() < 0.5 else draw_text(draw)
    ids = tokenizer.encode(other)
    assert ids.dtype == tokenizer.id_dtype
    assert not len(ids) or int(ids.max()) < tokenizer.vocab_size
    decoded = tokenizer.decode(ids.tolist())
    if tokenizer.lossless and (tokenizer.unk_id is None or tokenizer.unk_id not in ids):
        assert decoded == other, (decoded[:50], other[:50])
    stream = tokenizer.stream_decoder()
    streamed = "".join([*map(stream.push, ids.tolist()), stream.flush()])
    assert streamed == decoded, "streamed is not decoded"
    again, spans = tokenizer.encode_with_offsets(other)
    assert np.array_equal(again, ids), "ids with offsets are other ids"
    assert not len(spans) or (spans.min() >= 0 and spans.max() <= len(other) and (spans[:, 0] <= spans[:, 1]).all())
    tokenizer.save(folder / "tokenizer.json")
    loaded = load_tokenizer(folder / "tokenizer.json")
    assert (loaded.kind, loaded.vocabulary, loaded.to_json()) == (
        tokenizer.kind,
        tokenizer.vocabulary,
        tokenizer.to_json(),
    )
    assert np.array_equal(loaded.encode(other), ids), "the loaded tokenizer gives other ids"


def _stream(draw: random.Random, folder: Path) -> None:
    """A text in chunks gives the ids of the text in one."""
    text = draw_text(draw)
    tokenizer = _tokenizer(draw, text)
    places = sorted(draw.randrange(len(text) + 1) for _ in range(draw.choice((0, 1, 3, 10))))
    chunks = [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]
    whole = tokenizer.encode(text)
    parts = list(tokenizer.encode_stream(chunks))
    joined = np.concatenate([np.empty(0, tokenizer.id_dtype), *parts])
    assert np.array_equal(joined, whole), "chunks change ids"
    ids, lengths = tokenizer.encode_batch(chunks)
    separate = [tokenizer.encode(chunk) for chunk in chunks]
    assert np.array_equal(ids, np.concatenate([np.empty(0, tokenizer.id_dtype), *separate])), "a batch changes ids"
    assert lengths.tolist() == list(map(len, separate))


def _foreign_bytes(draw: random.Random, folder: Path) -> None:
    """A damaged tokenizer.json that is still taken must work."""
    from fuzzing.mutations import damage_json
    from lmkit.text.tokenizers.kinds import tokenizer_from_json

    text = "the cat sat on the mat.\n" * 3
    size = draw.choice((None, 280))
    good = _kind(draw).train([text], vocab_size=size).to_json()
    damaged = damage_json(draw, good.encode())
    tokenizer = tokenizer_from_json(damaged.decode("utf-8", "surrogatepass"), "tokenizer.json")
    assert tokenizer.vocab_size < 2**20
    ids = tokenizer.encode(text + draw_text(draw, surrogates=False)[:200])
    assert not len(ids) or int(ids.max()) < tokenizer.vocab_size
    tokenizer.decode(range(min(tokenizer.vocab_size, 500))).encode("utf-8")
    tokenizer.to_json().encode("utf-8")


def _kind(draw: random.Random) -> Any:
    from lmkit.text.tokenizers.kinds import TOKENIZERS

    return TOKENIZERS[draw.choice(sorted(TOKENIZERS))]


def _value(draw: random.Random, depth: int = 0) -> Any:
    plain: tuple[Any, ...] = (
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        8,
        0.5,
        1e300,
        float("nan"),
        float("inf"),
        -0.0,
        2**63,
        10**400,
    )
    words = ("", "x", "lstm", "gru", "auto", "char", "\0", "\ud800", "[/x]", "y" * 5000)
    kind = draw.random()
    if kind < 0.6 or depth > 3:
        return draw.choice(plain)
    if kind < 0.75:
        return draw.choice(words)
    if kind < 0.9:
        return [_value(draw, depth + 1) for _ in range(draw.choice((0, 1, 2, 5)))]
    return {draw.choice(words): _value(draw, depth + 1) for _ in range(draw.choice((0, 1, 3)))}


def _config(draw: random.Random, folder: Path) -> None:
    """A configuration of random values: it is refused, or comes back from its own dictionary."""
    from lmkit.config import Config

    document = Config().to_dict()
    for _ in range(draw.choice((1, 1, 2, 4))):
        section = draw.choice(sorted(document))
        content = document[section]
        if draw.random() < 0.1 or not isinstance(content, dict) or not content:
            document[section] = _value(draw)
            continue
        key = draw.choice(sorted(content)) if draw.random() < 0.9 else draw.choice(("x", "", "hidden_sizes", "\ud800"))
        content[key] = _value(draw)
    config = Config.from_dict(document)
    assert Config.from_dict(config.to_dict()) == config


def _toml(draw: random.Random, folder: Path) -> None:
    """A --config file, damaged in its structure and in its bytes."""
    from fuzzing.mutations import damage_bytes, damage_toml
    from lmkit.cli.options import make_config

    content = b'[model]\nhidden_size = 8\ncell = "gru"\n[training]\nlr = 0.1\nwindow = 8\n[data]\ncorpus = "x"\n'
    for _ in range(draw.choice((1, 1, 2))):
        try:
            content = damage_toml(draw, content) if draw.random() < 0.7 else damage_bytes(draw, content)
        except (UnicodeDecodeError, ValueError, IndexError):
            content = damage_bytes(draw, content)
    (folder / "config.toml").write_bytes(content)
    config = make_config(None, folder / "config.toml", {})
    assert tomllib.loads(content.decode()) is not None
    assert config == make_config(None, folder / "config.toml", {})


def _reading(draw: random.Random, folder: Path) -> None:
    """Random bytes read as a text: exactly what Python decodes, or refused."""
    from lmkit.text.sources.reading import decode_chunks

    data = draw_text(draw, surrogates=False).encode()
    if draw.random() < 0.5:
        place = draw.randrange(len(data) + 1)
        data = data[:place] + draw.randbytes(draw.choice((1, 2, 5))) + data[place:]
    size = draw.choice((1, 2, 3, 7, 1000))
    text = "".join(decode_chunks((data[begin : begin + size] for begin in range(0, len(data), size)), "text"))
    assert text == data.decode("utf-8")


def _nbest(draw: random.Random, folder: Path) -> None:
    """An n-best list of random lines."""
    from lmkit.evaluation.scoring.nbest import read_nbest

    fields = ("1", "a", "", "-1.5", "nan", "1e400", "\ud800", "|||", "\t", "the cat", "٣", "1_0", "9" * 5000)
    lines = [draw.choice(("\t", "|||", " ")).join(draw.choices(fields, k=draw.choice((1, 2, 3, 4)))) for _ in range(3)]
    for hypothesis in read_nbest([draw.choice(("\n", "\r\n", "\r")).join(lines)], "nbest"):
        assert hypothesis.score == hypothesis.score


def _documents(draw: random.Random, folder: Path) -> None:
    """Documents put together are the text, however it is cut into chunks."""
    from lmkit.text.documents import split_documents

    text = draw_text(draw)
    places = sorted(draw.randrange(len(text) + 1) for _ in range(draw.choice((0, 1, 5))))
    chunks = [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]
    for rule in ("line", "blank-line"):
        documents = [one for whole in split_documents(chunks, rule) for one in whole]
        assert "".join(documents) == text
        assert documents == [one for whole in split_documents([text], rule) for one in whole], "chunks move documents"
