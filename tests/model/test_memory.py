"""What cannot fit into the machine's memory is refused before it is allocated, with what would fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.config import Config, ModelConfig
from lmkit.errors import ConfigError
from lmkit.model import memory
from lmkit.model.language_model import LanguageModel
from lmkit.model.memory import check_evaluation_memory, evaluation_bytes, largest, training_bytes
from lmkit.session import memory as preparation
from lmkit.session.placement import Placement
from lmkit.session.sampling import window_sizes

CPU = torch.device("cpu")
HERE = Placement(CPU, torch.float32, 1)
GIB = 2**30


def model(vocab_size: int = 50, hidden_size: int = 8) -> LanguageModel:
    with torch.device("meta"):
        return LanguageModel(ModelConfig(hidden_size=hidden_size), vocab_size)


@pytest.mark.parametrize("fitting", [0, 1, 2, 6, 7])
def test_the_largest_number_that_fits_is_found(fitting: int):
    assert largest(lambda number: number <= fitting, 7) == fitting


def test_estimates_grow_with_what_is_asked_for():
    def training(vocab_size: int = 5000, moments: int = 2, rows: int = 10, steps: int = 100) -> float:
        return training_bytes(model(vocab_size), moments=moments, rows=rows, steps=steps, device=CPU)

    assert training() < training(vocab_size=5001)
    assert training(moments=0) < training()
    assert training() < training(steps=101) < training(rows=11, steps=101)
    plain, regularised = (
        LanguageModel(ModelConfig(hidden_size=8, embedding_type_dropout=rate), 50) for rate in (0.0, 0.1)
    )
    needs = [training_bytes(one, moments=2, rows=2, steps=5, device=CPU) for one in (plain, regularised)]
    assert needs[1] - needs[0] == 4 * (50 + 10 * 8)
    assert evaluation_bytes(model(), rows=2, steps=3) < evaluation_bytes(model(), rows=3, steps=3)
    assert evaluation_bytes(model(), rows=2, steps=3) < evaluation_bytes(model(), rows=2, steps=4)


def test_a_large_vocabulary_counts_weights_gradients_moments_and_logits():
    """AdamW on two million words: 16 bytes a parameter at the least, and 64 rows of logits."""
    large = model(2_000_000, 256)
    parameters = sum(parameter.numel() for parameter in large.parameters())
    needed = training_bytes(large, moments=2, rows=32, steps=32, device=CPU)
    assert 16 * parameters + 4 * 64 * 2_000_000 < needed < 64 * parameters


@pytest.mark.parametrize(
    ("rows", "steps", "option"), [(1_000_000, 256, "rows"), (1, 10**9, "window")], ids=["rows", "window"]
)
def test_an_evaluation_that_cannot_fit_says_what_would(
    monkeypatch: pytest.MonkeyPatch, rows: int, steps: int, option: str
):
    monkeypatch.setattr(memory, "memory_size", lambda device: GIB)
    with pytest.raises(ConfigError, match=f"GiB, and this machine has 1.0 GiB: --{option} [0-9]+ would fit") as error:
        check_evaluation_memory(model(), rows=rows, steps=steps)
    (number,) = re.findall(r"--\w+ ([0-9]+)", str(error.value))
    fitting = {"rows": (int(number), steps), "window": (1, int(number))}[option]
    check_evaluation_memory(model(), rows=fitting[0], steps=fitting[1])


@pytest.mark.parametrize("tokenizer", ["word", "character"])
def test_a_training_that_cannot_fit_says_what_would(monkeypatch: pytest.MonkeyPatch, tokenizer: str):
    monkeypatch.setattr(preparation, "memory_size", lambda device: 4 * GIB)
    config = Config().override({"tokenizer": tokenizer, "hidden_size": 200, "cell": "gru"})
    with pytest.raises(ConfigError, match=r"vocabulary of 2,000,000 takes about [0-9.]+ GiB") as error:
        preparation.check_memory(config, 2_000_000, HERE, 64)
    found = dict(re.findall(r"--([\w-]+) ([0-9]+)", str(error.value)))
    assert ("vocab-size" in found) == (tokenizer == "word")
    preparation.check_memory(config.override({"hidden_size": int(found["hidden-size"])}), 2_000_000, HERE, 64)
    if tokenizer == "word":
        preparation.check_memory(config, int(found["vocab-size"]), HERE, 64)


def test_a_context_that_cannot_fit_says_what_would(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "memory_size", lambda device: 4 * GIB)
    config = Config().override({"cell": "transformer", "context": 10**6})
    with pytest.raises(ConfigError, match=r"takes about [0-9.,]+ GiB") as error:
        preparation.check_memory(config, 100, HERE, 64)
    (fitting,) = re.findall(r"--context ([0-9]+)", str(error.value))
    preparation.check_memory(config.override({"context": int(fitting)}), 100, HERE, 64)
    with torch.device("meta"):
        short, long = (LanguageModel(ModelConfig(cell="transformer", context=size), 100) for size in (64, 10**5))
    states = 4 * 32 * 2 * 256 * (10**5 - 64)  # bytes of keys and values
    assert evaluation_bytes(long, rows=32, steps=64) - evaluation_bytes(short, rows=32, steps=64) > states
    needs = [training_bytes(model, moments=2, rows=32, steps=64, device=CPU) for model in (short, long)]
    assert needs[1] - needs[0] > 3 * states


def test_a_batch_that_cannot_fit_says_in_how_many_parts_it_would(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "memory_size", lambda device: GIB)
    config = Config().override({"batch_size": 4000, "window": 300})
    with pytest.raises(ConfigError, match=r"--accumulate [0-9]+ would fit") as error:
        preparation.check_memory(config, 90, HERE, 300)
    (parts,) = re.findall(r"--accumulate ([0-9]+)", str(error.value))
    preparation.check_memory(config.override({"accumulate": int(parts)}), 90, HERE, 300)
    with pytest.raises(ConfigError):
        preparation.check_memory(config.override({"accumulate": int(parts) - 1}), 90, HERE, 300)


def bytes_of(**options: Any) -> float:
    config = Config().override(options)
    steps = window_sizes(config.training, 40_000, np.arange(0, 40_000, 1000)).longest
    return preparation.bytes_to_train(config, 50, CPU, steps)


@pytest.mark.parametrize(
    "option",
    [
        {"window_jitter": 5},
        {"ar_alpha": 2.0},
        {"tar_beta": 1.0},
        {"sampler": "random", "burn_in": 9},
        {"truncation": "none"},
        {"truncation": "none", "sampler": "document"},
        {"truncation": "random"},
        {"truncation": "k1k2", "k2": 65},
        {"truncation": "artbp"},
    ],
    ids=str,
)
def test_a_longest_window_and_penalties_are_in_the_estimate(option: dict[str, Any]):
    assert bytes_of() < bytes_of(**option)


def test_a_window_is_no_longer_than_a_row_or_a_document():
    documents = [0, 5, 105, 110]
    for options, longest in (
        ({"truncation": "none", "batch_size": 9}, 13),
        ({"truncation": "none", "sampler": "document"}, 100),
        ({"truncation": "k1k2", "k1": 2, "k2": 500, "batch_size": 9}, 13),
        ({"truncation": "artbp", "batch_size": 2}, 56),
    ):
        assert window_sizes(Config().override(options).training, 112, documents).longest == longest


@pytest.mark.parametrize(
    ("style", "flag"), [("none", "--truncation fixed --window"), ("k1k2", "--k2"), ("artbp", "--truncation fixed")]
)
def test_a_style_of_truncation_that_cannot_fit_says_how_many_steps_would(
    monkeypatch: pytest.MonkeyPatch, style: str, flag: str
):
    monkeypatch.setattr(preparation, "memory_size", lambda device: GIB)
    config = Config().override({"truncation": style})
    with pytest.raises(
        ConfigError, match=rf"--truncation {style}, in windows of 100,000 steps, .*{flag}.* fit"
    ) as error:
        preparation.check_memory(config, 90, HERE, 100_000)
    (steps,) = re.findall(r"(?:--window|--k2) ([0-9]+)", str(error.value))
    preparation.check_memory(config, 90, HERE, int(steps))


@pytest.mark.parametrize("kind", ["sha", "bahdanau"])
def test_an_attention_that_cannot_fit_says_what_would(monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(preparation, "memory_size", lambda device: 4 * GIB)
    config = Config().override({"attention": 10**6, "attention_kind": kind})
    with pytest.raises(ConfigError, match=r"takes about [0-9.,]+ GiB") as error:
        preparation.check_memory(config, 100, HERE, 64)
    (fitting,) = re.findall(r"--attention ([0-9]+)", str(error.value))
    preparation.check_memory(config.override({"attention": int(fitting)}), 100, HERE, 64)
