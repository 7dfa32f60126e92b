"""A model with its tokenizer, looked at from all sides: what ``TrainedModel.inspect`` and ``lmkit inspect`` use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.errors import ConfigError, DataError
from lmkit.inspection.activity.activity import Activity, read_activity
from lmkit.inspection.activity.attention import AttentionByLag, attention_by_lag
from lmkit.inspection.activity.following import LEAST_TOKENS, units_that_follow
from lmkit.inspection.activity.gates import Followed, Gates
from lmkit.inspection.activity.quantities import QUANTITIES
from lmkit.inspection.dynamics.dynamics import Dynamics, constant_dynamics
from lmkit.inspection.finding import Floats
from lmkit.inspection.gradients.sensitivity import BeforeAndAfter, Sensitivity, measure_sensitivity, token_influence
from lmkit.inspection.gradients.spectra import Spectrum, recurrent_spectra
from lmkit.inspection.memory.context import Context, measure_context
from lmkit.inspection.memory.forgetting import Forgetting, measure_forgetting
from lmkit.inspection.memory.memory import Memory, measure_memory
from lmkit.inspection.stretches import before, positions, unrelated
from lmkit.inspection.untrained import untrained_twin
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Inspector", "Text", "spread_lags"]

Text = str | Sequence[int] | NDArray[Any]
LAGS, ROWS, TARGETS = 50, 64, 256
READ_BEFORE = 64  # tokens that are read before a stretch is looked at, so that it does not begin in the initial state
CONTEXTS = (1, 2, 5, 10, 20, 50, 100, 200)
USUAL_TOKENS = (" ", "the")


class Inspector:
    """Looks inside a model. Texts are strings, or ids of its tokenizer (N,).

    untrained: the network as a training with this seed begins, made when it is first needed. report: called with the
    share of long work that is done.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        seed: int = 0,
        report: Callable[[float], None] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.seed, self.report = model, tokenizer, seed, report

    @functools.cached_property
    def untrained(self) -> LanguageModel:
        """The untrained twin: see ``untrained_twin``."""
        return untrained_twin(self.model, self.seed)

    def ids(self, text: Text) -> NDArray[Any]:
        """The ids (N,) of a text. Raises DataError where there are none."""
        ids = self.tokenizer.encode(text) if isinstance(text, str) else np.asarray(text)
        if not len(ids):
            raise DataError("The text is empty: there is nothing to look at.")
        return ids

    def pieces(self, text: Text) -> list[str]:
        """What each token of a text stands for: of a string the characters that it was made of, whether or not the
        vocabulary has them.
        """
        if isinstance(text, str):
            return [text[start:end] for start, end in self.tokenizer.encode_with_offsets(text)[1].tolist()]
        texts = self.tokenizer.token_texts
        return [texts[id] for id in self.ids(text).tolist()]

    def sensitivity(self, text: Text, *, lags: int = LAGS, rows: int = ROWS) -> BeforeAndAfter:
        """Norms of the gradient of a loss by lag, 0 to ``lags``, over ``rows`` predictions spread over the text, each
        of which reads 64 tokens more. See ``measure_sensitivity``.
        """
        ids = self.ids(text)
        ends = positions(len(ids), first=READ_BEFORE + lags + 1, number=rows)
        tokens, targets = before(ids, ends, READ_BEFORE + lags + 1), before(ids, ends + 1, 1)[:, 0]
        return BeforeAndAfter(*(_sensitivity(one, self._eos(tokens), targets) for one in (self.untrained, self.model)))

    def influence(self, text: Text) -> Floats:
        """How much each token of a text weighs in the prediction of each: (T, T), the first column being ``<eos>``,
        which is read first. See ``token_influence``.
        """
        tokens = self._tensor(self.ids(text))
        inputs = torch.cat([tokens.new_tensor([self.tokenizer.eos_id]), tokens[:-1]])
        return token_influence(self.model, inputs, tokens, self.model.initial_state(1))

    def memory(self, text: Text, *, lags: Sequence[int] = (0, 1, 2, 4, 8, 16), rows: int = ROWS) -> Memory:
        """How well tokens read so many steps ago can be read back from the state. See ``measure_memory``."""
        how: dict[str, Any] = {"eos_id": self.tokenizer.eos_id, "lags": lags, "rows": rows}
        return measure_memory(self.model, self.untrained, self.ids(text), **how)

    def context(self, text: Text, *, lengths: Sequence[int] = CONTEXTS, targets: int = TARGETS) -> Context:
        """The loss of the same ``targets`` with less and less of the text before them. See ``measure_context``."""
        ids = self.ids(text)
        places = positions(len(ids), first=max(lengths), number=targets)
        if len(places) < 2 or len(ids) < 2 * max(lengths):
            raise DataError(
                f"The text has {len(ids):,} tokens, and contexts of {max(lengths):,} tokens need {2 * max(lengths):,}: "
                "give a longer text, or look at shorter lags (--lags)."
            )
        how: dict[str, Any] = {"eos_id": self.tokenizer.eos_id, "lengths": lengths, "report": self.report}
        return measure_context(self.model, ids, places, **how)

    def forgetting(self, text: Text, *, length: int = LAGS, rows: int = ROWS) -> Forgetting:
        """How fast the states after two stretches of a text become equal over the next ``length`` tokens. See
        ``measure_forgetting``.
        """
        ids = self.ids(text)
        places = positions(len(ids), first=READ_BEFORE, number=rows, after=length)
        past = self._eos(before(ids, places, READ_BEFORE))
        other = self._eos(unrelated(ids, places - READ_BEFORE, READ_BEFORE))
        return measure_forgetting(self.model, past, other, before(ids, places + length, length))

    def spectra(self) -> list[Spectrum]:
        """Eigenvalues and singular values of the recurrent matrices. See ``recurrent_spectra``."""
        return recurrent_spectra(self.model)

    def activity(self, text: Text) -> list[Activity]:
        """Gates and states after each token of a text, which is read after ``<eos>``. See ``read_activity``."""
        return read_activity(self.model, self._tensor(self.ids(text)), self._begun())

    def following(
        self, text: Text, labels: Floats | None = None, *, activity: Sequence[Activity] | None = None
    ) -> list[Followed]:
        """Which units of the states follow labels (N,), one for each token; without labels, whether the text is inside
        quotes or brackets, and the position in the line, as far as they change. See ``units_that_follow``.
        """
        held = [one for one in activity or self.activity(text) if not one.is_gate]
        pieces = self.pieces(text)
        series = {name: of(pieces) for name, of in QUANTITIES.items()} if labels is None else {"labels": labels}
        changing = {name: one for name, one in series.items() if labels is not None or one.min() < one.max()}
        return [
            Followed(one.layer, one.name, name, units_that_follow(one.values, values))
            for name, values in changing.items()
            for one in held
        ]

    def gates(self, text: Text) -> Gates:
        """Gates, states and attention over a text, and which units follow quotes, brackets and lines."""
        activity, pieces = self.activity(text), self.pieces(text)
        following = self.following(text, activity=activity) if len(pieces) >= LEAST_TOKENS else []
        return Gates(tuple(pieces), tuple(activity), tuple(following), tuple(self.attention(text)))

    def attention(self, text: Text) -> list[AttentionByLag]:
        """How far back each layer's attention looks while it reads a text. See ``attention_by_lag``."""
        return attention_by_lag(self.model, self._tensor(self.ids(text))[None], self._begun())

    def dynamics(self, token: str | None = None, *, steps: int = 10_000, transient: int = 1_000) -> Dynamics:
        """What the state does while one token comes again and again (default: a space, ``the``, or the first of the
        vocabulary). See ``constant_dynamics``.
        """
        how: dict[str, Any] = {"steps": steps, "transient": transient, "report": self.report}
        return constant_dynamics(self.model, self._token(token), **how)

    def _token(self, token: str | None) -> int:
        """The id of the token. Raises ConfigError where the text is not one token."""
        for candidate in USUAL_TOKENS if token is None else (token,):
            ids = self.tokenizer.encode(candidate).tolist() if candidate else []
            if len(ids) == 1 and ids[0] != self.tokenizer.unk_id:
                return int(ids[0])
        if token is not None:
            raise ConfigError(
                f"--token {token!r} is not one token of the model's vocabulary: `lmkit tokenize` shows them."
            )
        special = {self.tokenizer.eos_id, self.tokenizer.unk_id}
        return next(id for id in range(self.tokenizer.vocab_size) if id not in special)

    def _begun(self) -> State:
        """The state of one row after ``<eos>``."""
        with inference(self.model):
            _, state = self.model.features(self._tensor([[self.tokenizer.eos_id]]), self.model.initial_state(1))
        return state

    def _tensor(self, ids: Any) -> Tensor:
        return torch.from_numpy(np.asarray(ids).astype(np.int64)).to(next(self.model.parameters()).device)

    def _eos(self, tokens: Tensor) -> Tensor:
        """Tokens (R, T) with ``<eos>`` before them."""
        return torch.cat([torch.full((len(tokens), 1), self.tokenizer.eos_id), tokens], dim=1)


def _sensitivity(model: LanguageModel, tokens: Tensor, targets: Tensor) -> Sensitivity:
    """Of the predictions after tokens (R, 1 + 64 + T), whose first ones are read without gradients."""
    device = next(model.parameters()).device
    head, tail = tokens[:, : READ_BEFORE + 1].to(device), tokens[:, READ_BEFORE + 1 :].to(device)
    with inference(model):
        _, state = model.features(head, model.initial_state(len(head)))
    return measure_sensitivity(model, tail, targets.to(device), state)


def spread_lags(largest: int) -> tuple[int, ...]:
    """0, 1, 2, 5, 10, 20, 50, 100, ... up to ``largest``, which is the last: what a table shows of a curve."""
    marks = [mark * 10**power for power in range(9) for mark in (1, 2, 5)]
    return (0, *(mark for mark in marks if mark < largest), *((largest,) if largest else ()))
