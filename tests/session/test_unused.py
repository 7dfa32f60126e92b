"""An option that does nothing beside the others is named before the training."""

from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config
from lmkit.session.session import Session
from tests.runs import SMALL, write_text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


def notes_on(text: Path, out: Path, **options: Any) -> list[str]:
    notes: list[str] = []
    config = Config().override({**SMALL, "max_steps": 1, "corpus": str(text), **options})
    Session.begin(config, out, note=notes.append).release()
    return [note for note in notes if "--" in note]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer": "sgd", "warmup": 0.1}, "--warmup 0.1 does nothing with --schedule plateau: it is for cosine."),
        ({"lr_decay": 2.0}, "--lr-decay 2 does nothing with --schedule cosine: it is for plateau or epochs."),
        ({"layer_dropout": 0.3}, "--layer-dropout 0.3 does nothing: it falls between layers, and there is one."),
        ({"truncation": "none", "window": 9}, "--truncation none reads whole rows or documents: --window 9 "),
        ({"valid_fraction": 0.0, "eval_every": 5}, "--eval-every 5 does nothing: there is no text to validate on."),
        ({"valid_fraction": 0.0, "optimizer": "sgd"}, "--schedule plateau keeps the learning rate as it is: there is "),
    ],
)
def test_what_has_no_effect_is_said(text: Path, tmp_path: Path, options: dict[str, Any], expected: str):
    (note,) = notes_on(text, tmp_path / "run", **options)
    assert note.startswith(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"warmup": 0.1, "layer_dropout": 0.3, "block": "residual"},
        {"optimizer": "sgd", "lr_decay": 2.0, "layer_dropout": 0.3, "num_layers": 2, "eval_every": 5},
        {"schedule": "epochs", "lr_decay": 2.0, "layer_dropout": 0.3, "attention": 4, "valid_fraction": 0.0},
        {"dropout": 0.3, "layer_dropout": 0.0},
    ],
)
def test_what_has_an_effect_is_passed_over(text: Path, tmp_path: Path, options: dict[str, Any]):
    assert notes_on(text, tmp_path / "run", **options) == []
