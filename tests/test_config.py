"""The configuration: one place for defaults, help texts and bounds."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

import pytest

from lmkit.config import Config, DataConfig, ModelConfig, RuntimeConfig, TrainingConfig
from lmkit.errors import ConfigError
from lmkit.fields import fields_of, flag_of

SECTIONS = (DataConfig, ModelConfig, TrainingConfig, RuntimeConfig)
FIELDS = [(section, item, hint) for section in SECTIONS for item, hint in fields_of(section)]
NUMBERS = [(section, item, hint) for section, item, hint in FIELDS if {int, float} & {hint, *typing.get_args(hint)}]
CHANGED: dict[str, Any] = {
    "corpus": "book.txt",
    "tokenizer": "bpe",
    "vocab_size": 300,
    "valid_fraction": 0.25,
    "cell": "gru",
    "num_layers": 3,
    "head": "adaptive",
    "cutoffs": (10, 100),
    "tie_embeddings": True,
    "sampler": "random",
    "state": "reset",
    "lr": 0.5,
    "epochs": 4,
    "seed": 9,
    "device": "cpu",
}


def name_of(case: Any) -> str | None:
    return case.name if isinstance(case, dataclasses.Field) else None


def test_a_configuration_survives_json_and_back():
    for config in (Config(), Config().override(CHANGED)):
        assert Config.from_dict(config.to_dict()) == config
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_fields_take_their_defaults():
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"model": {"cell": "gru"}}) == Config().override({"cell": "gru"})


def test_a_configuration_cannot_be_changed():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model = ModelConfig()  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model.hidden_size = 5  # type: ignore[misc]
    assert hash(config) == hash(Config())


def test_an_override_makes_a_new_one():
    config = Config()
    changed = config.override({"hidden_size": 5, "lr": 0.5})
    assert (changed.model.hidden_size, changed.training.lr) == (5, 0.5)
    assert config == Config()
    assert changed.data is config.data or changed.data == config.data


def test_names_are_unique_over_all_sections():
    names = [item.name for _, item, _ in FIELDS]
    flags = [flag for _, item, _ in FIELDS for flag in (item.metadata["flags"] or (flag_of(item),))]
    assert len(set(names)) == len(names)
    assert len(set(flags)) == len(flags)
    assert all(flag.startswith("--") and flag == flag.lower() and "_" not in flag for flag in flags)


@pytest.mark.parametrize(("section", "item", "hint"), FIELDS, ids=name_of)
def test_every_field_has_a_help_that_is_a_sentence(section: type, item: dataclasses.Field[Any], hint: Any):
    text = item.metadata["help"]
    assert text.endswith(".")
    assert text[0].isupper()
    assert len(text) < 130


@pytest.mark.parametrize(("section", "item", "hint"), NUMBERS, ids=name_of)
def test_every_number_is_bounded_and_finite(section: type, item: dataclasses.Field[Any], hint: Any):
    bounds = item.metadata
    lowest = bounds["minimum"] if bounds["minimum"] is not None else bounds["above"]
    flag = flag_of(item)
    wrong: list[Any] = [math.nan, math.inf, -math.inf, True, "many" if bounds["words"] else "5"]
    if lowest is not None:
        wrong += [lowest - 1, -(10**6)]
        wrong += [lowest] if bounds["above"] is not None else []
    highest = bounds["maximum"] if bounds["maximum"] is not None else bounds["below"]
    if highest is not None:
        wrong += [highest + 1]
        wrong += [highest] if bounds["below"] is not None else []
    is_list = "tuple" in str(hint)
    for value in wrong:
        with pytest.raises(ConfigError, match=flag):
            Config().override({item.name: (value,) if is_list else value})
    assert lowest is not None or item.name == "forget_bias", "no number is without bounds but a bias"


@pytest.mark.parametrize(("section", "item", "hint"), FIELDS, ids=name_of)
def test_a_value_of_another_kind_is_refused(section: type, item: dataclasses.Field[Any], hint: Any):
    wrong: list[Any] = [[], {}, object(), b"x"]
    if item.default is not None:
        wrong.append(None)
    if str not in {hint, *typing.get_args(hint)}:
        wrong.append("text")
    if "tuple" in str(hint):
        wrong.remove([])
    for value in wrong:
        with pytest.raises(ConfigError, match=flag_of(item)):
            Config().override({item.name: value})


def test_bounds_that_are_allowed_are_taken():
    for values in (
        {"dropout": 0},
        {"max_grad_norm": 0},
        {"valid_fraction": 0, "test_fraction": 0},
        {"valid_fraction": 0.98, "test_fraction": 0},
        {"seed": 2**31 - 1},
        {"warmup": 0},
        {"min_count": 1, "vocab_size": 4},
    ):
        Config().override(values)


def test_whole_numbers_may_be_written_as_floats_and_floats_as_whole_numbers():
    config = Config().override({"hidden_size": 8.0, "lr": 1})
    assert type(config.model.hidden_size) is int
    assert type(config.training.lr) is float
    with pytest.raises(ConfigError, match="whole number"):
        Config().override({"hidden_size": 8.5})


@pytest.mark.parametrize(
    "values",
    [
        {"sampler": "random", "state": "carry"},
        {"sampler": "document", "state": "reset"},
        {"sampler": "sequential", "state": "document"},
        {"cell": "gru", "forget_bias": 1.0},
        {"optimizer": "sgd", "betas": (0.9, 0.99)},
        {"optimizer": "adagrad", "momentum": 0.9},
        {"optimizer": "sgd", "eps": 1e-8},
        {"betas": (0.9,)},
        {"accumulate": 5, "batch_size": 4},
        {"sampler": "random", "drop_state": 0.1},
        {"state": "reset", "drop_state": 0.1},
        {"sampler": "random", "window_jitter": 5},
        {"sampler": "document", "window_jitter": 5},
        {"window": 10, "window_jitter": 5},
        {"burn_in": 5},
        {"k1": 5},
        {"truncation": "k1k2", "artbp_cut": 0.5},
        {"truncation": "artbp", "sampler": "random"},
        {"truncation": "none", "state": "reset"},
        {"truncation": "k1k2", "sampler": "document"},
        {"truncation": "random", "sampler": "document"},
        {"truncation": "random", "window": 2},
        {"truncation": "none", "window_jitter": 5},
        {"truncation": "artbp", "drop_state": 0.1},
        {"truncation": "k1k2", "k1": 9, "k2": 8},
        {"truncation": "k1k2", "k1": 65},
        {"truncation": "artbp", "artbp_cut": 0.0},
        {"truncation": "artbp", "artbp_cut": 1.0},
        {"cutoffs": (5, 10)},
        {"head": "adaptive", "cutoffs": (10, 5)},
        {"head": "adaptive", "cutoffs": (5, 5)},
        {"head": "adaptive", "cutoffs": ()},
        {"valid_fraction": 0.5, "test_fraction": 0.5},
        {"cell": "perceptron"},
        {"cell": "lstm", "context": 8},
        {"cell": "transformer", "heads": 3, "hidden_size": 8},
        {"corpus": ""},
        {"tokenizer": ""},
    ],
    ids=str,
)
def test_contradictions_are_refused(values: dict[str, Any]):
    with pytest.raises(ConfigError):
        Config().override(values)


@pytest.mark.parametrize(
    ("sampler", "states"),
    [("sequential", ("carry", "reset")), ("random", ("reset",)), ("document", ("document",))],
)
def test_a_sampler_has_its_states(sampler: str, states: tuple[str, ...]):
    assert Config().override({"sampler": sampler}).training.state_policy == states[0]
    for state in states:
        assert Config().override({"sampler": sampler, "state": state}).training.state_policy == state


def test_an_optimizer_brings_its_schedule():
    assert Config().override({"optimizer": "sgd"}).training.schedule_name == "plateau"
    assert Config().override({"optimizer": "adamw"}).training.schedule_name == "cosine"
    assert Config().override({"optimizer": "sgd", "schedule": "cosine"}).training.schedule_name == "cosine"
    assert Config().override({"optimizer": "adagrad"}).training.schedule_name == "constant"


def test_an_option_of_other_optimisers_is_refused_with_their_names():
    with pytest.raises(ConfigError, match=r"^--betas needs --optimizer adamw, adam or muon: rmsprop does not have it"):
        Config().override({"optimizer": "rmsprop", "betas": (0.9, 0.99)})
    taken = Config().override({"optimizer": "rmsprop", "momentum": 0.5}).training
    assert taken.optimizer_options == {"momentum": 0.5, "eps": 1e-8}


def test_an_option_of_other_cells_is_refused_with_their_names():
    with pytest.raises(ConfigError, match=r"^--heads needs --cell slstm, mlstm or transformer: lstm does not have it"):
        ModelConfig(heads=2)


def test_epochs_end_a_training_that_nothing_else_ends():
    assert Config().training.epoch_limit == 15
    assert Config().override({"max_steps": 5}).training.epoch_limit is None
    assert Config().override({"max_seconds": 5}).training.epoch_limit is None
    assert Config().override({"max_steps": 5, "epochs": 2}).training.epoch_limit == 2


def test_the_dropouts_take_the_common_value():
    assert Config().override({"dropout": 0.3}).model.dropouts == (0.3, 0.3, 0.3)
    assert Config().override({"dropout": 0.3, "layer_dropout": 0.0}).model.dropouts == (0.3, 0.0, 0.3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": {"hiden_size": 5}}, ["hiden_size", "hidden_size"]),
        ({"modell": {}}, ["modell", "model"]),
        ({"model": 5}, ["model"]),
        ({"model": [1]}, ["model"]),
        ({"model": {"lr": 5}}, ["lr"]),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_one(values: dict[str, Any], words: list[str]):
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(values)
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_override_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="hidden_size"):
        Config().override({"hiden_size": 5})


def test_a_number_in_a_message_is_written_out():
    with pytest.raises(ConfigError) as caught:
        Config().override({"seed": 2**31})
    assert str(2**31) in str(caught.value)
    assert "e+09" not in str(caught.value)
