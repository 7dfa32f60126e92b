"""A training says when its validation is worse than guessing, once, and what the carried state has to do with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lmkit.config import Config
from lmkit.evaluation.perplexity import Evaluation
from lmkit.session.language.kind import text_alarm
from lmkit.session.session import Session
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

GUESS = math.log(50)


def heard(*pairs: tuple[float, float]) -> list[str]:
    """What is said of validations in this order: the nats per token of the steps before each, and its own."""
    warnings: list[str] = []
    alarm = text_alarm(50, list, warnings.append)
    for number, (trained, validated) in enumerate(pairs, 1):
        for _ in range(2):
            alarm.after_step(StepRecord(number, 0, 100 * trained, 100, 0.1, 1.0))
        alarm.after_validation(EvaluationRecord(number, 0, 100, Evaluation(nll=10 * validated, tokens=10), False))
    return warnings


def test_a_validation_that_is_worse_than_guessing_after_training_moved_is_told_with_both_losses():
    (warning,) = heard((GUESS - 1, GUESS + 0.01))
    assert warning.startswith("Validation at step 1: 3.922 nats per token are worse than guessing: ")
    assert "each of the 50 tokens the same probability costs 3.912." in warning
    assert warning.endswith("Train at a lower --lr, or longer.")


def test_a_training_that_diverged_is_told_of_though_its_steps_are_no_better():
    assert len(heard((GUESS + 5, GUESS + 5))) == 1
    assert len(heard((math.nan, math.nan))) == 1
    assert "exp(1000)" in heard((GUESS, 1000.0))[0]


@pytest.mark.parametrize("pair", [(GUESS + 0.01, GUESS + 0.02), (GUESS - 1, GUESS), (GUESS + 9, GUESS - 0.01)])
def test_a_model_that_has_not_moved_or_is_better_than_guessing_is_not_told_of(pair):
    assert heard(pair) == []


def test_it_is_told_once_until_a_validation_was_better():
    good, bad = (GUESS - 1, GUESS - 1), (GUESS - 1, GUESS + 9)
    assert [warning.split(":")[0] for warning in heard(bad, bad, good, bad, bad)] == [
        "Validation at step 1",
        "Validation at step 4",
    ]


def test_a_carried_state_that_grows_is_told_of_where_the_training_is(tmp_path: Path):
    """Its windows are short: the loss of training does not show what happens along a text."""
    (tmp_path / "text.txt").write_text("The cat sat on the mat. The dog ran to the tree.\n" * 80, encoding="utf-8")
    options: dict[str, Any] = {"cell": "irnn", "irnn_form": "paper", "hidden_size": 8, "batch_size": 4, "window": 4}
    options |= {
        "max_steps": 2,
        "eval_every": 2,
        "valid_fraction": 0.2,
        "lr": 1e-9,
        "corpus": str(tmp_path / "text.txt"),
    }
    warnings: list[str] = []
    config = Config().override({**options, "threads": 1, "precision": "float32", "device": "cpu"})
    session = Session(config, tmp_path / "run", warn=warnings.append)
    for record in session.records():
        if record.step == 1:
            with torch.no_grad():
                for name, parameter in session.model.named_parameters():
                    if "weight_hh" in name:
                        parameter.copy_(1.02 * torch.eye(len(parameter)))
                    elif "weight" in name or "bias" in name:
                        parameter.copy_(torch.linspace(0.02, 0.1, parameter.numel()).view_as(parameter))
    session.release()
    (warning,) = warnings
    assert warning.startswith("Validation at step 2: ")
    assert "worse than guessing" in warning
    assert "The carried state grows: " in warning
