"""The step decoder: one token in, the next one's logits out, as fast as a CPU does it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State, map_state

__all__ = ["Step", "StepDecoder"]

Step = Callable[[Tensor, State], tuple[Tensor, State]]
ALIGNMENT = 64  # bytes: what torch allocates on a CPU begins at a multiple of it
TABLE_ENTRIES = 2**22  # 16 MiB: the first layer's input products of every token, where the vocabulary is small enough
LONG_PROMPT = 64  # tokens: longer prompts are read by the kernels that train
WINDOW = 512  # tokens of a prompt that they read at a time


class StepDecoder:
    """One step of a language model on the written-out cells: tokens (B,) and a state in, logits (B, V) and a state
    out.

    Each row is computed by itself and from memory of one alignment, so a row's numbers, and with them a sampled text,
    do not depend on which other rows are there. Torch's own LSTM prepares its weights again at every call, which makes
    it several times slower than this at one step.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.cells = model.cells
        first = self.cells[0]
        self.table: Tensor | None = None
        if model.vocab_size * first.projected_size <= TABLE_ENTRIES:
            with torch.no_grad():
                self.table = first.project(model.embedding.weight)

    @torch.no_grad()
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        rows = [self._row(tokens[row : row + 1], state, row) for row in range(len(tokens))]
        if len(rows) == 1:
            return rows[0]
        new_state = tuple(
            tuple(torch.cat(parts) for parts in zip(*layers, strict=True))
            for layers in zip(*(row_state for _, row_state in rows), strict=True)
        )
        return torch.cat([logits for logits, _ in rows]), new_state

    def read(self, prompt: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a prompt (T,) from a state of one row: logits (1, V) of what follows, and the new state.

        Of a prompt of more than 64 tokens all but the last are read by the kernels that train, which gives the same to
        rounding. Which way is taken depends on the length alone.
        """
        if len(prompt) > LONG_PROMPT:
            with inference(self.model):
                for window in prompt[:-1].split(WINDOW):
                    _, state = self.model.features(window[None], map_state(_aligned, state))
            prompt = prompt[-1:]
        for token in prompt.split(1):
            logits, state = self(token, state)
        return logits, state

    def _row(self, token: Tensor, state: State, row: int) -> tuple[Tensor, State]:
        inputs: Tensor | None = None
        new_state = []
        for cell, values in zip(self.cells, state, strict=True):
            values = tuple(_aligned(value[row : row + 1]) for value in values)
            if inputs is None and self.table is not None:
                projected = self.table[token]
            else:
                projected = cell.project(self.model.embedding(token) if inputs is None else inputs)
            inputs, values = cell.step(projected, values)
            new_state.append(values)
        assert inputs is not None
        return self.model.head.logits(inputs), tuple(new_state)


def _aligned(row: Tensor) -> Tensor:
    """A row in memory that begins where an allocation of torch's begins.

    Matrix kernels take another path, with other last bits, where their operands do not begin at such an address, and
    the rows of a wider tensor begin wherever their number and size put them.
    """
    return row if row.data_ptr() % ALIGNMENT == 0 else row.clone()
