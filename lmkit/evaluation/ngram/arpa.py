"""ARPA files, the text format that n-gram tools exchange models in, read for a tokenizer and written from a model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import ConfigError
from lmkit.evaluation.ngram.arpa_sections import ArpaFile, Section
from lmkit.evaluation.ngram.backoff import Ngrams, find_ngrams
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.files import write_atomically
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["read_arpa", "write_arpa"]

LOG_10 = float(np.log(10.0))
# Numbers of the words that are no tokens.
BEGIN, END, UNUSED = -1, -2, -3
SPACE = re.compile(r"[\x00\t\n\v\f\r ]")  # what separates the fields of a line; no token can be written with it
LINES_AT_ONCE = 1 << 16
IMPOSSIBLE = -99.0  # the format's own number for a probability of 0
SHOWN = 3
ROUNDING = 1e-3


def read_arpa(
    path: str | os.PathLike[str], tokenizer: Tokenizer, report: Callable[[float], None] | None = None
) -> NgramModel:
    """The back-off model of an ARPA file over a tokenizer's vocabulary, of any order up to 16.

    The file's words are the tokens as the tokenizer writes them; white space inside a token is <char:20> and so on.
    <s> (as a context) and </s> (as a prediction) are the tokenizer's end token, unless the file has that token itself:
    then no stream holds these marks, and n-grams with them are left out. <unk> is the tokenizer's unknown token, or
    left out if it has none. What the file gives to words left out is lost: probabilities then sum to a little less than
    one.

    Raises DataError, with the file and the line, where the file is malformed, and ConfigError where its words are not
    the tokenizer's tokens. Memory grows with the file, whatever counts it declares. Of the probabilities only the sum
    of the 1-grams is checked. report: called now and then with the share of the file that was read.
    """
    with ArpaFile(path, report) as file:
        counts = file.counts()
        words = _Words(tokenizer)
        section = file.section(1, counts, words)
        end = None if tokenizer.eos_id in section.words else tokenizer.eos_id
        levels = [_first_level(file, section, end, tokenizer.vocab_size)]
        _refuse_other_words(file, levels[0], words, tokenizer)
        known = words.known(section)
        for order in range(2, len(counts) + 1):
            levels.append(_level(file, file.section(order, counts, known), end, levels, tokenizer.vocab_size))
    return NgramModel(tokenizer.vocab_size, levels)


def write_arpa(model: NgramModel, tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write a model so that ``read_arpa`` gives the same log-probabilities to 1e-8 nats.

    The file is written whole or not at all, and held in memory. <s> and </s> are added with probability 0, because
    other tools want them. Raises ConfigError where the tokenizer is not the model's, FailedError where the disk
    refuses.
    """
    if model.vocab_size != tokenizer.vocab_size:
        raise ConfigError(
            f"The n-gram model has {model.vocab_size:,} tokens and the tokenizer {tokenizer.vocab_size:,}: "
            "write it with the tokenizer it was counted with."
        )
    names = [_name(token, id) for id, token in enumerate(tokenizer.vocabulary)]
    marks = [mark for mark in ("<s>", "</s>") if mark not in names]
    write_atomically(Path(path), b"".join([block.encode() for block in _blocks(model, names, marks)]))


def _blocks(model: NgramModel, names: list[str], marks: list[str]) -> Iterator[str]:
    """The text of the file, some thousands of lines at a time."""
    levels = model.tables.levels
    counts = [count + len(marks) * (order == 1) for order, count in enumerate(model.num_ngrams, 1)]
    yield "\\data\\\n" + "".join(f"ngram {order}={count}\n" for order, count in enumerate(counts, 1))
    for order, level in enumerate(levels, 1):
        yield f"\n\\{order}-grams:\n"
        if order == 1:
            yield "".join(f"{IMPOSSIBLE:g}\t{mark}\n" for mark in marks)
        for begin in range(0, len(level.keys), LINES_AT_ONCE):
            part = np.arange(begin, min(begin + LINES_AT_ONCE, len(level.keys)))
            words = _words_of(levels[:order], part, model.vocab_size).tolist()
            probs, backoffs = (level.log_probs[part] / LOG_10).tolist(), (level.backoffs[part] / LOG_10).tolist()
            lines = [
                f"{prob:.10g}\t{' '.join([names[word] for word in row])}"
                for prob, row in zip(probs, words, strict=True)
            ]
            if order < len(levels):
                lines = [f"{line}\t{backoff:.10g}" for line, backoff in zip(lines, backoffs, strict=True)]
            yield "\n".join(lines) + "\n"
    yield "\n\\end\\\n"


def _words_of(levels: tuple[Ngrams, ...], indices: NDArray[np.int64], vocab_size: int) -> NDArray[np.int64]:
    """The tokens (n, k) of the n-grams at indices (n,) of the last of k levels."""
    words = np.empty((len(indices), len(levels)), dtype=np.int64)
    for column in reversed(range(len(levels))):
        keys = levels[column].keys[indices]
        words[:, column] = keys % vocab_size
        indices = keys // vocab_size
    return words


class _Words(dict[bytes, int]):
    """Numbers of the words of a file's 1-grams; remembers those that are unknown to the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = enumerate(tokenizer.vocabulary)
        super().__init__((_name(token, id).encode(), id) for id, token in vocabulary)
        self.setdefault(b"<s>", BEGIN)
        self.setdefault(b"</s>", END)
        self.setdefault(b"<unk>", UNUSED if tokenizer.unk_id is None else tokenizer.unk_id)
        self.unknown: list[str] = []
        self.num_unknown = 0

    def __missing__(self, word: bytes) -> int:
        self.num_unknown += 1
        if len(self.unknown) < SHOWN:
            self.unknown.append(word[:60].decode("utf-8", "replace"))
        return UNUSED

    def known(self, section: Section) -> dict[bytes, int]:
        """The numbers of the words that the 1-grams have."""
        there = set(section.words[:, 0].tolist())
        return {word: number for word, number in self.items() if number in there}


def _name(token: str, id: int) -> str:
    """A token as one word of an ARPA file; an id without a token, which some tokenizers have, is a word too."""
    return SPACE.sub(lambda space: f"<char:{ord(space[0]):02X}>", token) or f"<id:{id}>"


def _first_level(file: ArpaFile, section: Section, end: int | None, vocab_size: int) -> Ngrams:
    """The 1-grams; the end token ``end`` is predicted with </s>'s probability and is <s> as a context."""
    numbers = section.words[:, 0]
    level = _sorted(file, section, _end_tokens(section.words, end)[:, 0], vocab_size)
    if end is not None and BEGIN in numbers:
        level.backoffs[level.keys == end] = LOG_10 * section.log10_backoffs[numbers == BEGIN][0]
    total = float(np.exp(level.log_probs).sum())
    if total > 1 + ROUNDING:
        raise file.error(f"the probabilities of the 1-grams above sum to {total:.4g}, and they must not exceed 1.")
    return level


def _level(file: ArpaFile, section: Section, end: int | None, levels: list[Ngrams], vocab_size: int) -> Ngrams:
    """The n-grams of the order after those of ``levels``."""
    words = _end_tokens(section.words, end)
    indices = words[:, 0]
    for column, level in enumerate(levels[1:], 1):
        indices = find_ngrams(level, indices, words[:, column], vocab_size)
    used = (words >= 0).all(axis=1)
    lost = used & (indices < 0)
    if lost.any():
        order = len(levels) + 1
        line = int(section.lines[np.argmax(lost)])
        raise file.error(f"the first {order - 1} words of this {order}-gram are not among the {order - 1}-grams.", line)
    return _sorted(file, section, np.where(used, indices * vocab_size + words[:, -1], UNUSED), vocab_size)


def _end_tokens(words: NDArray[np.int64], end: int | None) -> NDArray[np.int64]:
    """Words (n, k) with the end token for a first <s> that is a context and for a last </s>; None leaves them."""
    words = words.copy()
    if end is not None:
        words[words[:, -1] == END, -1] = end
        if words.shape[1] > 1:
            words[words[:, 0] == BEGIN, 0] = end
    return words


def _sorted(file: ArpaFile, section: Section, keys: NDArray[np.int64], vocab_size: int) -> Ngrams:
    """A section as a table in the order of its keys (n,), without those that are negative."""
    order = np.argsort(keys, kind="stable")
    order = order[np.searchsorted(keys[order], 0) :]
    keys = keys[order]
    again = np.flatnonzero(keys[1:] == keys[:-1])
    if len(again):
        line = int(section.lines[order[again + 1]].min())
        raise file.error("this n-gram is listed twice.", line)
    with np.errstate(over="ignore"):  # less than any number: a probability of 0
        return Ngrams(keys, LOG_10 * section.log10_probs[order], LOG_10 * section.log10_backoffs[order])


def _refuse_other_words(file: ArpaFile, level: Ngrams, words: _Words, tokenizer: Tokenizer) -> None:
    """Every token needs a probability, and every word of the file must be a token, or they would not sum to one."""
    missing = np.setdiff1d(np.arange(tokenizer.vocab_size), level.keys)
    faults = []
    if len(missing):
        names = [_name(tokenizer.vocabulary[id], id) for id in missing[:SHOWN].tolist()]
        faults.append(
            f"{len(missing):,} of the {tokenizer.vocab_size:,} tokens are missing ({_listed(names, len(missing))})"
        )
    if words.num_unknown:
        faults.append(
            f"{words.num_unknown:,} of its words are not tokens ({_listed(words.unknown, words.num_unknown)})"
        )
    if faults:
        raise ConfigError(
            f"{file.path} does not fit the tokenizer: {' and '.join(faults)}. Estimate it on text that this "
            "tokenizer has split, or let lmkit count an n-gram model of its own."
        )


def _listed(names: list[str], number: int) -> str:
    return ", ".join(names) + (", ..." if number > len(names) else "")
