"""A training session: the best model is kept and measured, and looking at a training does not change it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lmkit
from lmkit.config import Config
from lmkit.errors import ConfigError, DataError, LmkitError, NonFiniteError, RunError
from lmkit.evaluation.measurement import Measurement, measure
from lmkit.evaluation.perplexity import Evaluation
from lmkit.run import directory
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import is_locked
from lmkit.run.summary import RunSummary
from lmkit.run.weights import pack_weights
from lmkit.session.session import Session
from lmkit.session.setup import measured_language_model
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord
from tests.runs import SMALL

TEXT = "The cat sat on the mat. The dog ran to the tree.\n" * 80

Make = Callable[..., Session]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A session on a small text, with a run folder of its own."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    numbers = itertools.count(1)

    def call(**options: Any) -> Session:
        values = {**SMALL, "corpus": str(tmp_path / "text.txt"), **options}
        return Session(Config().override(values), tmp_path / f"run-{next(numbers)}")

    return call


def lines(session: Session, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (session.run.path / name).read_text(encoding="utf-8").splitlines()]


def weights(session: Session) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in session.model.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_progress_rises_to_one(make: Make):
    session = make(max_steps=9, eval_every=4)
    assert session.progress == 0
    seen = []
    for _ in session.records():
        seen.append(session.progress)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_records_tell_of_every_step_and_validation(make: Make):
    session = make(max_steps=9, eval_every=4)
    records = list(session.records())
    steps = [record for record in records if isinstance(record, StepRecord)]
    assert [record.step for record in steps] == list(range(1, 10))
    assert [record.step for record in records if isinstance(record, EvaluationRecord)] == [4, 8, 9]
    assert sum(record.tokens for record in steps) == session.train.tokens


def test_every_token_is_trained_on_once_an_epoch(make: Make):
    session = make(epochs=2)
    list(session.records())
    assert session.train.tokens == 2 * len(session.corpus.splits["train"])


def test_the_best_model_is_in_place_at_the_end(make: Make):
    session = make(optimizer="sgd", lr=20, schedule="constant", max_grad_norm=0, max_steps=40, eval_every=1, cell="rnn")
    best, losses = None, []
    for record in session.records():
        if isinstance(record, EvaluationRecord):
            losses.append(record.evaluation.nats_per_token)
            if record.is_best:
                best = weights(session)
    assert losses[-1] > min(losses), "the last model is not the best one here"
    assert best is not None
    assert not same(weights(session), best)
    result = session.close()
    assert same(weights(session), best)
    assert result is not None
    lm = lmkit.load(session.run.path)
    assert same([tensor for tensor in lm.model.state_dict().values()], best)
    measured = lm.measure(lm.split_tokens("test")[1], split="test").evaluation
    assert measured == result.evaluation


def test_validation_leaves_no_trace_in_the_training(make: Make):
    found = []
    for eval_every in (1, 100):
        session = make(max_steps=30, eval_every=eval_every, dropout=0.5)
        list(session.records())
        found.append(weights(session))
    assert same(*found)


def test_sampling_and_scoring_leave_no_trace_in_the_training(make: Make):
    watched = make(max_steps=10, dropout=0.5)
    for _ in watched.records():
        lm = lmkit.TrainedModel(measured_language_model(watched.train), watched.corpus.tokenizer, watched.config)
        lm.sample("The", length=5)
        lm.perplexity("The cat.")
        lm.features("The cat.")
    alone = make(max_steps=10, dropout=0.5)
    list(alone.records())
    assert same(weights(watched), weights(alone))


def test_metrics_hold_only_functions_of_the_run(make: Make):
    contents = []
    for _ in range(2):
        session = make(max_steps=45, eval_every=10)
        list(session.records())
        session.close()
        contents.append((session.run.path / "metrics.jsonl").read_bytes())
    assert contents[0] == contents[1]
    keys = {key for record in lines(session) for key in record}
    assert {"kind", "step", "epoch", "tokens", "nll", "lr", "grad_norm"} <= keys
    assert not {key for key in keys if "second" in key or "time" in key or "speed" in key}
    assert {record["kind"] for record in lines(session)} == {"training", "evaluation", "final"}


def test_clocks_stand_apart(make: Make):
    session = make(max_steps=45)
    list(session.records())
    session.close()
    records = [record for record in lines(session, "timings.jsonl") if record]
    assert all("seconds" in record for record in records)
    assert [record["seconds"] for record in records] == sorted(record["seconds"] for record in records)
    places = [(record["kind"], record["step"]) for record in lines(session) if record["kind"] != "final"]
    assert [(record["kind"], record["step"]) for record in records] == places
    assert all(record for record in lines(session, "timings.jsonl")), "no empty records"


def test_metrics_come_in_the_order_of_the_steps_and_no_step_is_missing(make: Make):
    session = make(max_steps=47, eval_every=10)
    steps = [record for record in session.records() if isinstance(record, StepRecord)]
    session.close()
    training = [record for record in lines(session) if record["kind"] == "training"]
    assert [record["step"] for record in training] == [20, 40, 47]
    assert [record["tokens"] for record in training][-1] == sum(step.tokens for step in steps)
    assert training[-1]["lr"] == steps[-1].lr
    assert training[0]["grad_norm"] == max(step.grad_norm for step in steps[:20])
    most = session.config.training.max_grad_norm
    clipped = [step.grad_norm > most for step in steps]
    assert [record["clipped"] for record in training] == [sum(clipped[:20]), sum(clipped[20:40]), sum(clipped[40:])]


def test_an_nll_in_the_metrics_is_a_sum_in_nats_everywhere(make: Make):
    session = make(max_steps=47, eval_every=10)
    steps = [record for record in session.records() if isinstance(record, StepRecord)]
    session.close()
    records = lines(session)
    for record in records:
        if record["kind"] != "training":
            assert record["nll"] == pytest.approx(record["nats_per_token"] * record["tokens_scored"])
    trained = [record["nll"] for record in records if record["kind"] == "training"]
    assert sum(trained) == pytest.approx(sum(step.nll for step in steps))


def test_a_training_that_is_left_early_is_written_to_its_last_step(make: Make):
    session = make(max_steps=100)
    for record in session.records():
        if isinstance(record, StepRecord) and record.step == 27:
            break
    result = session.close()
    assert result is not None
    assert math.isfinite(result.evaluation.perplexity)
    trained = [record for record in lines(session) if record["kind"] == "training"]
    assert trained[-1]["step"] == 27
    assert lmkit.load(session.run.path).sample(length=3)


def test_a_session_that_is_closed_at_once_leaves_no_model(make: Make):
    session = make(max_steps=5)
    assert session.close() is None
    with pytest.raises(RunError, match="no trained model yet"):
        lmkit.load(session.run.path)


def test_weights_that_are_not_finite_are_not_kept(make: Make):
    session = make(max_steps=1, weight_decay=1e308)
    for record in session.records():
        assert not isinstance(record, EvaluationRecord) or math.isnan(record.evaluation.nll)
    with pytest.raises(NonFiniteError, match="the weights are not finite"):
        session.close()
    assert not (session.run.path / "model.safetensors").exists()


def test_without_validation_the_last_model_is_kept(make: Make):
    session = make(max_steps=5, valid_fraction=0, test_fraction=0)
    assert all(isinstance(record, StepRecord) for record in session.records())
    assert session.close() is None
    assert RunSummary.read(session.run).status == "finished", "without a split to measure, too"
    loaded = lmkit.load(session.run.path)
    assert same([tensor for tensor in loaded.model.state_dict().values()], weights(session))


def test_the_vocabulary_comes_from_the_training_split_alone(make: Make, tmp_path: Path):
    (tmp_path / "late.txt").write_text(TEXT + "Zebra quiz!\n", encoding="utf-8")
    session = make(corpus=str(tmp_path / "late.txt"), max_steps=1)
    assert session.corpus.tokenizer.token_to_id("Z") is None
    list(session.records())
    result = session.close()
    assert result is not None
    assert result.evaluation.oov == sum(character not in TEXT for character in "Zebra quiz!\n")


def test_the_run_records_where_and_on_what_it_was_trained(make: Make):
    session = make(max_steps=1)
    info = session.run.info()
    assert info["threads"] == 1
    assert info["precision"] == "float32"
    assert info["device"] == "cpu"
    assert info["versions"]["torch"] == torch.__version__
    assert info["parameters"] == sum(parameter.numel() for parameter in session.model.parameters())
    assert info["splits"]["train"]["tokens"] == len(session.corpus.splits["train"])
    assert len(info["corpus"]["sha256"]) == 64


def test_seeds_make_different_models_and_one_seed_the_same(make: Make):
    found = []
    for seed in (1, 1, 2):
        torch.rand(5)  # what was drawn before does not matter
        session = make(max_steps=3, seed=seed)
        list(session.records())
        found.append(weights(session))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_a_session_gives_the_numbers_of_the_command_line_and_of_train(make: Make, tmp_path: Path):
    from click.testing import CliRunner

    from lmkit.cli import main

    session = make(max_steps=25, eval_every=10)
    list(session.records())
    session.close()
    arguments = ["train", "--corpus", "text.txt", "--out", "cli", "--max-steps", "25", "--eval-every", "10"]
    arguments += [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    lm = lmkit.train(tmp_path / "text.txt", out=tmp_path / "api", max_steps=25, eval_every=10, **SMALL)
    assert lm.run is not None
    for name in ("metrics.jsonl", "model.safetensors", "tokenizer.json"):
        expected = (session.run.path / name).read_bytes()
        assert (tmp_path / "cli" / name).read_bytes() == expected, name
        assert (lm.run.path / name).read_bytes() == expected, name


def test_a_mistake_leaves_nothing_behind(make: Make, tmp_path: Path):
    for values, error in (
        ({"corpus": "no-such.txt"}, DataError),
        ({"batch_size": 10_000}, DataError),
        ({"device": "mps" if torch.cuda.is_available() else "cuda"}, ConfigError),
        ({"tokenizer": "no-such.json"}, LmkitError),
        ({"head": "adaptive", "cutoffs": (5, 1000)}, ConfigError),
    ):
        with pytest.raises(error):
            make(**values)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_an_existing_folder_is_refused_before_the_text_is_read(tmp_path: Path):
    config = Config().override({"corpus": "no-such.txt"})
    with pytest.raises(RunError, match="exists already"):
        Session(config, tmp_path)


def final_record(session: Session) -> dict[str, Any]:
    (record,) = (record for record in lines(session) if record["kind"] == "final")
    return record


def test_the_final_record_is_of_the_step_whose_weights_were_measured(make: Make):
    session = make(max_steps=9, eval_every=4)
    list(session.records())
    session.close()
    best = [record["step"] for record in lines(session) if record["kind"] == "evaluation" and record["best"]]
    assert final_record(session)["step"] == best[-1]


def test_seams_that_a_validation_left_open_are_in_its_record(make: Make, monkeypatch: pytest.MonkeyPatch):
    passes = []

    def measure_with_open_seams(*parts: Any, **how: Any) -> Measurement:
        passes.append(parts[3].max_passes)
        found = measure(*parts, **how)
        return found._replace(evaluation=found.evaluation + Evaluation(seams_open=3))

    sound = make(max_steps=4, eval_every=4)
    list(sound.records())
    assert all("seams_open" not in record for record in lines(sound))
    monkeypatch.setattr("lmkit.session.language.measurements.measure", measure_with_open_seams)
    session = make(max_steps=4, eval_every=4)
    list(session.records())
    session.close()
    assert [record["seams_open"] for record in lines(session) if record["kind"] == "evaluation"] == [3]
    assert passes == [1, None]


def test_without_validation_the_final_record_is_of_the_last_step(make: Make):
    session = make(max_steps=9, valid_fraction=0.0)
    list(session.records())
    session.close()
    assert final_record(session)["step"] == 9


def test_where_the_best_model_is_gone_the_final_record_is_of_the_last_step(make: Make):
    session = make(max_steps=9, eval_every=4)
    list(session.records())
    session.train.validations.best_step = 4
    (session.run.path / "model.safetensors").unlink()
    session.close()
    assert final_record(session)["step"] == 9


def test_a_training_that_fails_lets_go_of_its_run(make: Make):
    session = make(max_steps=9)
    with pytest.raises(ZeroDivisionError) as failure, session:
        assert is_locked(session.run.path)
        for record in session.records():
            assert record.step / 0
    assert not is_locked(session.run.path), f"although the session is still here, and {failure}"
    with Session.resume(session.run.path) as resumed, pytest.raises(RunError, match="in use"):
        Session.resume(resumed.run.path)
    assert not is_locked(session.run.path)


def test_both_ways_to_begin_give_the_same_run(make: Make, tmp_path: Path):
    config = make(max_steps=6, eval_every=3, checkpoint_every=3).config
    for way, name in ((Session, "made"), (Session.begin, "begun")):
        with way(config, tmp_path / name) as session:
            list(session.records())
            session.close()
    files = [path.relative_to(tmp_path / "made") for path in (tmp_path / "made").rglob("*") if path.is_file()]
    functions_of_the_run = [file for file in files if file.name not in ("timings.jsonl", "clock.json", "manifest.json")]
    assert len(functions_of_the_run) > len(files) / 2
    for file in functions_of_the_run:
        assert (tmp_path / "begun" / file).read_bytes() == (tmp_path / "made" / file).read_bytes(), file


def test_a_new_best_model_is_serialised_and_hashed_once_and_written_once_to_each_of_its_places(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    made: list[bytes] = []
    hashed: list[bytes] = []
    written: list[bytes] = []

    def packed(*arguments: Any) -> memoryview:
        content = pack_weights(*arguments)
        made.append(bytes(content))
        return content

    def sha256(content: Any = b"", **how: Any) -> Any:
        hashed.append(bytes(content))
        return one_sha256(content, **how)

    def write_model(run: RunDirectory, content: bytes) -> None:
        written.append(content)
        one_write(run, content)

    one_sha256, one_write = hashlib.sha256, RunDirectory.write_model
    session = make(max_steps=6, eval_every=2, keep_checkpoints=9)
    monkeypatch.setattr(directory, "pack_weights", packed)
    monkeypatch.setattr(hashlib, "sha256", sha256)
    monkeypatch.setattr(RunDirectory, "write_model", write_model)
    records = list(session.records())
    best = {record.step for record in records if isinstance(record, EvaluationRecord) and record.is_best}
    assert 2 in best, "the first validation is the best so far"
    for step in best - {6}:  # at its end a training is saved before it is validated
        content = (session.run.path / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes()
        assert [made.count(content), hashed.count(content), written.count(content)] == [1, 1, 1], step


def test_fewer_pieces_than_were_asked_for_are_named_when_a_run_begins(make: Make, tmp_path: Path):
    make()  # it writes the text
    values = {**SMALL, "corpus": str(tmp_path / "text.txt"), "tokenizer": "bpe", "vocab_size": 1000, "max_steps": 1}
    notes: list[str] = []
    with Session.begin(Config().override(values), tmp_path / "bpe", note=notes.append) as session:
        session.stop()
    size = session.corpus.tokenizer.vocab_size
    assert notes[0].startswith(f"The vocabulary has {size:,} pieces, not the 1,000 of --vocab-size: ")
    notes.clear()
    Session.resume(tmp_path / "bpe", note=notes.append).release()
    assert notes == []
