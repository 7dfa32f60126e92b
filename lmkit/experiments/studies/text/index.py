"""Experiment: the two ways to number states and inputs, and what a slip of one place does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.config import ModelConfig
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, Word, together
from lmkit.experiments.tools.language_model import options_of
from lmkit.experiments.tools.numbers import arms_table, shown
from lmkit.inspection.walk import take_step
from lmkit.model import state as states
from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State
from lmkit.plots.charts import Bar, Bars, Chart
from lmkit.text.corpus import build_corpus

__all__ = ["Index"]

LEAST = 1e-9  # nats, in float64
UPDATES = 400
CELLS = ("rnn", "gru", "lstm")
OFFSETS = {"": 1, ", the target is the input": 0, ", the target is one further": 2}


class Index(Experiment):
    name = "index"
    title = "Index: two ways to number states, and what a slip of one place does"
    claims = (22,)
    question = "Do the two ways to number states and inputs give the same numbers?"
    rule = (
        "Small networks learn to predict the next character. Text that they were not trained on is then read by two "
        "loops that are written out step by step in float64. In one the state depends on the input of the step "
        "before, h_t = f(h_{t-1}, x_{t-1}), and predicts the character of its own step; in the other on the input of "
        "its own step, h_t = f(h_{t-1}, x_t), and predicts the next one. Claim 22 holds for a cell if the "
        "log-probability of no character differs by more than 1e-9 nats between the loops, or between them and lmkit's "
        "reading, in any seed; else it is refuted. Beside it, and not judged: the same LSTM with a slip of one place, "
        "trained to predict the character that it reads, or the one after the next: its loss on its own targets, and "
        "as a language model. Each network takes its learning rate from one grid."
    )
    minutes = 3
    takes_text = True

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(3e-3, 1e-2)), grid(lr=(1e-2,)))
        kinds = [(cell, "") for cell in CELLS] + [("lstm", slip) for slip in OFFSETS if slip]
        return [Arm(f"{cell}{slip}", {"cell": cell, "offset": OFFSETS[slip]}, rates) for cell, slip in kinds]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        texts = Texts.of(trial)
        model, targets = _trained(trial, texts)
        offset, updates = trial.options["offset"], trial.scale.pick(UPDATES, 3)
        found = {"valid": _loss_of(model, texts.valid, offset), "targets": targets, "updates": updates}
        found["targets_per_update"] = targets / updates
        if trial.tuning:
            return found
        beginning = texts.test[: trial.scale.pick(2000, 40)]
        before = read_before(model, beginning)
        return {
            **found,
            "test": _loss_of(model, texts.test, offset),
            "as_language_model": _loss_of(model, texts.test, 1),
            "difference": float((before - read_own_step(model, beginning)).abs().max()),
            "difference_from_lmkit": float((before - read_by_kernel(model, beginning)).abs().max()),
        }

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        largest = {cell: _largest(outcomes, cell) for cell in CELLS}
        words = [Word.HOLDS if one <= LEAST else Word.REFUTED for one in largest.values()]
        listed = ", ".join(f"{cell} {one:.1e}" for cell, one in largest.items())
        slip = [name for name in (arm.name for arm in outcomes.arms) if name not in CELLS]
        slips = "; ".join(
            f"{name}, {shown(outcomes.mean(name, 'test'), '.3f')} on its own targets and "
            f"{shown(outcomes.mean(name, 'as_language_model'), '.3f')} as a language model"
            for name in slip
        )
        because = (
            f"The largest difference between the two loops and lmkit's reading is, in nats, {listed}. With a slip of "
            f"one place the loss in nats per character is, for {slips}; without it "
            f"{shown(outcomes.mean('lstm', 'test'), '.3f')}."
        )
        return [Verdict(22, together(words), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("test, on its own targets", "test", ".4f"),
            ("test, as a language model", "as_language_model", ".4f"),
        ]
        rows = [[cell, f"{_largest(outcomes, cell):.1e}"] for cell in CELLS]
        note = "The largest over all seeds and characters."
        return [
            Table("The two ways to number, and lmkit's", ["cell", "largest difference, nats"], rows, note),
            arms_table(outcomes, columns, title="Losses, nats per character"),
        ]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        bars = []
        for group, key in (("its own targets", "test"), ("as a language model", "as_language_model")):
            for arm in outcomes.arms:
                mean = outcomes.mean(arm.name, key)
                bars.append(Bar(f"{arm.name}: {group}", mean.value, mean.low, mean.high, group))
        return {"loss": Bars("A slip of one place", "test loss, nats per character", bars)}


def _largest(outcomes: Outcomes, cell: str) -> float:
    names = ("difference", "difference_from_lmkit")
    return max(value for name in names for value in outcomes.values(cell, name))


class Texts(NamedTuple):
    """Token ids (N,) of the splits, each with <eos> before its first."""

    train: Tensor
    valid: Tensor
    test: Tensor
    vocab_size: int

    @classmethod
    def of(cls, trial: Trial) -> Texts:
        corpus = build_corpus(options_of(trial, {}).data)
        before = torch.tensor([corpus.tokenizer.eos_id])
        splits = {
            name: torch.cat([before, torch.tensor(tokens.ids[:].tolist())]) for name, tokens in corpus.splits.items()
        }
        return cls(splits["train"], splits["valid"], splits["test"], corpus.tokenizer.vocab_size)


def _trained(trial: Trial, texts: Texts) -> tuple[LanguageModel, int]:
    """A network that learns the character ``offset`` places after the newest that it has read, 1 being the next one, in
    rows of the text that go on from window to window; and how many targets it had.
    """
    rows, window, steps = trial.scale.pick((32, 64, UPDATES), (4, 8, 3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        config = ModelConfig(cell=trial.options["cell"], hidden_size=trial.scale.pick(128, 6), dropout=0.0)
        model = LanguageModel(config, texts.vocab_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.options["lr"])
    state, at, offset = model.initial_state(rows), 0, trial.options["offset"]
    length = (len(texts.train) - 2) // rows  # of a row
    for _ in range(steps):
        trial.interruption.check()
        if at + window > length:
            state, at = model.initial_state(rows), 0
        places = (torch.arange(rows) * length + at)[:, None] + torch.arange(window)
        nll, state = model.nll_sum(texts.train[places], texts.train[places + offset], states.detach(state))
        optimizer.zero_grad()
        (nll / places.numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        at += window
    return model.double().eval(), steps * rows * window


def _loss_of(model: LanguageModel, ids: Tensor, offset: int) -> float:
    """Nats per character of a text (N,), its characters ``offset`` places after the one that was read."""
    with torch.inference_mode():
        read = ids[: len(ids) - offset]
        nll, _ = model.nll_sum(read[None], ids[None, offset:], model.initial_state(1))
    return float(nll) / len(read)


def read_before(model: LanguageModel, ids: Tensor) -> Tensor:
    """Log-probabilities (N - 1,) of the characters after the first, where the state of a step comes from the input of
    the step before: h_t = f(h_{t-1}, x_{t-1}) predicts x_t.
    """
    found, state = [], model.initial_state(1)
    with torch.inference_mode():
        for t in range(1, len(ids)):
            hidden, state = _step(model, ids[t - 1], state)
            found.append(model.head.log_probs(hidden)[0, ids[t]])
    return torch.stack(found)


def read_own_step(model: LanguageModel, ids: Tensor) -> Tensor:
    """The same where the state of a step comes from its own input: h_t = f(h_{t-1}, x_t) predicts x_{t+1}."""
    found, state = [], model.initial_state(1)
    with torch.inference_mode():
        predicted = None
        for t in range(len(ids)):
            if predicted is not None:
                found.append(predicted[0, ids[t]])
            hidden, state = _step(model, ids[t], state)
            predicted = model.head.log_probs(hidden)
    return torch.stack(found)


def read_by_kernel(model: LanguageModel, ids: Tensor) -> Tensor:
    """The same as lmkit reads it: the whole text at once."""
    with torch.inference_mode():
        hidden, _ = model.features(ids[None, :-1], model.initial_state(1))
        return model.head.log_probs(hidden[0]).gather(1, ids[1:, None]).squeeze(1)


def _step(model: LanguageModel, token: Tensor, state: State) -> tuple[Tensor, State]:
    step = take_step(model, model.embedding(token[None]), state)
    return step.outputs[-1], step.state
