"""config.json keeps what was chosen: it names no place of the owner's, finds its text again, outlives new options."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import PLACEMENT, RESUMABLE, Config
from lmkit.errors import LmkitError
from lmkit.run import config_file
from lmkit.run.checkpoints.manifest import render_manifest
from lmkit.run.config_file import changed_values, config_from_values, format_defaults, values_of_config
from lmkit.run.directory import RunDirectory
from lmkit.session.records.config_hash import config_hash
from lmkit.session.session import Session
from lmkit.text.sources.generated import Markov
from lmkit.training.step import StepRecord

STORED = Path(__file__).parent.parent / "stored_runs" / "lstm" / "run"
TEXT = Markov().sample(3000)  # of the stored run
SMALL: dict[str, Any] = {
    "hidden_size": 4,
    "batch_size": 2,
    "window": 8,
    "max_steps": 4,
    "threads": 1,
    "precision": "float32",
    "device": "cpu",
}
# The defaults of format 1. Where one of them changes in lmkit/config, the value here goes into EARLIER_DEFAULTS; a new
# option gets a line here, with the value under which a run is what it was without the option.
FORMAT_1: dict[str, Any] = {
    "corpus": "pydoc",
    "tokenizer": "char",
    "vocab_size": None,
    "min_count": 1,
    "documents": "file",
    "valid_fraction": 0.1,
    "test_fraction": 0.1,
    "split_at": "char",
    "cell": "lstm",
    "block": "plain",
    "num_layers": 1,
    "hidden_size": 256,
    "embedding_size": None,
    "tie_embeddings": False,
    "dropout": 0.2,
    "embedding_dropout": None,
    "layer_dropout": None,
    "output_dropout": None,
    "locked_dropout": False,
    "embedding_type_dropout": 0.0,
    "weight_drop": 0.0,
    "zoneout": 0.0,
    "nonlinearity": None,
    "irnn_form": None,
    "kernel": None,
    "recurrent_init": None,
    "recurrent_scale": None,
    "forget_bias": None,
    "timescales": None,
    "initial_state": None,
    "input_gate": None,
    "projection_size": None,
    "mogrifier_rounds": None,
    "conv_width": None,
    "heads": None,
    "context": None,
    "attention": None,
    "attention_kind": "sha",
    "head": "full",
    "cutoffs": None,
    "sampler": "sequential",
    "state": None,
    "drop_state": 0.0,
    "window": 64,
    "window_jitter": 0,
    "truncation": "fixed",
    "k1": None,
    "k2": None,
    "artbp_cut": None,
    "artbp_chunk": None,
    "burn_in": 0,
    "batch_size": 32,
    "accumulate": 1,
    "optimizer": "adamw",
    "lr": 0.003,
    "betas": None,
    "eps": None,
    "momentum": None,
    "muon_lr": None,
    "weight_decay": 0.0,
    "ar_alpha": 0.0,
    "tar_beta": 0.0,
    "schedule": None,
    "warmup": 0.02,
    "lr_decay": 4.0,
    "decay_after": None,
    "lr_decay_per_layer": 1.0,
    "freeze": None,
    "unfreeze_every": None,
    "average": "none",
    "average_decay": None,
    "average_start": None,
    "average_n": None,
    "max_grad_norm": 1.0,
    "epochs": None,
    "max_steps": None,
    "max_seconds": None,
    "eval_every": None,
    "patience": None,
    "on_nonfinite": "raise",
    "skip_spikes": False,
    "checkpoint_every": None,
    "checkpoint_seconds": 60.0,
    "keep_checkpoints": 2,
    "seed": 1,
    "init_seed": None,
    "data_seed": None,
    "device": "auto",
    "precision": "auto",
    "threads": None,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, book.txt, and a run on it, runs/book-1, stopped at step 2 of 4, and a cache of its own."""
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "home" / "project"
    folder.mkdir(parents=True)
    (folder / "book.txt").write_text(TEXT, encoding="utf-8")
    os.utime(folder / "book.txt", (1_700_000_000, 1_700_000_000))  # the index knows files that have settled
    config = Config().override({**SMALL, "corpus": str(folder / "book.txt")})
    session = Session(config, folder / "runs" / "book-1", warn=pytest.fail)
    records = session.records()
    assert any(isinstance(record, StepRecord) and record.step == 2 for record in records)
    records.close()
    session.stop()
    return folder


def evaluated(run: Path) -> float:
    result = CliRunner().invoke(main, ["eval", str(run), "--json", "--device", "cpu", "--threads", "1"])
    assert result.exit_code == 0, result.output
    return float(json.loads(result.stdout)["nll_nats"])


def stored(run: Path) -> dict[str, Any]:
    return json.loads((run / "config.json").read_text(encoding="utf-8"))


# names of files


def test_a_run_names_its_text_and_tokenizer_relative_to_itself_and_no_place_of_the_owner(project: Path):
    run = project / "runs" / "book-1"
    again = project / "runs" / "book-2"
    config = Config().override({**SMALL, "corpus": str(project / "book.txt"), "tokenizer": str(run / "tokenizer.json")})
    Session(config, again).release()
    assert stored(again)["data"]["corpus"] == "../../book.txt"
    assert stored(again)["data"]["tokenizer"] == "../book-1/tokenizer.json"
    for name in ("config.json", "run.json", "metrics.jsonl"):
        assert str(project) not in (again / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["pydoc", "markov:3000", "-", "owner/name", "./book.txt", "a/../b"])
def test_what_is_no_absolute_path_is_stored_as_it_is(tmp_path: Path, name: str):
    values = values_of_config(Config().override({"corpus": name}), tmp_path, "0", 5)
    assert values["data"]["corpus"] == name


def test_a_path_that_shares_only_the_root_with_the_run_stays_absolute(tmp_path: Path):
    name = str(Path(tmp_path.anchor) / "elsewhere" / "book.txt")
    values = values_of_config(Config().override({"corpus": name}), tmp_path / "run", "0", 5)
    assert values["data"]["corpus"] == name
    assert config_from_values(values, tmp_path / "run").data.corpus == name


@pytest.mark.parametrize("place", ["book.txt", "run/book.txt", "run", "texts/book.txt", "../book.txt"])
def test_a_path_comes_back_as_it_went_in(tmp_path: Path, place: str):
    config = Config().override({"corpus": os.path.normpath(tmp_path / "here" / place), "epochs": 3})
    values = json.loads(json.dumps(values_of_config(config, tmp_path / "here" / "run", "0", 5)))
    assert not Path(values["data"]["corpus"]).is_absolute()
    assert config_from_values(values, tmp_path / "here" / "run") == config


def test_a_project_that_was_moved_as_a_whole_is_measured_and_resumed(project: Path, monkeypatch: pytest.MonkeyPatch):
    before = evaluated(project / "runs" / "book-1")
    moved = project.rename(project.parent / "elsewhere")
    monkeypatch.setenv("LMKIT_CACHE", str(moved / "an empty cache"))
    assert evaluated(moved / "runs" / "book-1") == before
    lmkit.resume(moved / "runs" / "book-1", warn=pytest.fail)


def test_a_run_that_was_moved_alone_finds_its_text_by_the_hash(project: Path, tmp_path: Path):
    before = evaluated(project / "runs" / "book-1")
    run = Path(shutil.copytree(project / "runs" / "book-1", tmp_path / "far" / "away" / "from" / "it"))
    assert evaluated(run) == before
    lmkit.resume(run, warn=pytest.fail)
    (project / "book.txt").write_text(TEXT + "more", encoding="utf-8")
    assert RunDirectory.open(run).stored().config.data.corpus != str(project / "book.txt")


def test_a_text_that_was_cut_into_other_documents_is_refused(tmp_path: Path):
    """The sha256 is of the text alone, and the folder names no file: what differs is the <eos> between two of them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "1.txt").write_text(TEXT[:800], encoding="utf-8")
    (folder / "2.txt").write_text(TEXT[800:], encoding="utf-8")
    Session(Config().override({**SMALL, "corpus": str(folder)}), tmp_path / "run", warn=pytest.fail).release()
    (folder / "1.txt").write_text(TEXT, encoding="utf-8")
    (folder / "2.txt").unlink()
    with pytest.raises(LmkitError, match=r"The train split of .*texts has changed"):
        lmkit.resume(tmp_path / "run", warn=pytest.fail)


def test_a_text_that_is_nowhere_is_named_by_the_place_where_it_was(project: Path):
    (project / "book.txt").unlink()
    result = CliRunner().invoke(main, ["eval", str(project / "runs" / "book-1")])
    assert result.exit_code == 2
    assert str(project / "book.txt") in result.output


# runs of early versions, whose config.json and checkpoints hold the absolute path of the text


@pytest.fixture
def early(tmp_path: Path) -> Path:
    """The stored run as it would have been written for a text in a file: book.txt beside it."""
    run = Path(shutil.copytree(STORED, tmp_path / "early" / "run"))
    (tmp_path / "early" / "book.txt").write_text(TEXT, encoding="utf-8")
    values = stored(run)
    before = early_hash(values)
    values["data"]["corpus"] = str(tmp_path / "early" / "book.txt")
    (run / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (checkpoint,) = (run / "checkpoints").iterdir()
    state = checkpoint / "training.json"
    content = state.read_text(encoding="utf-8")
    assert before in content, "the stored checkpoint has the hash that early versions computed"
    state.write_text(content.replace(before, early_hash(values)), encoding="utf-8")
    manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    files = {name: (checkpoint / name).read_bytes() for name in manifest.pop("files")}
    notes = {name: value for name, value in manifest.items() if name not in ("format", "step", "seal")}
    (checkpoint / "manifest.json").write_bytes(render_manifest(manifest["step"], files, notes))
    return run


def early_hash(values: Mapping[str, Any]) -> str:
    sections = {name: dict(options) for name, options in values.items() if isinstance(options, dict)}
    for options in sections.values():
        for name in (*RESUMABLE, *PLACEMENT):
            options.pop(name, None)
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def test_an_early_run_on_a_file_is_measured_and_resumed(early: Path):
    assert evaluated(early) == pytest.approx(evaluated(STORED), rel=1e-6)
    lmkit.resume(early, allow_inexact=True)


def test_an_early_run_is_extended_and_its_configuration_otherwise_left_as_it_is(early: Path):
    before = stored(early)
    lmkit.resume(early, allow_inexact=True, max_steps=62)
    before["training"]["max_steps"] = 62
    assert stored(early) == before
    lmkit.resume(early, allow_inexact=True, max_steps=64)


def test_an_early_run_whose_text_has_moved_is_resumed_more_than_once(early: Path, tmp_path: Path):
    text = (early.parent / "book.txt").rename(tmp_path / "moved.txt")
    Session.resume(early, {"corpus": str(text)}, allow_inexact=True).release()
    (change,) = RunDirectory.open(early).info()["resumes"]
    assert change["changed"] == {"corpus": [str(early.parent / "book.txt"), "../../moved.txt"]}
    lmkit.resume(early, allow_inexact=True)


def test_an_early_run_with_another_option_is_refused(early: Path):
    values = stored(early)
    values["training"]["lr"] = 0.03
    (early / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(LmkitError, match="configuration"):
        lmkit.resume(early, allow_inexact=True)


def test_a_changed_option_alone_is_written_anew(tmp_path: Path):
    values = {"lmkit": "0", "format": 1, "vocab_size": 5, "data": {"corpus": "/old/place"}, "training": {"lr": 1.0}}
    changed = changed_values(values, tmp_path, {"epochs": 7})
    assert changed == {**values, "training": {"lr": 1.0, "epochs": 7}}


# new options


def test_the_defaults_of_the_format_stay_what_they_were():
    assert format_defaults() == FORMAT_1
    assert format_defaults("irnn") == {**FORMAT_1, "irnn_form": "paper", "kernel": "torch"}


def test_an_option_that_config_json_lacks_has_the_default_of_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(config_file, "EARLIER_DEFAULTS", {"lr": 7.0})
    values = values_of_config(Config(), tmp_path, "0", 5)
    assert config_from_values(values, tmp_path).training.lr == Config().training.lr
    del values["training"]["lr"]
    assert config_from_values(values, tmp_path).training.lr == 7.0


def test_an_option_of_one_cell_has_its_earlier_default_in_runs_of_that_cell_alone(tmp_path: Path):
    for option, cell, earlier in (
        ("irnn_form", "irnn", "paper"),
        ("timescales", "rglru", "paper"),
        ("irnn_form", "lstm", None),
        ("timescales", "lstm", None),
    ):
        values = values_of_config(Config().override({"cell": cell}), tmp_path, "0", 5)
        assert values["model"].pop(option) is None
        config = config_from_values(values, tmp_path)
        assert getattr(config.model, option) == earlier
        assert config_hash(config) == config_hash(Config().override({"cell": cell, option: earlier}))
    early = hashlib.sha256(b'{"cell": "irnn"}').hexdigest()
    assert config_hash(Config().override({"cell": "irnn", "irnn_form": "paper", "kernel": "torch"})) == early


@pytest.mark.parametrize("cell", ["rnn", "irnn", "gru"])
def test_a_run_from_before_there_were_kernels_is_trained_by_torchs(tmp_path: Path, cell: str):
    values = values_of_config(Config().override({"cell": cell}), tmp_path, "0", 5)
    assert config_from_values(values, tmp_path).model.kernel is None
    del values["model"]["kernel"]
    assert config_from_values(values, tmp_path).model.kernel == "torch"


def test_the_hash_of_a_configuration_covers_only_what_differs_from_the_defaults_of_the_format():
    assert config_hash(Config()) == hashlib.sha256(b"{}").hexdigest()
    assert config_hash(Config().override({"lr": 0.5})) == hashlib.sha256(b'{"lr": 0.5}').hexdigest()
    free = {"epochs": 9, "threads": 3, "corpus": "copy", "tokenizer": "word"}
    assert config_hash(Config().override(free)) == config_hash(Config())
