"""Does text survive the tokenizer?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from lmkit.doctor.check import FAILED, NOTE, OK, Check
from lmkit.errors import LmkitError
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["round_trip"]

NAME = "tokenizer round trip"
WORDS = 2000
CODE_POINTS = 2000
# Line ends of every kind, runs of spaces, marks that are two code points, emoji of many, a BOM and a NUL.
HARD = (
    "a  b\t\tc\r\n\r\n d\re\u0301 e\u0308 \U0001f469\u200d\U0001f680 \ufeff\0 <unk> <eos> </s> don't 1,234.5 \u2028x\n"
)


def round_trip(tokenizer: Tokenizer, text: str = "") -> Check:
    """Encode and decode: the run's own text, and text that is hard for the kind of tokenizer.

    Characters and byte-level BPE must give the text back, words must give their ids back; of a foreign tokenizer that
    loses text the check only reports how much comes back.
    """
    try:
        if tokenizer.eos_is_line_end:
            return _words(tokenizer)
        if tokenizer.lossless:
            return _exact(tokenizer, [text, _hard_text(tokenizer)])
        return _kept(tokenizer, text or HARD)
    except LmkitError as error:
        return Check(NAME, FAILED, "stopped by an error", None, (str(error),))


def _exact(tokenizer: Tokenizer, texts: list[str]) -> Check:
    if tokenizer.alphabet is not None:
        known = set(tokenizer.alphabet)
        texts = ["".join(letter for letter in text if letter in known) for text in texts]
    total = sum(map(len, texts))
    for text in texts:
        back = tokenizer.decode(tokenizer.encode(text).tolist())
        if back != text:
            position = _first_difference(text, back)
            advice = f"{text[position : position + 10]!r} comes back as {back[position : position + 10]!r}."
            return Check(NAME, FAILED, f"lost at character {position:,} of {total:,}", position, (advice,))
    return Check(NAME, OK, f"{total:,} characters come back as they were", total)


def _words(tokenizer: Tokenizer) -> Check:
    """Words of the vocabulary, drawn with a fixed seed, in lines of ten."""
    draw = random.Random(0)
    ids = [tokenizer.eos_id if index % 10 == 9 else draw.randrange(tokenizer.vocab_size) for index in range(WORDS)]
    again = tokenizer.encode(tokenizer.decode(ids)).tolist()
    if again != ids:
        position = _first_difference(ids, again)
        advice = f"{tokenizer.id_to_token(ids[min(position, WORDS - 1)])!r} does not come back as the same token."
        return Check(NAME, FAILED, f"lost at token {position:,} of {WORDS:,}", position, (advice,))
    return Check(NAME, OK, f"{WORDS:,} words come back as they were; white space is not kept", WORDS)


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The index of the first element that differs, or where the shorter one ends."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _kept(tokenizer: Tokenizer, text: str) -> Check:
    kept = tokenizer.decode(tokenizer.encode(text).tolist()) == text
    finding = "the sample text comes back" if kept else "the sample text does not come back: bits per byte are a bound"
    return Check(NAME, NOTE, f"lossy; {finding}", int(kept))


def _hard_text(tokenizer: Tokenizer) -> str:
    """The whole alphabet, or where there is none a text of code points from everywhere."""
    if tokenizer.alphabet is not None:
        return tokenizer.alphabet
    draw = random.Random(0)
    codes = (draw.choice((0x250, 0xD7FF, 0x10FFFF)) for _ in range(CODE_POINTS))
    points = (draw.randrange(1, top) for top in codes)
    return HARD + "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
