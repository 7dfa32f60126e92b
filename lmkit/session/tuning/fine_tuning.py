"""The set-up of a fine-tuning: a run's network and tokenizer, a new text, and a record of where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.config import Config
from lmkit.model.growth import grown
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup, assemble, with_absolute_paths
from lmkit.session.tuning.origin import Origin
from lmkit.session.tuning.overlap import find_overlap
from lmkit.text.corpus import corpus_of
from lmkit.text.cut_text import Progress, open_cut
from lmkit.text.lines import MUCH_OVERLAP, SHORTEST_LINE
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["begins_from", "notes_on_origin", "notes_on_unknown", "prepare_from", "record_of", "unknown_counts"]

SHOWN = 20  # new tokens in a note


def prepare_from(
    origin: Origin, config: Config, placement: Placement, *, progress: Progress | None = None
) -> TrainingSetup:
    """Read the corpus with the run's tokenizer, extended where that was chosen, and begin from the run's weights. The
    configuration is one that ``origin.configure`` gave. Raises LmkitError for every mistake of the user.
    """
    config = with_absolute_paths(config)
    own = origin.stored.tokenizer
    with open_cut(config.data, progress=progress) as text:
        new = text.new_tokens(own, config.data.min_count) if origin.extends else []
        corpus = corpus_of(text, own.extended(new) if new else own)
        before = text.encode(own) if new else corpus.splits
        overlap = find_overlap(origin.stored, text.slices, progress)
    weights = grown(origin.weights, config.model, corpus.tokenizer.vocab_size)
    setup = assemble(config, placement, corpus, weights)
    record = record_of(origin, len(new), unknown_counts(before, corpus.splits)) | {"overlap": overlap}
    return dataclasses.replace(setup, init_from=record)


def notes_on_origin(record: Mapping[str, Any], tokenizer: Tokenizer) -> Iterator[str]:
    """What to say of a fine-tuning before it begins, from its record and the tokenizer that it has: where it begins,
    what of the text is unknown, and whether it will be measured on what the network has seen.
    """
    yield begins_from(record)
    if record["new_tokens"]:
        yield _note_on_new_tokens(record["extend_vocab"], tokenizer.vocabulary[-record["new_tokens"] :])
    if record["unknown"] is not None:
        yield from notes_on_unknown(record)
    yield from _notes_on_overlap(record)


def begins_from(record: Mapping[str, Any]) -> str:
    """The run that another one begins from, in a sentence."""
    path, step = record["path"], record["step"]
    return f"Begins from {path}" + ("" if step is None else f", step {step:,}") + f" ({record['corpus']['name']})."


def record_of(origin: Origin, num_new: int, unknown: Any) -> dict[str, Any]:
    """What run.json says of the run that this one begins from; of a run that was itself fine-tuned, with its own."""
    values = origin.stored.record.values
    corpus = values.get("corpus")
    corpus = corpus if isinstance(corpus, Mapping) else {}
    earlier = values.get("init_from")
    return {
        "path": origin.chosen.init_from,
        "checkpoint": origin.chosen.init_checkpoint,
        "step": origin.step,
        "weights_sha256": origin.weights_sha256,
        "tokenizer_sha256": origin.stored.tokenizer.sha256,
        "corpus": {
            "name": corpus.get("name", origin.stored.config.data.corpus),
            "sha256": corpus.get("sha256"),
        },
        "extend_vocab": origin.chosen.extend_vocab,
        "new_tokens": num_new,
        "unknown": None if origin.stored.tokenizer.unk_id is None else unknown,
        **({"init_from": earlier} if isinstance(earlier, Mapping) else {}),
    }


def unknown_counts(before: Mapping[str, TokenFile], after: Mapping[str, TokenFile]) -> dict[str, dict[str, int]]:
    """For each split its tokens, and those of them that the run's tokenizer does not know, and that the extended one
    does not know either.
    """
    return {
        name: {"tokens": len(split), "before": before[name].counts.unknown, "after": split.counts.unknown}
        for name, split in after.items()
    }


def _note_on_new_tokens(unit: str, new: Sequence[str]) -> str:
    shown = " ".join(repr(token) for token in new[:SHOWN])
    more = f" and {len(new) - SHOWN:,} more" if len(new) > SHOWN else ""
    return (
        f"{len(new):,} new {unit} join the vocabulary, with mean rows in the embedding and output layer: {shown}{more}."
    )


def notes_on_unknown(record: Mapping[str, Any]) -> Iterator[str]:
    """How many tokens of a text the run's tokenizer does not know; of one that knows them all nothing."""
    counts = record["unknown"].values()
    total, before, after = (sum(one[name] for one in counts) for name in ("tokens", "before", "after"))
    share = f"{before:,} of {total:,} tokens of the text ({before / total:.2%}) are unknown to its tokenizer"
    if record["extend_vocab"] != "none":
        yield f"{share}, {after:,} ({after / total:.2%}) to the extended one."
    elif before:
        yield f"{share}: --extend-vocab adds what is missing."
    else:
        yield f"{share}."


def _notes_on_overlap(record: Mapping[str, Any]) -> Iterator[str]:
    if record["overlap"] is None:
        yield f"The text of {record['path']} is not at hand: that it has nothing of the test text was not checked."
        return
    short = [name for name, found in record["overlap"].items() if not found["lines"]]
    if short:
        yield (
            f"The {' and '.join(short)} text has no line of {SHORTEST_LINE} characters or more: that the text of "
            f"{record['path']} has nothing of it was not checked."
        )
    for name, found in record["overlap"].items():
        if found["share"] > MUCH_OVERLAP:
            yield (
                f"{found['share']:.1%} of the {found['lines']:,} {name} lines of {SHORTEST_LINE} characters or more "
                f"are in the text that {record['path']} was trained on: results on {name} are too good."
            )
