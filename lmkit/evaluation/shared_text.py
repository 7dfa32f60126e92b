"""The tokens of a text counted by several processes, each in its share."""

from __future__ import annotations

from lmkit.distributed.world import World
from lmkit.errors import DataError
from lmkit.text.counts import Counts
from lmkit.text.cut_text import CutText
from lmkit.text.shares import added_up, count_share, shares_of
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["count_together"]


def count_together(text: CutText, split: str, tokenizer: Tokenizer, world: World) -> Counts:
    """The counts of a split, as those of its tokens in ``build_corpus``; every process has them. Nothing is stored.

    Raises ConfigError in all processes where one has another text or tokenizer, DataError where there is no token.
    """
    world.check_same({"text": text.key, "tokenizer": tokenizer.sha256})
    whole = text.slices[split]
    with world.together():
        own = count_share(whole, shares_of(whole, tokenizer, world.size)[world.rank], tokenizer)
        text.survey.check()
    counts = added_up(world.gather(own))
    if not counts.tokens:
        raise DataError(f"The {split} split has no tokens: it is only white space, which the model does not read.")
    return counts
