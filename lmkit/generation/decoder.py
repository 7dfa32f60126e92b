"""The step decoder: one token in, the next one's logits out, as fast as a CPU does it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit.generation.blocks import Blocks
from lmkit.generation.packed import packed
from lmkit.generation.prompt import read_prompt
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State, concatenate, map_state, select

__all__ = ["Step", "StepDecoder"]

Step = Callable[[Tensor, State], tuple[Tensor, State]]
ALIGNMENT = 64  # bytes: what torch allocates on a CPU begins at a multiple of it
TABLE_ENTRIES = 2**22  # 16 MiB: the first layer's input products of every token, where the vocabulary is small enough
LONG_PROMPT = 64  # tokens: longer prompts are read by the kernels that train


class StepDecoder:
    """One step of a language model on the written-out cells: tokens (B,) and a state in, logits (B, V) and a state
    out.

    A row's numbers, and with them a sampled text, do not depend on which other rows are there: rows are computed
    together in blocks whose size is known to give each row the bits that it has alone, else one by one, and from
    memory of one alignment. Torch's own LSTM prepares its weights again at every call, which makes it several times
    slower than this at one step.

    Matrices are laid out for fast products when the decoder is made, which takes their memory once more; a decoder
    knows nothing of later changes of the weights.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.cells = [packed(cell) for cell in model.cells]
        self.head = packed(model.head)
        first = model.cells[0]
        self.table: Tensor | None = None
        with torch.no_grad():
            if model.vocab_size * first.projected_size <= TABLE_ENTRIES:
                self.table = first.project(model.embedding.weight)
        self.blocks = Blocks(self._rows, model.initial_state, model.vocab_size)

    @torch.no_grad()
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        parts = [self._block(tokens, state, rows, size) for rows, size in self.blocks.cut(len(tokens))]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([logits for logits, _ in parts]), concatenate([after for _, after in parts])

    def read(self, prompt: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a prompt (T,) from a state of one row: logits (1, V) of what follows, and the new state.

        Of a prompt of more than 64 tokens all but the last are read by the kernels that train, which gives the same to
        rounding (``read_prompt``). Which way is taken depends on the length alone.
        """
        if len(prompt) > LONG_PROMPT:
            state = read_prompt(self.model, prompt[:-1], map_state(_aligned, state))
            prompt = prompt[-1:]
        for token in prompt.split(1):
            logits, state = self(token, state)
        return logits, state

    def _block(self, tokens: Tensor, state: State, rows: slice, size: int) -> tuple[Tensor, State]:
        """Some of the rows, in a block that copies of its last row fill up."""
        num_rows = rows.stop - rows.start
        if num_rows == size:
            return self._rows(tokens[rows], map_state(lambda value: value[rows], state))
        index = torch.arange(rows.start, rows.start + size, device=tokens.device).clamp_max(rows.stop - 1)
        logits, after = self._rows(tokens[index], select(state, index))
        return logits[:num_rows], map_state(lambda value: value[:num_rows], after)

    def _rows(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        inputs: Tensor | None = None
        new_state = []
        for cell, values in zip(self.cells, state, strict=True):
            values = tuple(_aligned(value) for value in values)
            if inputs is None and self.table is not None:
                projected = self.table[tokens]
            else:
                projected = cell.project(self.model.embedding(tokens) if inputs is None else inputs)
            inputs, values = cell.step(projected, values)
            new_state.append(values)
        assert inputs is not None
        return self.head.logits(inputs), tuple(new_state)


def _aligned(rows: Tensor) -> Tensor:
    """Rows one behind the other in memory that begins where an allocation of torch's begins.

    Kernels take another path, with other last bits, where their operands do not begin at such an address, and the
    rows of a wider tensor begin wherever their number and size put them.
    """
    rows = rows.contiguous()
    return rows if rows.data_ptr() % ALIGNMENT == 0 else rows.clone()
