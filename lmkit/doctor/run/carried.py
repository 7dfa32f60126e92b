"""Checks of the state that is carried through some thousand tokens of the training text, and of the loss on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.doctor.check import FAILED, OK, SKIPPED, WARNING, Check
from lmkit.evaluation.carried_state import LEAST, read_carried_state
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model.language_model import LanguageModel
from lmkit.text.corpus import encode_text
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["GUESSING", "carried_state_checks", "guessing_check"]

STATE, LOSS, GUESSING = "size of the carried state", "loss over position", "better than guessing"


def carried_state_checks(
    model: LanguageModel, tokenizer: Tokenizer, text: str, *, state: str, documents: str
) -> Iterator[Check]:
    """How large the hidden state is along a text, and the loss with it and with a fresh state."""
    predictor, found = NetworkPredictor(model), None
    if text:
        tokens = encode_text(tokenizer, text, documents=documents)
        found = read_carried_state(predictor, tokens, tokenizer.eos_id, state=state)
    if found is None:
        stretch = f"a document of {LEAST} tokens in it" if state == "document" else f"{LEAST} tokens of it"
        yield Check(STATE, SKIPPED, f"needs the training text, and {stretch}")
        return
    advice = tuple(found.notes())
    if found.grows:
        status = WARNING if found.broken_at is None else FAILED
        yield Check(STATE, status, found.norm_text(), found.growth, advice)
    else:
        yield Check(STATE, OK, found.norm_text(), found.growth)
    if found.costs:
        yield Check(LOSS, FAILED, found.loss_text(), found.excess, () if found.grows else advice)
    else:
        yield Check(LOSS, OK, found.loss_text(), found.excess)


def guessing_check(metrics: Sequence[Mapping[str, Any]], vocab_size: int) -> Check:
    """Whether the closing loss of a finished run is better than equal probabilities for all tokens."""
    final = next((record for record in reversed(metrics) if record.get("kind") == "final"), None)
    if final is None:
        return Check(GUESSING, SKIPPED, "the run is not finished")
    loss, guess = final.get("nats_per_token"), math.log(vocab_size)
    if isinstance(loss, (int, float)) and loss <= guess:
        return Check(GUESSING, OK, f"{loss:.4g} nats per token, guessing costs {guess:.4g}", float(loss))
    shown = f"{loss:.4g}" if isinstance(loss, (int, float)) else "no finite number of"
    advice = "The closing loss is worse than guessing: train again with a lower --lr, or longer."
    value = float(loss) if isinstance(loss, (int, float)) else None
    return Check(GUESSING, WARNING, f"{shown} nats per token, guessing costs {guess:.4g}", value, (advice,))
