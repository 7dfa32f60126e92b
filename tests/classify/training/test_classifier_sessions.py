"""A classifier is trained by the session of language models: stopped and resumed, it leaves the same bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.classify.trained import TrainedClassifier, load_classifier
from lmkit.classify.training.kind import CLASSIFIERS
from lmkit.classify.training.options import configure
from lmkit.classify.training.setup import LabelledSetup
from lmkit.config import FineTuning
from lmkit.errors import ConfigError, RunError
from lmkit.model.parts import named_parts
from lmkit.session.session import Session
from lmkit.session.tuning.origin import Origin
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord
from tests.runs import assert_same

Begin = Callable[..., Session]
CHANCE = {"max_steps": 26, "eval_every": 7, "checkpoint_every": 5, "checkpoint_seconds": 0.0}  # an epoch has 12 steps


def finish(session: Session) -> Any:
    with session:
        list(session.records())
        result = session.close()
    assert session.unsaved is None
    return result


def stop_after(session: Session, step: int, kind: type) -> Path:
    with session, closing(session.records()) as records:
        assert any(record.step == step and isinstance(record, kind) for record in records)
        session.stop()
    return session.run.path


@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({}, (13, StepRecord)),  # in the second epoch
        ({"tune": "gradual", "pooling": "max"}, (14, EvaluationRecord)),
        (
            {"cell": "gru", "average": "ema", "accumulate": 2, "pooling": "mean", "best_by": "accuracy"},
            (12, StepRecord),
        ),
        (
            {"class_weights": "balanced", "initial_state": "learned", "pooling": "last", "text_state": "reset"},
            (7, StepRecord),
        ),
        ({"patience": 1, "eval_every": 3, "lr": 1e-9, "optimizer": "sgd"}, (6, EvaluationRecord)),
    ],
    ids=["plain", "gradual", "mean of weights", "class weights and windows from the start", "patience"],
)
def test_a_training_that_is_stopped_and_resumed_leaves_the_bytes_of_one_that_was_not(
    begin: Begin, language_model: Path, options: dict[str, Any], stop: tuple[int, type]
):
    encoder = language_model if "tune" in options else None
    whole = begin("whole", encoder, **{**CHANCE, **options})
    finish(whole)
    run = stop_after(begin("stopped", encoder, **{**CHANCE, **options}), *stop)
    torch.rand(3)  # what this process has drawn before does not matter
    finish(Session.resume(run, kind=CLASSIFIERS, warn=pytest.fail))
    assert_same(run, whole.run.path)


def test_one_on_top_of_a_language_model_needs_it_no_more_once_it_has_begun(
    begin: Begin, language_model: Path, tmp_path: Path
):
    finish(begin("whole", language_model, **CHANCE))
    run = begin("killed", language_model, **CHANCE).run.path  # it is gone before its first step
    finish(Session.resume(run, kind=CLASSIFIERS, warn=pytest.fail))
    assert_same(run, tmp_path / "whole")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["init_from"]["path"] == str(language_model)
    assert record["tokenizer_sha256"] == record["init_from"]["tokenizer_sha256"]


def test_the_encoder_is_the_language_models_and_a_probe_leaves_its_bits(begin: Begin, language_model: Path):
    lm = lmkit.load(language_model, "cpu")
    own = {name: value for name, value in lm.model.state_dict().items() if not name.startswith("head.")}
    session = begin("run", language_model, tune="probe", max_steps=5)
    finish(session)
    classifier = lmkit.load(session.run.path, "cpu")  # it takes runs of both kinds
    assert isinstance(classifier, TrainedClassifier)
    weights = classifier.model.state_dict()
    assert weights.keys() - own.keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(weights[name], value) for name, value in own.items())
    assert classifier.tokenizer.sha256 == lm.tokenizer.sha256
    tuned = begin("tuned", language_model, tune="full", max_steps=5)
    finish(tuned)
    assert not torch.equal(
        lmkit.load(tuned.run.path, "cpu").model.state_dict()["embedding.weight"], weights["embedding.weight"]
    )


def test_gradual_unfreezing_opens_a_part_each_epoch_at_lower_rates(begin: Begin, language_model: Path):
    session = begin("run", language_model, tune="gradual", epochs=4, eval_every=1000)
    open_parts: dict[int, list[str]] = {}
    with session:
        for record in session.records():
            if isinstance(record, StepRecord):
                parts = named_parts(session.model)
                open_parts[record.epoch] = [name for name, own in parts.items() if own[0].requires_grad]
    assert open_parts[0] == ["head"]
    assert open_parts[3] == ["head", "layers.1", "layers.0", "embedding"]
    assert sorted({group.get("lr_ratio", 1.0) for group in session.train.optimizer.param_groups}) == pytest.approx(
        [2.6**-3, 2.6**-2, 2.6**-1, 1.0]
    )


@pytest.mark.parametrize("options", [{}, {"best_by": "accuracy", "text_state": "reset", "window": 4}])
def test_the_best_model_has_the_lowest_loss_on_validation_or_the_fewest_errors_and_of_these_the_lowest_loss(
    begin: Begin, options: dict[str, Any]
):
    session = begin("run", **CHANCE, **options)
    result = finish(session)
    lines = [json.loads(line) for line in (session.run.path / "metrics.jsonl").read_text("utf-8").splitlines()]
    validations = [line for line in lines if line["kind"] == "evaluation"]
    by_accuracy = "best_by" in options
    best = min(validations, key=lambda line: (-line["correct"] * by_accuracy, line["nats_per_document"]))
    assert session.train.validations.best == best["nats_per_document"]
    assert (lines[-1]["kind"], lines[-1]["step"]) == ("final", best["step"])
    assert result.metrics()["accuracy"] == best["accuracy"] == lines[-1]["accuracy"]
    assert isinstance(session.setup, LabelledSetup)
    classifier, valid = load_classifier(session.run.path, "cpu"), session.setup.splits.valid
    assert valid is not None
    assert classifier.model.resets == ("text_state" in options)
    log_probs = classifier.classify(valid.texts)
    nll = -log_probs[np.arange(len(valid)), valid.labels].mean()
    assert nll == pytest.approx(best["nats_per_document"], abs=1e-6)


def test_the_loss_goes_down_and_class_names_come_back(begin: Begin):
    session = begin("run", max_steps=60, eval_every=30)
    result = finish(session)
    assert result.evaluation.nats_per_document < 0.7 * np.log(3)
    classifier = load_classifier(session.run.path, "cpu")
    assert classifier.classes == ("cat", "dog", "hen")
    assert classifier.classify(["the dog barks"]).shape == (1, 3)


def test_a_language_model_is_no_classifier_and_a_classifier_no_language_model(
    begin: Begin, language_model: Path, tmp_path: Path
):
    run = begin("run", max_steps=2).run.path
    with pytest.raises(RunError, match="is a language model, not a classifier: `lmkit classify train --encoder"):
        Session.resume(language_model, kind=CLASSIFIERS)
    with pytest.raises(RunError, match="is a classifier, not a language model"):
        Session.resume(run)
    with pytest.raises(RunError, match="is a classifier, not a language model"):
        begin("other", run)
    assert not (tmp_path / "other").exists()


def test_labels_that_were_changed_since_are_refused_by_a_resume(begin: Begin, labelled: Path, tmp_path: Path):
    changed = tmp_path / "changed.csv"
    changed.write_bytes(labelled.read_bytes())
    session = begin("run", corpus=str(changed), max_steps=3)
    finish(session)
    first, second, *rest = changed.read_text(encoding="utf-8").splitlines()
    other = second.rpartition(",")[0] + (",dog" if second.endswith("cat") else ",cat")
    changed.write_text("\n".join([first, other, *rest]) + "\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"split of .*changed\.csv has changed since the run began"):
        Session.resume(session.run.path, kind=CLASSIFIERS)


def test_files_that_were_moved_are_taken_from_where_they_are(begin: Begin, labelled: Path, tmp_path: Path):
    for name in ("train.csv", "valid.csv"):
        (tmp_path / name).write_bytes(labelled.read_bytes())
    files = {"corpus": str(tmp_path / "train.csv"), "valid": str(tmp_path / "valid.csv")}
    session = begin("run", **files, max_steps=3)
    finish(session)
    (tmp_path / "moved").mkdir()
    for name in ("train.csv", "valid.csv"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    with pytest.raises(RunError, match=r"`lmkit classify train --resume .* takes it from where it is now\.$"):
        Session.resume(session.run.path, kind=CLASSIFIERS)
    moved = {name: str(tmp_path / "moved" / Path(path).name) for name, path in files.items()}
    finish(Session.resume(session.run.path, {**moved, "max_steps": 5}, kind=CLASSIFIERS, warn=pytest.fail))
    finish(Session.resume(session.run.path, kind=CLASSIFIERS, warn=pytest.fail))
    stored = json.loads((session.run.path / "config.json").read_text(encoding="utf-8"))
    assert (stored["data"]["corpus"], stored["labels"]["valid"]) == ("../moved/train.csv", "../moved/valid.csv")


@pytest.mark.parametrize(
    ("trained", "given", "reading"),
    [
        ({}, {}, ("carry", 256)),
        ({"sampler": "document"}, {}, ("carry", 256)),
        ({"state": "reset"}, {}, ("reset", 16)),
        ({"sampler": "random", "burn_in": 5}, {}, ("reset", 21)),
        ({"sampler": "random"}, {"window": 9}, ("reset", 9)),
        ({"state": "reset"}, {"text_state": "carry"}, ("carry", 256)),
        ({}, {"text_state": "reset"}, ("reset", 256)),
    ],
    ids=str,
)
def test_texts_are_read_as_the_encoder_was_trained_to_read(
    language_model: Path, trained: dict[str, Any], given: dict[str, Any], reading: tuple[str, int]
):
    origin = Origin.open(FineTuning(init_from=str(language_model)), "--encoder")
    stored = dataclasses.replace(origin.stored, config=origin.stored.config.override(trained))
    config = configure(given, dataclasses.replace(origin, stored=stored))
    assert (config.labels.text_state, config.training.window) == reading


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden_size": 9}, "--hidden-size 9 contradicts --encoder .*, whose network has --hidden-size 8"),
        ({"tokenizer": "char"}, "--tokenizer char contradicts --encoder .*, whose tokens are word"),
        ({"min_count": 3}, "--min-count 3 contradicts --encoder .*, whose tokens are chosen"),
        ({"tune": "probe", "freeze": ("embedding",)}, "--freeze does not go with --tune probe"),
    ],
    ids=["network", "tokenizer", "tokens", "freeze"],
)
def test_options_that_contradict_the_encoder_are_refused(language_model: Path, options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        configure(options, Origin.open(FineTuning(init_from=str(language_model)), "--encoder"))


def test_the_state_of_a_stream_is_not_taken_for_that_of_a_text():
    with pytest.raises(ConfigError, match="how those of a text do is text_state"):
        configure({"state": "reset"})


@pytest.mark.parametrize("options", [{"sampler": "random"}, {"tie_embeddings": True}, {"test_fraction": 0.2}])
def test_options_that_a_classifier_does_not_have_are_refused(begin: Begin, tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(ConfigError, match="does not go with a classifier: leave it out"):
        begin("run", **options)
    assert not (tmp_path / "run").exists()
