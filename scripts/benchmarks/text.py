"""Text to a token file, the cache empty: reading, splits, vocabulary, ids, counts and checksums."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

from benchmarks.case import Case, Settings, Step

COPIES = 20  # of the built-in text, each a little different
TINY = 20_000  # characters
BPE_SIZE = 4096
BPE_CHARACTERS = 2_000_000


def text_of(settings: Settings) -> str:
    """The text of a file; without one, lightly varied copies of Python's documentation."""
    if settings.corpus is not None:
        return Path(settings.corpus).read_text(encoding="utf-8")
    from pydoc_data.topics import topics

    whole = "".join(topics.values())
    if settings.tiny:
        return whole[:TINY]
    return "".join(whole.replace(" the ", f" the{number} ", 50 * number) for number in range(COPIES))


def file_of(settings: Settings) -> Path:
    assert settings.folder is not None
    path = settings.folder / "text.txt"
    path.write_text(text_of(settings), encoding="utf-8", newline="")
    return path


def plain_characters(settings: Settings) -> Step:
    """What a user would write, frozen: a dictionary of characters, a list of ids, three files."""
    import numpy as np

    path = file_of(settings)

    def step() -> float:
        text = path.read_text(encoding="utf-8")
        cuts = [0, len(text) * 8 // 10, len(text) * 9 // 10, len(text)]
        ids = {character: index for index, character in enumerate(sorted(set(text[: cuts[1]])), 1)}
        for number in range(3):
            found = [ids.get(character, 0) for character in text[cuts[number] : cuts[number + 1]]]
            np.array(found, dtype=np.uint16).tofile(path.with_name(f"{number}.bin"))
        return path.stat().st_size / 1e6

    return step


def plain_words(settings: Settings) -> Step:
    """The same with words, line ends among them, and a vocabulary by frequency."""
    import numpy as np

    path = file_of(settings)

    def step() -> float:
        text = path.read_text(encoding="utf-8")
        cuts = [0, len(text) * 8 // 10, len(text) * 9 // 10, len(text)]
        counts = Counter(text[: cuts[1]].split())
        ids = {word: index for index, (word, _) in enumerate(counts.most_common(), 2)} | {"<eos>": 1}
        for number in range(3):
            words = text[cuts[number] : cuts[number + 1]].replace("\n", " <eos> ").split()
            np.array([ids.get(word, 0) for word in words], dtype=np.uint32).tofile(path.with_name(f"{number}.bin"))
        return path.stat().st_size / 1e6

    return step


def own(kind: str, settings: Settings) -> Step:
    """``build_corpus`` without a cache."""
    from lmkit.config import DataConfig
    from lmkit.text import build_corpus

    path = file_of(settings)
    cache = path.with_name("cache")
    os.environ["LMKIT_CACHE"] = str(cache)

    def step() -> float:
        shutil.rmtree(cache, ignore_errors=True)
        build_corpus(DataConfig(corpus=str(path), tokenizer=kind))
        return path.stat().st_size / 1e6

    return step


def bpe_library(settings: Settings) -> Step:
    """The library's own batch call on the lines of a text, its ids in an array, with as many threads as there are."""
    import numpy as np
    import tokenizers

    from lmkit.text import BPETokenizer

    text = text_of(settings)[:BPE_CHARACTERS]
    rust = tokenizers.Tokenizer.from_str(BPETokenizer.train([text], vocab_size=BPE_SIZE).to_json())
    lines = text.splitlines(keepends=True)

    def step() -> float:
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        found = rust.encode_batch_fast(lines, add_special_tokens=False)
        np.concatenate([np.array(one.ids, dtype=np.uint16) for one in found])
        return len(text.encode()) / 1e6

    return step


def bpe(settings: Settings) -> Step:
    """``encode_stream`` of the same text."""
    from lmkit.text import BPETokenizer

    text = text_of(settings)[:BPE_CHARACTERS]
    tokenizer = BPETokenizer.train([text], vocab_size=BPE_SIZE)

    def step() -> float:
        for _ in tokenizer.encode_stream([text]):
            pass
        return len(text.encode()) / 1e6

    return step


CASES = [
    Case("text/characters", "MB", "a dictionary of characters", plain_characters, partial(own, "char")),
    Case("text/words", "MB", "a dictionary of words", plain_words, partial(own, "word")),
    Case("text/bpe", "MB", "the library's batch call", bpe_library, bpe),
]
