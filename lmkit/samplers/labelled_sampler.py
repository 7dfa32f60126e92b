"""Whole documents with a label each, those of about one length side by side."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.window import IGNORE, Window

__all__ = ["LabelledSampler"]

POOL = 64  # batches that are drawn together and sorted by length
LARGEST_BATCH = 1 << 21  # tokens with their padding; a longer document is read by itself


class LabelledSampler(Sampler):
    """Each window holds whole documents from their beginning; the target of a row is its label, at its last token.

    stream: documents one after the other, each with what is read before its first token. documents: (D,) where each
    begins; labels: (D,). Documents come in a new random order each epoch. Those of POOL batches are sorted by length
    and cut into batches, which come in random order, so that few tokens are padding. A batch has ``batch_size``
    documents, or fewer where those are long.
    """

    def __init__(
        self,
        stream: np.ndarray,
        *,
        eos_id: int,
        batch_size: int,
        window: int,
        seed: int = 0,
        documents: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        rows = min(batch_size, len(documents))
        super().__init__(stream, eos_id=eos_id, batch_size=rows, window=window, seed=seed)
        self.documents, self.labels = documents, labels
        self.lengths = np.diff(documents, append=len(stream))
        self._batches: dict[int, list[np.ndarray]] = {}

    @property
    def num_targets(self) -> int:
        """Targets of an epoch: one for each document."""
        return len(self.documents)

    def num_windows(self, epoch: int) -> int:
        return len(self._batches_of(epoch))

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        for batch in self._batches_of(number)[start:]:
            yield self._window(batch[rows], int(self.lengths[batch].max()))

    def _window(self, documents: np.ndarray, steps: int) -> Window:
        inputs = np.full((len(documents), steps), self.eos_id, dtype=np.int64)
        targets = np.full((len(documents), steps), IGNORE, dtype=np.int64)
        for row, document in enumerate(documents.tolist()):
            start, length = int(self.documents[document]), int(self.lengths[document])
            inputs[row, :length] = self.stream[start : start + length]
            targets[row, length - 1] = self.labels[document]
        reset = torch.ones(len(documents), dtype=torch.bool)
        return Window(torch.from_numpy(inputs), torch.from_numpy(targets), reset, steps)

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        """The documents of each batch, kept for the epoch that was asked for last."""
        if epoch not in self._batches:
            order = _shuffled(len(self.documents), self.seed, epoch, 0xC1)
            pools = np.array_split(order, range(POOL * self.batch_size, len(order), POOL * self.batch_size))
            batches = [batch for pool in pools for batch in self._cut_pool(pool)]
            self._batches = {epoch: [batches[i] for i in _shuffled(len(batches), self.seed, epoch, 0xC2)]}
        return self._batches[epoch]

    def _cut_pool(self, pool: np.ndarray) -> Iterator[np.ndarray]:
        pool = pool[np.argsort(-self.lengths[pool], kind="stable")]  # the longest first: it decides a batch's width
        while len(pool):
            rows = min(self.batch_size, max(1, LARGEST_BATCH // int(self.lengths[pool[0]])))
            yield pool[:rows]
            pool = pool[rows:]


def _shuffled(number: int, *keys: int) -> np.ndarray:
    """The numbers below another in a random order, a function of the keys."""
    draws = np.random.SeedSequence(keys).generate_state(number, np.uint64)
    return np.argsort(draws, kind="stable")
