"""Generation: columns of tokens from a step function, and text that streams from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lmkit.generation.decoder import Step, StepDecoder
from lmkit.generation.decoding import Decoding, keyed_uniforms
from lmkit.model.state import State, repeat

__all__ = ["Column", "SharedColumns", "StreamDecoder", "generate", "stream_text"]


class Column(NamedTuple):
    """One new token for each stream: ids (B,), the model's own log-probabilities in nats (B,), and which streams have
    ended (B,).
    """

    ids: Tensor
    log_probs: Tensor
    finished: Tensor


class SharedColumns:
    """Columns that are made once and read row by row: no further than a row that is read needs them."""

    def __init__(self, columns: Iterator[Column]) -> None:
        self.columns = columns
        self.made: list[Column] = []

    def row(self, number: int, length: int) -> Iterator[int]:
        """The ids of a stream, up to its end or so many."""
        for position in range(length):
            if position == len(self.made):
                self.made.append(next(self.columns))
            column = self.made[position]
            if bool(column.finished[number]):
                return
            yield int(column.ids[number])


class StreamDecoder(Protocol):
    """Turns ids into text piece by piece, holding bytes back until they make whole characters."""

    def push(self, id: int) -> str: ...

    def flush(self) -> str: ...


def generate(
    step: Step,
    prompt: Sequence[int],
    state: State,
    *,
    decoding: Decoding,
    seed: int = 0,
    streams: Sequence[int] = (0,),
    stop_id: int | None = None,
    never: Sequence[int] = (),
) -> Iterator[Column]:
    """Continue the prompt without end, once for each of the streams.

    prompt: at least one id, usually ``<eos>`` first; it is read once, from the given state of one row, and the state
    is carried into every stream. The token at a position depends on (seed, stream, position) and the prompt only, not
    on the other streams. A stream that chose ``stop_id`` is finished: it repeats it with a log-probability of 0. Tokens
    of ``never`` are not chosen; the log-probabilities stay the model's own.
    """
    assert prompt, "a prompt holds at least <eos>"
    device = state[0][0].device
    logits, state = _read(step, torch.tensor(prompt, device=device), state)
    logits, state = logits.expand(len(streams), -1), repeat(state, len(streams))
    finished = torch.zeros(len(streams), dtype=torch.bool, device=device)
    unwanted = torch.tensor(never, device=device) if never else None
    position = 0
    while True:
        allowed = logits if unwanted is None else logits.index_fill(1, unwanted, -math.inf)
        ids = decoding.choose(allowed, keyed_uniforms(seed, list(streams), position))
        log_probs = logits.double().log_softmax(dim=-1).gather(1, ids[:, None]).squeeze(1)
        if stop_id is not None:
            ids = torch.where(finished, stop_id, ids)
            log_probs = log_probs.masked_fill(finished, 0)
            finished = finished | (ids == stop_id)
        yield Column(ids, log_probs, finished)
        logits, state = step(ids, state)
        position += 1


def stream_text(ids: Iterator[int], decoder: StreamDecoder, stops: Sequence[str] = ()) -> Iterator[str]:
    """Text as it is made, up to and without the first of the stop strings.

    What may be the beginning of a stop string is held back until it is clear that it is not.
    """
    held = ""
    for id in ids:
        held += decoder.push(id)
        end = _first_stop(held, stops)
        if end is not None:
            yield held[:end]
            return
        safe = len(held) - _stop_overlap(held, stops)
        if safe:
            yield held[:safe]
            held = held[safe:]
    held += decoder.flush()
    if held:
        yield held[: _first_stop(held, stops)]


def _read(step: Step, prompt: Tensor, state: State) -> tuple[Tensor, State]:
    """Logits (1, V) after a prompt (T,), and the state: by the decoder in its own way, by other steps one by one."""
    if isinstance(step, StepDecoder):
        return step.read(prompt, state)
    for token in prompt.split(1):
        logits, state = step(token, state)
    return logits, state


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string begins that is complete first; of those that end together the one that begins first."""
    found = [(position + len(stop), position) for stop in stops if (position := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def _stop_overlap(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of the text that could begin a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0
