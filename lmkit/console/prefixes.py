"""A sentence as it goes on, as a small picture: under each word a bar for each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from lmkit.classify.prefixes import Prefixes
from lmkit.console.terminal.numbers import printable
from lmkit.console.terminal.output import open_console

__all__ = ["picture", "show_prefixes"]

BARS = " ▁▂▃▄▅▆▇█"
USUAL_WIDTH = 80  # where there is no terminal
MOST_CLASSES = 10
LONGEST_NAME, LONGEST_WORD = 24, 16
LAST = 6  # columns of the last probability


def show_prefixes(classes: Sequence[str], prefixes: Prefixes, *, file: TextIO) -> None:
    """Print the picture of a sentence; the class that is said in the end stands out."""
    console = open_console(file=file)
    width = console.width if console.is_terminal else USUAL_WIDTH
    for line, stands_out in picture(classes, prefixes, width):
        console.print(Text(line, style="bold" if stands_out else ""), soft_wrap=True)


def picture(classes: Sequence[str], prefixes: Prefixes, width: int) -> Iterator[tuple[str, bool]]:
    """The lines of the picture, and whether each is that of the class that is said in the end.

    The words stand above; below them each class has, as wide as the word, a block whose height is its probability after
    that word, and at the end of its line the last one. A sentence that does not fit goes on below. Of many classes
    those with the largest probabilities are shown.
    """
    shares = np.exp(prefixes.log_probs)
    shown = sorted(np.argsort(-shares.max(0), kind="stable")[:MOST_CLASSES].tolist())
    names = {index: _fitted(classes[index], LONGEST_NAME) for index in shown}
    margin = max(map(cell_len, names.values())) + 2
    words = [_fitted(word, LONGEST_WORD) for word in prefixes.words]
    said = int(shares[-1].argmax())
    for begin, end in _bands([cell_len(word) for word in words], width - margin - LAST):
        yield " " * margin + " ".join(words[begin:end]), False
        for index in shown:
            bars = " ".join(
                _bar(share, cell_len(word))
                for share, word in zip(shares[begin:end, index], words[begin:end], strict=True)
            )
            last = f"{100 * shares[-1, index]:5.1f} %" if end == len(words) else ""
            yield f"{set_cell_size(names[index], margin)}{bars} {last}".rstrip(), index == said
    if left := len(classes) - len(shown):
        yield f"({left:,} more classes, none above {100 * np.delete(shares, shown, axis=1).max():.1f} %)", False


def _bands(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Where the lines of a sentence begin and end; each has one word at least."""
    begin = used = 0
    for index, width in enumerate(widths):
        if index > begin and used + 1 + width > room:
            yield begin, index
            begin, used = index, width
        else:
            used += width + (1 if index > begin else 0)
    if widths:
        yield begin, len(widths)


def _bar(share: float, width: int) -> str:
    return BARS[round(share * (len(BARS) - 1))] * width


def _fitted(text: str, most: int) -> str:
    line = " ".join(printable(text).split())
    return line if cell_len(line) <= most else set_cell_size(line, most - 1) + "…"
