"""What the tests of classifiers in training share: a file of labelled texts, a language model, a tiny training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmkit.classify.training.kind import CLASSIFIERS
from lmkit.classify.training.options import configure
from lmkit.config import Config, FineTuning
from lmkit.session.session import Session
from lmkit.session.tuning.origin import Origin
from tests.runs import SMALL, labelled_csv

Begin = Callable[..., Session]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "train.csv"
    path.write_text(labelled_csv(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a language model of words, of two tied layers."""
    folder = tmp_path_factory.mktemp("encoder")
    text = labelled_csv(seed=5).replace(",", " ")
    (folder / "text.txt").write_text(text, encoding="utf-8")
    shape = {"tokenizer": "word", "num_layers": 2, "tie_embeddings": True, "dropout": 0.1}
    config = Config().override({**SMALL, **shape, "corpus": str(folder / "text.txt"), "max_steps": 3})
    with Session(config, folder / "lm") as session:
        list(session.records())
        session.close()
    return folder / "lm"


@pytest.fixture
def begin(labelled: Path, tmp_path: Path) -> Begin:
    """Begin a tiny training in the folder of the test."""

    def call(name: str = "run", encoder: Path | None = None, **options: Any) -> Session:
        given = {**SMALL, "corpus": str(labelled), "valid_fraction": 0.2, "dropout": 0.3, "lr": 0.02, **options}
        given = {name: value for name, value in given.items() if encoder is None or name != "hidden_size"}
        origin = None if encoder is None else Origin.open(FineTuning(init_from=str(encoder)))
        how: dict[str, Any] = {"origin": origin, "kind": CLASSIFIERS, "warn": pytest.fail}
        return Session.begin(configure({"min_count": 1, **given}, origin), tmp_path / name, **how)

    return call
