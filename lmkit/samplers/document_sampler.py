"""Documents, one after the other in each row."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np

from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.shuffle import Shuffle
from lmkit.samplers.window import Window

__all__ = ["DocumentSampler"]


class DocumentSampler(Sampler):
    """Each row reads one document after the other; a document begins with a state of zero and ``<eos>`` as its first
    input, and carries the state to its end.

    A row's part ends at the border of its document (the rest is padding) and the next window resets it. Documents
    come in a new random order each epoch (in the stream's with ``shuffled=False``) and go to the row that is free
    first. ``documents`` (D,) holds where each document starts.
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
        shuffled: bool = True,
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.documents = documents
        self.shuffled = shuffled
        self._counts: dict[int, int] = {}

    def num_windows(self, epoch: int) -> int:
        if epoch not in self._counts:
            self._counts = {epoch: max(free for free, _, _ in self._assignments(epoch, from_end=True))}
        return self._counts[epoch]

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        wanted = range(self.batch_size)[rows]
        reading: list[tuple[int, int, int] | None] = [
            None
        ] * self.batch_size  # window index, start, end of a row's document
        waiting = self._assignments(number)
        following = next(waiting, None)
        for index in range(self.num_windows(number)):
            while following is not None and following[0] == index:
                reading[following[1]] = (index, *self._bounds(following[2]))
                following = next(waiting, None)
            if index >= start:
                yield self._window(index, reading, wanted)

    def _window(self, index: int, reading: list[tuple[int, int, int] | None], wanted: range) -> Window:
        begins = np.array([0 if part is None else part[1] + (index - part[0]) * self.window for part in reading])
        ends = np.array([0 if part is None else part[2] for part in reading])
        lengths = np.clip(ends - begins, 0, self.window)
        reset = np.array([part is None or part[0] == index for part in reading])
        chosen = list(wanted)
        window = self._cut(begins[chosen], lengths[chosen], reset[chosen], max(1, int(lengths.max())))
        window.inputs[window.reset, 0] = self.eos_id  # a line that is read alone has none before it
        return window

    def _bounds(self, document: int) -> tuple[int, int]:
        last = document + 1 == len(self.documents)
        return int(self.documents[document]), len(self.stream) if last else int(self.documents[document + 1])

    def _assignments(self, epoch: int, from_end: bool = False) -> Iterator[tuple[int, int, int]]:
        """(window index, row, document) of each document in order of its beginning; of its end with ``from_end``."""
        shuffle: Callable[[int], int] = Shuffle(len(self.documents), self.seed, epoch) if self.shuffled else int
        free = [(0, row) for row in range(self.batch_size)]
        for rank in range(len(self.documents)):
            document = shuffle(rank)
            index, row = heapq.heappop(free)
            start, end = self._bounds(document)
            after = index + -(-(end - start) // self.window)
            heapq.heappush(free, (after, row))
            yield (after if from_end else index), row, document
