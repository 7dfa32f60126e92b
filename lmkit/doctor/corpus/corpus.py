"""Checks of a text before anything is trained on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from lmkit.config import OF_WINDOWS, Config
from lmkit.doctor.check import FAILED, NOTE, OK, SKIPPED, WARNING, Check
from lmkit.doctor.corpus.encoding import byte_checks, scan_source
from lmkit.doctor.corpus.estimate import estimate_checks
from lmkit.doctor.corpus.lines import line_checks
from lmkit.errors import LmkitError
from lmkit.evaluation.comparison.alignment import split_slice
from lmkit.hardware import choose_device
from lmkit.model.precision import choose_precision
from lmkit.samplers import fitting_layout
from lmkit.session.sampling import window_sizes
from lmkit.text.corpus import Corpus, Progress, build_corpus
from lmkit.text.sources.opening import open_source
from lmkit.text.sources.source import Piece, Slice, Source
from lmkit.text.tokenizers.tokenizer import EOS, UNK
from lmkit.text.traits import TABLE

__all__ = ["check_corpus", "count_specials"]

SPECIALS = ("<unk>", "<eos>", "<s>", "</s>", "<pad>", "<|endoftext|>", "[UNK]")
MUCH_OOV = 0.1
SMALL_SPLIT = 1000  # tokens: below it a mean loss is mostly chance
FEW_STEPS = 10  # an epoch
SHOWN = 5


def check_corpus(config: Config, progress: Progress | None = None) -> Iterator[Check]:
    """All checks of a configuration's text. What cannot be checked after a failure is skipped, with a note.

    Raises DataError or CorpusError where the text is not there.
    """
    # for the estimate; a mistake is reported before any check
    choose_precision(config.runtime.precision, choose_device(config.runtime.device), config.model)
    with open_source(config.data.corpus) as source:
        yield from _files(source)
        try:
            scan = scan_source(source)
        except LmkitError as error:
            yield Check("UTF-8", FAILED, "cannot be read", None, (str(error),))
            return
        yield from byte_checks(scan)
        if scan.faults:
            yield Check("everything else", SKIPPED, "needs a text in UTF-8")
            return
        try:
            corpus = build_corpus(config.data, progress=progress)
        except LmkitError as error:
            yield Check("splits and tokens", FAILED, "cannot be made", None, (str(error),))
            return
        if corpus.traits.table:
            yield Check("table", WARNING, "the text is one, such as a CSV file", None, (TABLE,))
        yield from _splits(corpus)
        yield from _size(config, corpus)
        yield from _unknown(corpus)
        slices = {name: split_slice(source, corpus.info["ranges"], name) for name in corpus.splits}
        yield _specials(corpus, slices)
        yield from line_checks(slices)
    train = corpus.splits["train"]
    yield from estimate_checks(config, corpus.tokenizer.vocab_size, len(train), train.document_starts)


def count_specials(pieces: Iterable[Piece], specials: Iterable[str] = SPECIALS) -> Counter[str]:
    """How often each special token is written out in a text; one may be cut by the border of two pieces."""
    specials = list(specials)
    found: Counter[str] = Counter()
    longest = max(map(len, specials))
    tail, last = "", -1
    for document, text in pieces:
        tail = tail if document == last else ""
        joined = tail + text
        for special in specials:
            found[special] += joined.count(special) - tail.count(special)
        tail, last = joined[-(longest - 1) :], document
    return +found


def _files(source: Source) -> Iterator[Check]:
    skipped = source.info.get("skipped", [])
    documents = sum(map(len, source.parts.values()))
    advice = tuple(f"{name} does not look like text and is skipped." for name in skipped[:SHOWN])
    if len(skipped) > SHOWN:
        advice += (f"... and {len(skipped) - SHOWN:,} more.",)
    finding = f"{source.description}; {documents:,} read, {len(skipped):,} skipped"
    yield Check("text", WARNING if skipped else OK, finding, documents, advice)


def _splits(corpus: Corpus) -> Iterator[Check]:
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in corpus.splits.items())
    tokenizer = corpus.tokenizer
    finding = f"{sizes} {tokenizer.kind} tokens; vocabulary {tokenizer.vocab_size:,}"
    yield Check("splits", NOTE, finding, sum(map(len, corpus.splits.values())))
    if "valid" not in corpus.splits:
        advice = "Without one the last model is kept, not the best, and nothing shows overfitting."
        yield Check("validation split", WARNING, "none", 0, (advice,))
    for name, split in corpus.splits.items():
        if name != "train" and len(split) < SMALL_SPLIT:
            advice = "Results on it are mostly chance: give a longer text or a larger share."
            yield Check(f"size of {name}", WARNING, f"{len(split):,} tokens", len(split), (advice,))


def _size(config: Config, corpus: Corpus) -> Iterator[Check]:
    """The rule that a training begins with, and the number of steps in an epoch."""
    train, training = corpus.splits["train"], config.training
    rows, window = training.batch_size, training.window
    if training.truncation not in OF_WINDOWS:
        window = math.ceil(window_sizes(training, len(train), train.document_starts).mean)
    steps = -(-len(train) // (rows * window))
    finding = f"{len(train):,} training tokens in {rows:,} rows of {window:,}: {steps:,} steps per epoch"
    fitting = fitting_layout(len(train), training.sampler, rows=rows, window=window)
    if training.truncation in OF_WINDOWS and fitting != (rows, window):
        advice = f"It is too short: --batch-size {fitting[0]} --window {fitting[1]} would fit."
        yield Check("size against batch and window", FAILED, finding, steps, (advice,))
        return
    few = steps < FEW_STEPS
    advice = "A model learns little in so few steps per epoch: use a smaller --batch-size, or more epochs."
    yield Check("size against batch and window", WARNING if few else OK, finding, steps, (advice,) if few else ())
    documents = train.counts.documents
    if training.sampler == "document" and documents < rows:
        advice = f"--sampler document leaves rows idle: use --batch-size {documents} or less."
        yield Check("documents", WARNING, f"{documents:,} for {rows:,} rows", documents, (advice,))


def _unknown(corpus: Corpus) -> Iterator[Check]:
    if corpus.tokenizer.unk_id is None:
        yield Check("unknown tokens", OK, "none possible: the tokenizer knows every byte", 0)
        return
    for name, split in corpus.splits.items():
        if name == "train":
            continue
        unknown, written = split.counts.unknown, split.counts.oov_written
        rate = unknown / len(split)
        much = rate > MUCH_OOV
        advice = "Much of the text is <unk>: use a larger vocabulary, --tokenizer bpe, or other splits."
        finding = f"{unknown:,} of {len(split):,} tokens are <unk>, {rate:.2%}"
        finding += f"; {written:,} more are written in the text" if written else ""
        yield Check(f"unknown tokens in {name}", WARNING if much else OK, finding, rate, (advice,) if much else ())


def _specials(corpus: Corpus, slices: Mapping[str, Slice]) -> Check:
    found: Counter[str] = Counter()
    for slice_ in slices.values():
        found += count_specials(slice_.pieces())
    finding = ", ".join(f"{count:,} {token}" for token, count in found.items()) or "none"
    meant = ([corpus.tokenizer.unk_id], [corpus.tokenizer.eos_id])
    taken = [token for token in (UNK, EOS) if found[token] and corpus.tokenizer.encode(token).tolist() in meant]
    meaning = {UNK: "is counted as an unknown word", EOS: "is read as a line end"}
    advice = tuple(f"A written {token} {meaning[token]}." for token in taken)
    if found and not taken:
        finding += "; read as ordinary characters"
    return Check("special tokens in the text", WARNING if taken else OK, finding, found.total(), advice)
