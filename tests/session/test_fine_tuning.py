"""A fine-tuning begins from another run's weights, needs that run no more, and says where it came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import Config, FineTuning
from lmkit.errors import ConfigError, RunError
from lmkit.model.shapes import stored_tensors
from lmkit.session.session import Session
from lmkit.session.tuning.origin import Origin
from lmkit.text import CharacterTokenizer
from lmkit.text.lines import SHORTEST_LINE

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "batch_size": 4,
    "window": 16,
    "threads": 1,
    "precision": "float32",
    "device": "cpu",
    "max_steps": 6,
    "checkpoint_seconds": 0.0,
}
TRAINING = {name: value for name, value in SMALL.items() if name != "hidden_size"}
OLD = "".join(f"the old text has line {number} of some that are longer than forty characters\n" for number in range(40))
NEW = "".join(f"Yet ANOTHER text, {number}: it has letters & signs of its own.\n" for number in range(50)) + "\u03a9"
Begin = Callable[..., Session]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with old.txt and new.txt."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "old.txt").write_text(OLD, encoding="utf-8")
    (folder / "new.txt").write_text(NEW, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(texts: Path) -> dict[str, Path]:
    """Runs on old.txt, by the name of what is special about them."""
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "tied": {"tie_embeddings": True, "cell": "gru", "num_layers": 2, "dropout": 0.0},
        "adaptive": {"head": "adaptive", "tokenizer": "word"},
        "bpe": {"tokenizer": "bpe", "vocab_size": 270},
    }
    for name, options in kinds.items():
        lmkit.train(texts / "old.txt", out=texts / name, quiet=True, **{**SMALL, **options})
    return {name: texts / name for name in kinds}


@pytest.fixture
def begin(texts: Path, tmp_path: Path) -> Begin:
    """A fine-tuning on new.txt in tmp_path/<name>."""

    def call(run: Path, name: str = "tuned", *, extend: str = "none", notes: Any = None, **options: Any) -> Session:
        origin = Origin.open(FineTuning(str(run), extend_vocab=extend))
        config = origin.configure({**TRAINING, "corpus": str(texts / "new.txt"), **options})
        return Session.begin(config, tmp_path / name, origin=origin, note=(notes if notes is not None else []).append)

    return call


def finish(session: Session) -> Path:
    with session:
        for _ in session.records():
            pass
        session.close()
    return session.run.path


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["init_from"]
    return found


def command(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files(run: Path) -> dict[str, bytes]:
    """Of what is a function of the run."""
    names = ("config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors")
    found = {name: (run / name).read_bytes() for name in names}
    for path in sorted(run.glob("checkpoints/*/*")):
        if path.name in ("model.safetensors", "training.safetensors", "training.json"):
            found[str(path.relative_to(run))] = path.read_bytes()
    return found


def test_a_fine_tuning_begins_with_the_weights_and_the_tokenizer_and_with_a_new_optimiser(trained, begin: Begin):
    source = lmkit.load(trained["tied"])
    with begin(trained["tied"], optimizer="sgd", lr=0.5, dropout=0.3) as session:
        assert (session.config.model.cell, session.config.model.num_layers) == ("gru", 2)
        assert session.config.model.dropout == 0.3, "what acts in training alone is chosen anew"
        assert session.config.training.optimizer == "sgd" and session.train.step == 0
        assert session.corpus.tokenizer.to_json() == source.tokenizer.to_json()
        assert stored_tensors(session.model).keys() == stored_tensors(source.model).keys()
        for name, weights in stored_tensors(source.model).items():
            assert torch.equal(stored_tensors(session.model)[name], weights), name


def test_a_killed_fine_tuning_needs_its_origin_no_more_and_gives_the_same_bytes(trained, begin: Begin, tmp_path: Path):
    options: dict[str, Any] = {"extend": "characters", "checkpoint_every": 2, "eval_every": 3, "weight_drop": 0.2}
    options |= {"unfreeze_every": 2, "lr_decay_per_layer": 2.0}
    whole = files(finish(begin(trained["plain"], "whole", **options)))
    for seen in (0, 1, 3):
        copy, name = tmp_path / "copy", f"killed after {seen} records"
        shutil.copytree(trained["plain"], copy)
        with begin(copy, name, **options) as session:
            records = session.records()
            for _ in range(seen):
                next(records)
        shutil.rmtree(copy)
        assert files(finish(Session.resume(tmp_path / name))) == whole, name


def test_the_first_checkpoint_is_in_the_folder_as_soon_as_the_folder_is_there(
    trained, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lmkit.session.parts.FolderLock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(trained["plain"])
    monkeypatch.undo()
    assert finish(Session.resume(tmp_path / "tuned")) == tmp_path / "tuned"


def test_without_a_whole_checkpoint_a_fine_tuning_is_not_begun_from_the_seed(trained, begin: Begin):
    with begin(trained["plain"]) as session:
        path = session.run.path
    shutil.rmtree(path / "checkpoints")
    with pytest.raises(RunError, match=r"fine-tuned from .*plain, and none of its checkpoints is whole"):
        Session.resume(path)


def test_the_model_of_a_step_can_be_begun_from(texts: Path, trained, tmp_path: Path):
    step = min(int(path.name.removeprefix("step-")) for path in (trained["plain"] / "checkpoints").iterdir())
    how = {"init_from": trained["plain"], "init_checkpoint": step, "quiet": True}
    tuned = lmkit.train(texts / "new.txt", out=tmp_path / "tuned", **how, **TRAINING)
    assert tuned.run is not None and record(tuned.run.path)["step"] == step
    assert record(tuned.run.path)["checkpoint"] == str(step)


def test_run_json_and_info_say_where_a_run_came_from(trained, begin: Begin, tmp_path: Path):
    first = finish(begin(trained["plain"], "first"))
    second = finish(begin(first, "second"))
    found, info = record(second), json.loads((trained["plain"] / "run.json").read_text())
    assert found["path"] == str(first) and found["corpus"]["name"] == "new"
    assert found["step"] == json.loads((first / "run.json").read_text())["ended"]["step"]
    origin = found["init_from"]
    assert origin["path"] == str(trained["plain"])
    assert origin["weights_sha256"] == info["ended"]["model_sha256"]
    assert (origin["tokenizer_sha256"], origin["corpus"]["sha256"]) == (
        info["tokenizer_sha256"],
        info["corpus"]["sha256"],
    )
    shown = command("info", second).output
    assert f"fine-tuned from {first}" in shown and f"fine-tuned from {trained['plain']}" in shown


def test_unknown_tokens_are_counted_before_and_after_and_nothing_is_added_silently(trained, begin: Begin):
    notes: list[str] = []
    unknown = sum(character not in OLD for character in NEW)
    with begin(trained["plain"], "none", notes=notes) as session:
        assert session.corpus.tokenizer.vocab_size == lmkit.load(trained["plain"]).tokenizer.vocab_size
        counts = record(session.run.path)["unknown"].values()
    assert sum(one["before"] for one in counts) == sum(one["after"] for one in counts) == unknown > 0
    assert any(note.startswith(f"{unknown:,} of {len(NEW):,} tokens") and "--extend-vocab" in note for note in notes)


def test_new_characters_of_the_training_text_stand_behind_the_known_ones(trained, begin: Begin):
    known = lmkit.load(trained["plain"]).tokenizer.vocabulary
    notes: list[str] = []
    with begin(trained["plain"], extend="characters", min_count=30, notes=notes) as session:
        tokenizer, train = session.corpus.tokenizer, NEW[: int(0.8 * len(NEW))]
        expected = {one for one in train if one not in OLD and train.count(one) >= 30}
        assert tokenizer.vocabulary[: len(known)] == known
        assert set(tokenizer.vocabulary[len(known) :]) == expected
        found = record(session.run.path)
    assert found["new_tokens"] == len(expected)
    after = sum(one not in OLD and one not in expected for one in NEW)
    before = sum(one not in OLD for one in NEW)
    counts = found["unknown"].values()
    assert (sum(one["before"] for one in counts), sum(one["after"] for one in counts)) == (before, after) and after
    assert any(f"{after:,} (" in note for note in notes) and any("&" in note for note in notes)


def test_an_extended_word_model_with_an_adaptive_softmax_keeps_its_cutoffs_and_trains(trained, begin: Begin):
    origin = Origin.open(FineTuning(str(trained["adaptive"])))
    path = finish(begin(trained["adaptive"], extend="words"))
    tuned = lmkit.load(path)
    assert tuned.config.model.cutoffs == origin.model.cutoffs
    assert tuned.tokenizer.vocab_size == origin.stored.tokenizer.vocab_size + record(path)["new_tokens"]
    assert tuned.tokenizer.token_to_id("ANOTHER") is not None


@pytest.mark.parametrize(
    ("run", "options", "both"),
    [
        ("plain", ["--cell", "gru"], ["--cell gru", "--cell lstm"]),
        ("plain", ["--layers", 2], ["--layers 2", "--layers 1"]),
        ("plain", ["--hidden-size", 7], ["--hidden-size 7", "--hidden-size 6"]),
        ("plain", ["--tied"], ["--tied", "--no-tied"]),
        ("plain", ["--kernel", "own"], ["--kernel own", "--init-from", "--cell lstm"]),
        ("plain", ["--tokenizer", "word"], ["--tokenizer word", "char"]),
        ("plain", ["--tokenizer", "{bpe}/tokenizer.json"], ["eos_id 0, unk_id None", "eos_id 1, unk_id 0"]),
        ("plain", ["--tokenizer", "{tied}/../other.json"], ["other.json", "vocabulary"]),
        ("plain", ["--vocab-size", 100], ["--vocab-size 100", "tokens"]),
        ("plain", ["--min-count", 2], ["--min-count 2", "--extend-vocab"]),
        ("plain", ["--extend-vocab", "words"], ["words", "characters"]),
        ("adaptive", ["--extend-vocab", "characters"], ["characters", "words"]),
        ("adaptive", ["--cutoffs", "3,4"], ["--cutoffs 3,4", "--cutoffs"]),
        ("bpe", ["--extend-vocab", "characters"], ["characters", "bpe"]),
        ("plain", ["--freeze", "head", "--extend-vocab", "characters"], ["--freeze head", "--extend-vocab"]),
        ("plain", ["--freeze", "layers.1"], ["--freeze layers.1", "layers.0"]),
        ("plain", ["--freeze", "embedding,layers.0,head"], ["--freeze embedding,layers.0,head", "nothing to train"]),
        ("plain", ["--init-checkpoint", 99], ["99", "steps"]),
    ],
)
def test_what_contradicts_the_origin_is_refused_in_a_sentence_with_both_sides(
    texts: Path, trained, tmp_path: Path, run: str, options: list[Any], both: list[str]
):
    CharacterTokenizer(["<unk>", "<eos>", "x"]).save(texts / "other.json")
    given = [str(one).format(**trained) for one in options]
    result = command("train", texts / "new.txt", "--init-from", trained[run], "--out", tmp_path / "tuned", *given)
    assert result.exit_code == 2 and not (tmp_path / "tuned").exists()
    assert all(side in result.stderr for side in both) and result.stderr.count("\n") == 1, result.stderr


def test_a_frozen_part_of_a_fine_tuning_is_to_its_end_what_the_origin_had(texts: Path, trained, tmp_path: Path):
    arguments = ["train", texts / "new.txt", "--init-from", trained["plain"], "--out", tmp_path / "tuned"]
    more = [
        "--freeze",
        "embedding,layers.0",
        "--weight-decay",
        0.5,
        "--max-steps",
        3,
        "--batch-size",
        4,
        "--window",
        16,
    ]
    result = command(*arguments, *more)
    assert result.exit_code == 0, result.output
    before, after = (stored_tensors(lmkit.load(run).model) for run in (trained["plain"], tmp_path / "tuned"))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if not name.startswith("head.")}


def test_an_origin_whose_special_tokens_are_not_those_it_was_trained_with_is_refused(trained, texts: Path, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(trained["plain"], damaged)
    values = json.loads((damaged / "run.json").read_text())
    values["resolved"]["eos_id"] = 7
    (damaged / "run.json").write_text(json.dumps(values))
    result = command("train", texts / "new.txt", "--init-from", damaged, "--out", tmp_path / "tuned")
    assert result.exit_code == 2 and "eos_id 7" in result.stderr and "eos_id 1" in result.stderr
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("option", [["--init-checkpoint", "last"], ["--extend-vocab", "words"]])
def test_options_of_a_fine_tuning_need_one(texts: Path, tmp_path: Path, option: list[str]):
    result = command("train", texts / "new.txt", "--out", tmp_path / "tuned", *option)
    assert result.exit_code == 2 and f"{option[0]} needs --init-from" in result.stderr


def test_of_a_whole_configuration_those_options_count_that_are_not_the_defaults(texts: Path, trained, tmp_path: Path):
    config = Config().override({**TRAINING, "lr": 0.5, "weight_drop": 0.1})
    tuned = lmkit.train(texts / "new.txt", out=tmp_path / "tuned", config=config, init_from=trained["tied"], quiet=True)
    assert (tuned.config.training.lr, tuned.config.model.weight_drop, tuned.config.model.cell) == (0.5, 0.1, "gru")
    with pytest.raises(ConfigError, match="--hidden-size 7 contradicts --init-from"):
        lmkit.train(
            texts / "new.txt", config=config.override({"hidden_size": 7}), init_from=trained["tied"], quiet=True
        )


def test_a_resume_takes_no_origin(trained):
    result = command("train", "--resume", trained["plain"], "--init-from", trained["plain"])
    assert result.exit_code == 2 and "--resume takes no --init-from" in result.stderr


def test_what_the_origin_has_is_no_contradiction(texts: Path, trained, tmp_path: Path):
    same = [
        *("--cell", "lstm", "--hidden-size", 6, "--embedding-size", 6),
        *("--input-gate", "untied", "--initial-state", "zero", "--attention-kind", "sha"),
        *("--tokenizer", trained["plain"] / "tokenizer.json"),
    ]
    more = ["--max-steps", 1, "--batch-size", 4, "--window", 16, "--dropout", 0.5]
    result = command(
        "train", texts / "new.txt", "--init-from", trained["plain"], "--out", tmp_path / "tuned", *same, *more
    )
    assert result.exit_code == 0, result.output


def test_test_text_that_the_origin_was_trained_on_is_warned_of_and_stored(trained, begin: Begin, tmp_path: Path):
    mixed = NEW + "\n" + "".join(OLD.splitlines(keepends=True)[:4])
    text = tmp_path / "mixed.txt"
    text.write_text(mixed, encoding="utf-8")
    notes: list[str] = []
    with begin(trained["plain"], corpus=str(text), notes=notes) as session:
        test = record(session.run.path)["overlap"]["test"]
    long = [line for line in mixed[int(0.9 * len(mixed)) :].splitlines() if len(line) >= SHORTEST_LINE]
    known = sum(line in OLD.splitlines() for line in long)
    assert test == {"lines": len(long), "share": known / len(long)} and known
    assert any("results on test are too good" in note for note in notes)


def test_that_a_text_of_short_lines_was_not_looked_up_is_said(trained, begin: Begin, tmp_path: Path):
    text = tmp_path / "short.txt"
    text.write_text("".join(f"line {number}\n" for number in range(200)), encoding="utf-8")
    notes: list[str] = []
    with begin(trained["plain"], corpus=str(text), notes=notes) as session:
        assert record(session.run.path)["overlap"]["test"] == {"lines": 0, "share": 0.0}
    assert any(note.startswith("The valid and test text has no line of 40 characters") for note in notes)


def test_where_the_text_of_the_origin_is_gone_the_overlap_is_unknown_and_that_is_said(
    texts: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "gone.txt").write_text(OLD, encoding="utf-8")
    lmkit.train(tmp_path / "gone.txt", out=tmp_path / "run", quiet=True, **SMALL)
    (tmp_path / "gone.txt").write_text(OLD + "more", encoding="utf-8")
    notes: list[str] = []
    with begin(tmp_path / "run", notes=notes) as session:
        assert record(session.run.path)["overlap"] is None
    assert any("was not checked" in note for note in notes)


def test_a_text_that_is_piped_in_can_be_trained_on_and_extend_the_vocabulary(trained, tmp_path: Path):
    arguments = ["train", "-", "--init-from", trained["plain"], "--extend-vocab", "characters", "--max-steps", 1]
    arguments += ["--batch-size", 4, "--window", 16, "--out", tmp_path / "tuned"]
    result = CliRunner().invoke(main, [str(one) for one in arguments], input=NEW.encode())
    assert result.exit_code == 0, result.output
    assert record(tmp_path / "tuned")["new_tokens"] > 0
