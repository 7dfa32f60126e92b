"""run.json records the options in effect, and what was edited in config.json since is found by them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from lmkit.config import Config, flatten
from lmkit.errors import RunError
from lmkit.session.placement import Placement
from lmkit.session.records.resolved import resolved_options
from lmkit.session.session import Session
from lmkit.text import CharacterTokenizer

SMALL: dict[str, Any] = {
    "corpus": "markov:2000",
    "hidden_size": 4,
    "batch_size": 4,
    "window": 64,
    "threads": 1,
    "precision": "float32",
    "device": "cpu",
}
TOKENIZER = CharacterTokenizer(["<unk>", "<eos>", *"abcdefghijklmnopqrstuvwxyz"])
# With these null stands for "none", or for what the help says: an epoch between validations, torch's start values.
OPEN = {"max_steps", "max_seconds", "eval_every", "patience", "checkpoint_every", "forget_bias", "cutoffs"} | {
    "freeze",
    "unfreeze_every",
}
OPEN |= {"projection_size", "decay_after", "attention"}
OF_OTHER_CELLS = {"nonlinearity", "irnn_form", "timescales", "kernel", "mogrifier_rounds", "conv_width"} | {
    "heads",
    "context",
}
OF_OTHER_OPTIMISERS = {"betas", "eps", "momentum", "muon_lr"} | {"average_decay", "average_start", "average_n"}
OF_OTHER_TRUNCATIONS = {"k1", "k2", "artbp_cut", "artbp_chunk"}


def resolved(**options: Any) -> dict[str, Any]:
    return resolved_options(Config().override(options), TOKENIZER, Placement(torch.device("cpu"), torch.float32, 1))


def stopped(path: Path, **options: Any) -> Path:
    session = Session(Config().override({**SMALL, **options}), path, warn=pytest.fail)
    with closing(session.records()) as records:
        next(records)
    session.stop()
    return path


def edit(run: Path, section: str, **options: Any) -> None:
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    values[section].update(options)
    (run / "config.json").write_text(json.dumps(values), encoding="utf-8")


def info(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_what_config_json_leaves_open_is_filled_in():
    for options in ({}, {"head": "adaptive"}, {"optimizer": "sgd"}, {"sampler": "document"}):
        found = resolved(**options)
        chosen = flatten(Config().override(options).to_dict())
        assert chosen.keys() - {"corpus"} <= found.keys()
        assert {
            name for name in chosen if name in found and found[name] is None
        } <= OPEN | OF_OTHER_CELLS | OF_OTHER_OPTIMISERS | OF_OTHER_TRUNCATIONS
        assert "auto" not in found.values()


def test_the_filled_in_values_are_those_that_the_training_uses():
    assert (
        resolved().items()
        >= {
            "tokenizer": "char",
            "vocab_size": 28,
            "eos_id": 1,
            "embedding_size": 256,
            "embedding_dropout": 0.2,
            "state": "carry",
            "schedule": "cosine",
            "epochs": 15,
            "threads": 1,
            "device": "cpu",
        }.items()
    )
    assert resolved(max_steps=3)["epochs"] is None
    adaptive = resolved(head="adaptive", hidden_size=64)
    assert (adaptive["cutoffs"], adaptive["tail_widths"]) == ((1, 7), [16, 4])
    assert resolved()["betas"] == resolved()["adam_betas"] == (0.9, 0.99)
    assert resolved(average="swa").items() >= {"average_start": 0.75, "average_decay": None}.items()
    assert resolved(truncation="k1k2", k1=5).items() >= {"k1": 5, "k2": 64, "artbp_cut": None}.items()
    assert resolved(truncation="artbp").items() >= {"artbp_cut": 0.25, "artbp_chunk": 16, "k1": None}.items()
    assert (resolved(truncation="random")["window_jitter"], resolved()["window_jitter"]) == (8, 0)
    assert resolved(optimizer="muon", lr=0.5)["muon_lr"] == 0.5
    assert resolved(optimizer="adam", eps=0.1).items() >= {"betas": (0.9, 0.999), "eps": 0.1, "momentum": None}.items()
    assert resolved(cell="mogrifier")["mogrifier_rounds"] == 5
    assert (resolved(cell="mlstm")["heads"], resolved(cell="mlstm", hidden_size=6)["heads"]) == (4, 2)
    assert resolved(cell="mlstm", hidden_size=6, heads=3)["heads"] == 3
    assert resolved(cell="mlstm", hidden_size=6, block="residual")["heads"] == 2
    assert {resolved(cell=cell)["timescales"] for cell in ("rglru", "slstm", "mlstm")} == {"wide"}
    assert resolved(cell="irnn")["recurrent_scale"] == 0.1
    assert resolved(cell="irnn", zoneout=0.1, block="residual")["recurrent_scale"] == 0.1
    assert resolved(cell="irnn", irnn_form="paper")["recurrent_scale"] == 1.0
    assert [resolved(cell=cell)["kernel"] for cell in ("rnn", "irnn", "gru", "lstm")] == ["own", "own", "own", None]
    tied = resolved(head="adaptive", hidden_size=64, embedding_size=32, tie_embeddings=True)
    assert tied["tail_widths"] == [32, 32]


def test_a_new_run_records_the_options_in_effect(tmp_path: Path):
    run = stopped(tmp_path / "run", epochs=2)
    session = Session.resume(run, warn=pytest.fail)
    expected = resolved_options(session.config, session.corpus.tokenizer, session.placement)
    session.release()
    assert info(run)["resolved"] == json.loads(json.dumps(expected))
    assert "resumes" not in info(run)


def test_an_end_that_was_edited_is_said_once_and_recorded(tmp_path: Path):
    run = stopped(tmp_path / "run", epochs=2)
    edit(run, "training", epochs=3)
    said: list[str] = []
    session = Session.resume(run, warn=said.append)
    session.release()
    (sentence,) = said
    assert "run/config.json was edited: epochs was 2 and is 3, as run.json records" in sentence
    assert info(run)["resumes"][0]["changed"] == {"epochs": [2, 3]}
    assert info(run)["resolved"]["epochs"] == 3
    Session.resume(run, warn=pytest.fail).release()


def test_an_end_that_a_resume_changed_is_no_edit(tmp_path: Path):
    run = stopped(tmp_path / "run", epochs=2)
    Session.resume(run, {"epochs": 3}, warn=pytest.fail).release()
    assert info(run)["resolved"]["epochs"] == 3
    Session.resume(run, {"max_steps": 9}, warn=pytest.fail).release()
    Session.resume(run, warn=pytest.fail).release()


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("model", {"hidden_size": 5}),
        ("training", {"window": 8}),
        ("training", {"optimizer": "sgd"}),
        ("runtime", {"seed": 2}),
    ],
    ids=str,
)
def test_what_would_make_it_another_run_is_refused_where_it_was_edited(
    tmp_path: Path, section: str, options: dict[str, Any]
):
    run = stopped(tmp_path / "run", epochs=2)
    edit(run, section, **options)
    (name,) = options
    with pytest.raises(RunError, match=rf"run/config\.json was edited: .*{name} was .* and is {options[name]}"):
        Session.resume(run, warn=pytest.fail)


def test_a_run_of_an_early_version_records_no_options_and_is_taken_as_it_is(tmp_path: Path):
    run = stopped(tmp_path / "run", epochs=2)
    values = info(run)
    del values["resolved"]
    (run / "run.json").write_text(json.dumps(values), encoding="utf-8")
    edit(run, "training", epochs=3)
    Session.resume(run, warn=pytest.fail).release()
