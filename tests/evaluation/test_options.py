"""The options of a measurement: checked when they are made, and the same in every door."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.options import CompareKeywords, CompareOptions
from lmkit.evaluation.options import AdapterSettings, EvalKeywords, EvalOptions
from lmkit.fields import flag_of


def test_the_keywords_of_the_python_api_are_fields_with_their_types():
    types = typing.get_type_hints(EvalOptions)
    assert typing.get_type_hints(EvalKeywords).items() <= types.items()
    assert types.keys() - typing.get_type_hints(EvalKeywords) == {"max_passes", "adapters"}


def test_the_keywords_of_a_comparison_are_the_fields_of_its_options():
    assert typing.get_type_hints(CompareKeywords) == typing.get_type_hints(CompareOptions)


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        *[(EvalOptions, {name: value}) for name, value in {"state": "stream", "rows": 0, "warmup": -1}.items()],
        *[(EvalOptions, {name: value}) for name, value in {"window": 0, "precision": "int8"}.items()],
        *[(AdapterSettings, {name: -1}) for name in ("dynamic_lr", "cache", "cache_weight", "ngram", "ngram_weight")],
        (AdapterSettings, {"cache_weight": 1.0}),
        *[(AdapterSettings, {name: float("nan")}) for name in ("cache_flatness", "dynamic_lr")],
        (AdapterSettings, {"dynamic_span": 0}),
        (AdapterSettings, {"dynamic_decay": 1.5}),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_its_flag_when_options_are_made(made, wrong):
    (name,) = wrong
    flag = flag_of(next(item for item in dataclasses.fields(made) if item.name == name))
    with pytest.raises(ConfigError, match=flag):
        made(**wrong)


def test_two_ngram_models_are_refused():
    with pytest.raises(ConfigError, match="not both"):
        AdapterSettings(ngram=2, arpa="model.arpa")


def test_a_state_that_was_chosen_stays_and_another_is_the_trained_one():
    assert EvalOptions().policy == "carry"
    assert EvalOptions().trained("document") == EvalOptions(state="document")
    assert EvalOptions(state="reset").trained("document") == EvalOptions(state="reset")
