"""The run directory: what is saved is what is loaded, and a folder is made whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import lmkit
from lmkit import files
from lmkit.config import Config, ModelConfig
from lmkit.errors import FailedError, LmkitError, RunError
from lmkit.files import check_new_folder
from lmkit.model.blueprint import LanguageBlueprint
from lmkit.model.language_model import LanguageModel
from lmkit.run.directory import RunDirectory, free_run_path
from lmkit.run.lock import FolderLock
from lmkit.run.log import LogFile
from lmkit.run.summary import RunSummary
from lmkit.text import CharacterTokenizer

CPU = torch.device("cpu")
VOCABULARY = ["<unk>", "<eos>", *"abcdefghijklmnopqrstuvwxyz"]
SHAPES: list[dict[str, Any]] = [
    {"cell": cell, "num_layers": layers} for cell in ("rnn", "irnn", "gru", "lstm") for layers in (1, 2)
] + [
    {"head": head, "tie_embeddings": tied, "embedding_size": size}
    for head in ("full", "adaptive")
    for tied in (False, True)
    for size in (None, 5)
]


def config(**values: Any) -> Config:
    return Config().override({"hidden_size": 8, **values})


def blueprint(**values: Any) -> LanguageBlueprint:
    return LanguageBlueprint(config(**values).model, len(VOCABULARY))


def create(path: Path, values: Config | None = None) -> RunDirectory:
    return RunDirectory.create(path, values or config(), CharacterTokenizer(VOCABULARY), {"corpus": {"name": "none"}})


def numbers(model: LanguageModel) -> torch.Tensor:
    tokens = torch.arange(20)[None] % model.vocab_size
    with torch.no_grad():
        logits, _ = model.eval()(tokens, model.initial_state(1))
    return logits


@pytest.mark.parametrize("values", SHAPES, ids=str)
def test_a_model_that_was_saved_and_loaded_gives_the_same_numbers(tmp_path: Path, values: dict[str, Any]):
    order = torch.randperm(len(VOCABULARY)) if values.get("head") == "adaptive" else None
    model = LanguageModel(config(**values).model, len(VOCABULARY), order)
    directory = create(tmp_path / "run", config(**values))
    directory.save_model(model)
    again = RunDirectory.open(tmp_path / "run")
    loaded = again.load_model(again.stored().language_model, CPU)
    assert not loaded.training
    assert torch.equal(numbers(model), numbers(loaded))


@pytest.mark.parametrize("values", [values for values in SHAPES if values.get("tie_embeddings")], ids=str)
def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path, values: dict[str, Any]):
    directory = create(tmp_path / "run", config(**values))
    directory.save_model(LanguageModel(config(**values).model, len(VOCABULARY)))
    with safe_open(tmp_path / "run" / "model.safetensors", "pt") as stored:
        shapes = {name: tuple(stored.get_tensor(name).shape) for name in stored.keys()}  # noqa: SIM118
    width = values["embedding_size"] or 8
    assert [shape for shape in shapes.values()].count((len(VOCABULARY), width)) == 1
    loaded = directory.load_model(blueprint(**values), CPU)
    untied = {**values, "tie_embeddings": False}
    more = sum(item.numel() for item in LanguageModel(config(**untied).model, len(VOCABULARY)).parameters())
    assert sum(item.numel() for item in loaded.parameters()) < more
    before = numbers(loaded)
    with torch.no_grad():
        loaded.embedding.weight[5] += 1.0
    # a token that is never read can only change its own logit, through the output layer
    with torch.no_grad():
        logits, _ = loaded(torch.tensor([[2]]), loaded.initial_state(1))
    assert logits[0, 0, 5] != before[0, 2, 5]


def test_weights_are_stored_in_float32(tmp_path: Path):
    directory = create(tmp_path / "run")
    directory.save_model(LanguageModel(config().model, len(VOCABULARY)))
    with safe_open(tmp_path / "run" / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.float32}  # noqa: SIM118


def test_loading_draws_nothing_from_torch_s_generator(tmp_path: Path):
    directory = create(tmp_path / "run")
    directory.save_model(LanguageModel(config().model, len(VOCABULARY)))
    before = torch.get_rng_state()
    directory.load_model(blueprint(), CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_better_model_takes_the_place_of_the_old_one(tmp_path: Path):
    directory = create(tmp_path / "run")
    models = [LanguageModel(config().model, len(VOCABULARY)) for _ in range(2)]
    for model in models:
        directory.save_model(model)
        loaded = directory.load_model(blueprint(), CPU)
        assert torch.equal(numbers(loaded), numbers(model))
    assert [path.name for path in (tmp_path / "run").glob("*model*")] == ["model.safetensors"]


def test_a_model_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    directory = create(tmp_path / "run")
    old, new = (LanguageModel(config().model, len(VOCABULARY)) for _ in range(2))
    directory.save_model(old)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FailedError, match="No space left"):
        directory.save_model(new)
    monkeypatch.undo()
    assert torch.equal(numbers(directory.load_model(blueprint(), CPU)), numbers(old))
    assert not list((tmp_path / "run").glob(".*"))


def test_the_files_of_a_new_run_say_what_it_is(tmp_path: Path):
    values = config(cell="gru", cutoffs=(3, 9), head="adaptive")
    directory = create(tmp_path / "run", values)
    assert {path.name for path in directory.path.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "run.json",
        "metrics.jsonl",
        "timings.jsonl",
    }
    assert directory.stored().config == values
    assert directory.stored().tokenizer.vocabulary == VOCABULARY
    assert directory.info() == {"corpus": {"name": "none"}}
    assert directory.metrics().records == []
    assert list(tmp_path.iterdir()) == [directory.path]


def test_a_tokenizer_opens_in_hugging_face_tokenizers(tmp_path: Path):
    import tokenizers

    create(tmp_path / "run")
    opened = tokenizers.Tokenizer.from_file(str(tmp_path / "run" / "tokenizer.json"))
    assert opened.encode("abz?").ids == [2, 3, 27, 0]


def test_nothing_that_exists_is_written_to(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    for name in ("folder", "file"):
        with pytest.raises(RunError, match="exists already"):
            check_new_folder(tmp_path / name)
        with pytest.raises(RunError, match="exists already"):
            create(tmp_path / name)
    with pytest.raises(LmkitError):
        create(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]
    assert not (tmp_path / "nowhere").exists()


def test_of_two_that_make_one_folder_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    create(tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    monkeypatch.setattr(
        "lmkit.run.directory.check_new_folder", lambda path: None
    )  # the other came between the check and the rename
    with pytest.raises(RunError, match="exists already"):
        create(tmp_path / "run", config(cell="rnn"))
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_folder_that_cannot_be_filled_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(files, "replace_file", fail)
    with pytest.raises((FailedError, KeyboardInterrupt)):
        create(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_records_are_read_as_they_were_written(tmp_path: Path):
    directory = create(tmp_path / "run")
    records = [{"kind": "training", "step": step, "nll": 1.5} for step in range(3)]
    log = LogFile(directory.path / "metrics.jsonl")
    for record in records:
        log.add(record)
    assert directory.metrics().records == records


def test_a_line_that_a_crash_left_unfinished_is_passed_over(tmp_path: Path):
    directory = create(tmp_path / "run")
    LogFile(directory.path / "metrics.jsonl").add({"step": 1})
    with (directory.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "nl')
    assert directory.metrics().records == [{"step": 1}]


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("pydoc", "pydoc-1"),
        ("My book (1)", "My-book-1-1"),
        ("a/b/book.txt", "book-1"),
        ("book.txt.gz", "book-1"),
        ("été", "été-1"),
        ("..", "text-1"),
        ("", "text-1"),
        ("🙂", "text-1"),
    ],
)
def test_a_run_is_called_after_its_corpus(corpus: str, expected: str):
    assert free_run_path(corpus, Path("somewhere")) == Path("somewhere", expected)


def test_the_first_free_number_is_taken(tmp_path: Path):
    for name in ("book-1", "book-3"):
        (tmp_path / name).mkdir()
    (tmp_path / "book-2").write_text("a file counts too")
    assert free_run_path("book", tmp_path) == tmp_path / "book-4"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_others_may_read_a_run_where_the_user_s_mask_lets_them(tmp_path: Path):
    before = os.umask(0o022)
    try:
        directory = create(tmp_path / "run")
        directory.save_model(LanguageModel(config().model, len(VOCABULARY)))
    finally:
        os.umask(before)
    assert directory.path.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in directory.path.iterdir()} == {0o644}


def test_runs_in_the_neighbourhood_are_named(tmp_path: Path):
    create(tmp_path / "book-1")
    with pytest.raises(RunError, match="book-1"):
        RunDirectory.open(tmp_path / "book-2")


def test_a_model_of_another_size_is_refused_before_memory_is_taken(tmp_path: Path):
    directory = create(tmp_path / "run")
    directory.save_model(LanguageModel(config().model, len(VOCABULARY)))
    huge = blueprint(hidden_size=60_000)  # 57 GB
    with pytest.raises(RunError, match=r"does not fit config\.json"):
        directory.load_model(huge, CPU)
    assert ModelConfig().hidden_size == 256


# what was changed, or written by another version


def recorded(path: Path) -> RunDirectory:
    """A run whose run.json has the hash of its tokenizer."""
    tokenizer = CharacterTokenizer(VOCABULARY)
    sha256 = hashlib.sha256(tokenizer.to_json().encode()).hexdigest()
    return RunDirectory.create(path, config(), tokenizer, {"tokenizer_sha256": sha256})


def test_a_tokenizer_that_is_not_the_recorded_one_is_refused_by_name(tmp_path: Path):
    directory = recorded(tmp_path / "run")
    assert directory.stored().tokenizer.vocabulary == VOCABULARY
    CharacterTokenizer([*VOCABULARY[:2], *reversed(VOCABULARY[2:])]).save(directory.path / "tokenizer.json")
    with pytest.raises(RunError, match=r"run/tokenizer\.json has changed"):
        directory.stored()
    with pytest.raises(RunError, match=r"run/tokenizer\.json has changed"):
        lmkit.load(directory.path, "cpu")


def test_a_tokenizer_that_was_only_laid_out_anew_is_the_recorded_one(tmp_path: Path):
    directory = recorded(tmp_path / "run")
    path = directory.path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=7), encoding="utf-8")
    assert directory.stored().tokenizer.vocabulary == VOCABULARY


@pytest.mark.parametrize("content", [None, "{}", "damaged"])
def test_a_tokenizer_without_a_recorded_hash_is_taken_as_it_is(tmp_path: Path, content: str | None):
    directory = recorded(tmp_path / "run")
    other = [*VOCABULARY[:2], *reversed(VOCABULARY[2:])]
    CharacterTokenizer(other).save(directory.path / "tokenizer.json")
    (directory.path / "run.json").unlink()
    if content is not None:
        (directory.path / "run.json").write_text(content, encoding="utf-8")
    assert directory.stored().tokenizer.vocabulary == other


@pytest.mark.parametrize("change", [{"format": 2}, {"new": {"option": 1}}, {"data": {"new_option": 1}}], ids=str)
@pytest.mark.parametrize("version", ["999.0.0", "0.999", "0.1.999a1"])
def test_a_run_of_a_later_version_is_refused_with_that_version(tmp_path: Path, change: dict[str, Any], version: str):
    directory = create(tmp_path / "run")
    path = directory.path / "config.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), **change}
    path.write_text(json.dumps({**values, "lmkit": version}), encoding="utf-8")
    with pytest.raises(RunError, match=rf"config\.json was written by lmkit {version}: install that version"):
        directory.stored()
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        directory.stored()


def status(run: RunDirectory) -> str:
    return RunSummary.read(run).status


def test_a_run_is_in_training_interrupted_or_finished(tmp_path: Path):
    made = create(tmp_path / "run")
    assert status(made) == "interrupted"
    lock = FolderLock(made.path)
    assert status(made) == "in training"
    lock.release()
    assert status(made) == "interrupted"
    FolderLock(made.path).release()  # asking has not kept it
    with open(made.path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "final", "step": 3}\n')
    assert status(made) == "finished"
