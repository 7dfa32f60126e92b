"""lmkit train: every kind of text, tokenizer, cell and sampler ends in a run that can be measured and sampled."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

RUN_FILES = {
    "checkpoints",
    "lock",
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "run.json",
    "metrics.jsonl",
    "timings.jsonl",
}


def config_of(run: Path) -> dict[str, Any]:
    """All fields of a run's configuration by name."""
    stored = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return {name: value for section in stored.values() if isinstance(section, dict) for name, value in section.items()}


def metrics_of(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.fixture
def train(cli, work, small):
    """Train on text.txt, unless another corpus is named; gives the outcome and the run folder."""

    def call(*arguments: object, out: str = "run", input: str | bytes | None = None):
        corpus = () if "--corpus" in arguments or "--data" in arguments else ("--corpus", "text.txt")
        outcome = cli("train", *corpus, *small, *arguments, "--out", out, input=input)
        assert outcome.code == 0, outcome.stderr
        return outcome, work / out

    return call


@pytest.fixture
def works(cli):
    """A run can be measured, sampled and shown."""

    def check(run: Path) -> dict[str, Any]:
        measured = cli("eval", run, "--json", "--threads", 1)
        assert measured.code == 0, measured.stderr
        figures: dict[str, Any] = json.loads(measured.stdout)
        assert 1 < figures["perplexity"] < 1000
        sampled = cli("sample", run, "--length", 20, "--threads", 1)
        assert sampled.code == 0, sampled.stderr
        assert cli("info", run).code == 0
        return figures

    return check


def test_training_leaves_a_whole_run_and_nothing_else(train, work):
    outcome, run = train("--epochs", 1)
    assert {path.name for path in run.iterdir()} == RUN_FILES
    assert {path.name for path in work.iterdir()} == {"text.txt", "run"}
    assert "run" in outcome.stdout
    assert "perplexity" in outcome.stdout
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("cell", ["rnn", "irnn", "gru", "lstm"])
def test_every_cell_trains(train, works, cell: str):
    _, run = train("--cell", cell, "--layers", 2, "--max-steps", 3)
    works(run)


@pytest.mark.parametrize(
    ("sampler", "state"),
    [("sequential", "carry"), ("sequential", "reset"), ("random", "reset"), ("document", "document")],
)
def test_every_pair_of_sampler_and_state_trains(train, works, sampler: str, state: str):
    _, run = train("--sampler", sampler, "--state", state, "--documents", "line", "--max-steps", 3)
    assert works(run)["state"] == ("document" if state == "document" else "carry")


@pytest.mark.parametrize("sampler", ["sequential", "random", "document"])
def test_a_sampler_brings_its_own_state(train, works, sampler: str):
    _, run = train("--sampler", sampler, "--max-steps", 2)
    works(run)


@pytest.mark.parametrize(
    ("tokenizer", "options"), [("char", ()), ("word", ("--min-count", 2)), ("bpe", ("--vocab-size", 270))]
)
def test_every_tokenizer_trains(train, works, tokenizer: str, options: tuple[object, ...]):
    _, run = train("--tokenizer", tokenizer, *options, "--max-steps", 3)
    assert works(run)["lossless"] == (tokenizer != "word")


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_a_tokenizer_file_trains_like_the_tokenizer_it_holds(train, works, kind: str):
    size = ("--vocab-size", 270) if kind == "bpe" else ()
    _, first = train("--tokenizer", kind, *size, "--max-steps", 2, out="first")
    _, second = train("--tokenizer", first / "tokenizer.json", "--max-steps", 2, out="second")
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()
    assert works(first)["nll_nats"] == works(second)["nll_nats"]


def test_a_tokenizer_of_hugging_face_trains(train, works, work, text: str):
    import tokenizers

    foreign = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    foreign.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=100, special_tokens=["[UNK]", "[SEP]"])
    foreign.train_from_iterator([text], trainer)
    foreign.save(str(work / "tokenizer.json"))
    _, run = train("--tokenizer", "tokenizer.json", "--max-steps", 2)
    (work / "tokenizer.json").unlink()  # the run has its own
    assert works(run)["lossless"] is False


@pytest.mark.parametrize("options", [(), ("--tied",), ("--tied", "--embedding-size", 6)], ids=str)
@pytest.mark.parametrize("head", ["full", "adaptive"])
def test_every_head_trains(train, works, head: str, options: tuple[object, ...]):
    _, run = train("--tokenizer", "word", "--head", head, *options, "--max-steps", 3)
    works(run)


def test_an_adaptive_softmax_takes_cutoffs_and_a_tokenizer_without_order(train, works):
    options = ("--tokenizer", "bpe", "--vocab-size", 270, "--head", "adaptive", "--cutoffs", "20,100")
    _, run = train(*options, "--max-steps", 2)
    works(run)
    assert config_of(run)["cutoffs"] == [20, 100]


@pytest.mark.parametrize("options", [("--optimizer", "sgd", "--lr", 1), ("--schedule", "constant"), ("--clip", 0)])
def test_other_ways_of_training(train, works, options: tuple[object, ...]):
    _, run = train(*options, "--max-steps", 3)
    works(run)


def test_json_is_one_object_on_standard_output_and_progress_is_on_standard_error(train, works):
    outcome, run = train("--epochs", 2, "--json")
    result = json.loads(outcome.stdout)
    assert outcome.stdout.count("\n") == 1
    assert {"run", "steps", "tokens", "seconds", "best_step", "valid_nats_per_token", "result"} <= set(result)
    assert Path(result["run"]) == Path("run")
    assert result["steps"] == metrics_of(run, "evaluation")[-1]["step"]
    assert "perplexity" not in outcome.stdout.replace('"', "").split("result")[0]
    assert "valid" in outcome.stderr


def test_the_reported_figures_are_those_of_eval(train, cli):
    outcome, run = train("--epochs", 2, "--json")
    reported = json.loads(outcome.stdout)
    test = json.loads(cli("eval", run, "--json", "--threads", 1).stdout)
    assert reported["result"]["split"] == test["split"] == "test"
    assert reported["result"] == test
    valid = json.loads(cli("eval", run, "--split", "valid", "--json", "--threads", 1).stdout)
    # the validation inside training has rows with a warm-up, so this agrees closely
    assert reported["valid_nats_per_token"] == pytest.approx(valid["nats_per_token"], abs=1e-4)


def test_the_figures_that_people_see_are_those_of_eval(train, cli):
    outcome, run = train("--epochs", 1)
    figures = json.loads(cli("eval", run, "--json", "--threads", 1).stdout)
    assert f"test perplexity {figures['perplexity']:.4g} per token" in outcome.stdout
    assert f"{figures['bits_per_char']:.3f} bits per character" in outcome.stdout


def test_without_a_name_the_run_goes_to_the_first_free_folder(cli, work, small):
    for number in (1, 2):
        outcome = cli("train", "--corpus", "text.txt", *small, "--max-steps", 1, "--json")
        assert Path(json.loads(outcome.stdout)["run"]) == Path("runs", f"text-{number}")
    assert (work / "runs" / "text-2" / "model.safetensors").is_file()


def test_the_folders_above_a_run_are_made(train, work):
    _, run = train("--max-steps", 1, out="a/b/c")
    assert {path.name for path in run.iterdir()} == RUN_FILES


def test_one_step_is_a_training(train, works):
    outcome, run = train("--max-steps", 1, "--json")
    assert json.loads(outcome.stdout)["steps"] == 1
    works(run)


def test_a_tiny_time_is_a_training_of_one_step(train, works):
    outcome, run = train("--max-seconds", "1e-9", "--json")
    assert json.loads(outcome.stdout)["steps"] == 1
    works(run)


def test_the_first_limit_ends_the_training(train):
    outcome, _ = train("--max-steps", 5, "--epochs", 100, "--max-seconds", 1000, "--json")
    assert json.loads(outcome.stdout)["steps"] == 5


def test_validation_comes_at_the_steps_that_were_asked_for_and_at_the_end(train):
    _, run = train("--max-steps", 7, "--eval-every", 3)
    assert [record["step"] for record in metrics_of(run, "evaluation")] == [3, 6, 7]


def test_patience_ends_a_training_that_gets_worse(train, works):
    options = ("--optimizer", "sgd", "--lr", 30, "--clip", 0, "--schedule", "constant", "--cell", "rnn")
    outcome, run = train(*options, "--max-steps", 400, "--eval-every", 1, "--patience", 2, "--json")
    result = json.loads(outcome.stdout)
    assert result["steps"] == result["best_step"] + 2
    assert result["steps"] < 400
    losses = [record["nats_per_token"] for record in metrics_of(run, "evaluation")]
    assert works(run) and min(losses) == result["valid_nats_per_token"]


def test_without_validation_and_test_the_last_model_is_kept(train, cli):
    outcome, run = train("--valid-fraction", 0, "--test-fraction", 0, "--max-steps", 3)
    assert "nan" not in outcome.stdout + outcome.stderr
    assert "best at step 0" not in outcome.stderr  # nothing was best: nothing was measured
    assert set(json.loads((run / "run.json").read_text())["splits"]) == {"train"}
    assert cli("sample", run, "--length", 5).code == 0


def test_without_validation_and_test_json_says_nothing_of_them(train):
    outcome, _ = train("--valid-fraction", 0, "--test-fraction", 0, "--max-steps", 3, "--json")
    result = json.loads(outcome.stdout)
    assert result["steps"] == 3
    assert not {"best_step", "valid_nats_per_token", "result"} & {key for key, value in result.items() if value}


def test_without_a_test_split_the_result_is_that_of_validation(train, works):
    outcome, run = train("--test-fraction", 0, "--max-steps", 3, "--json")
    assert json.loads(outcome.stdout)["result"]["split"] == "valid"
    assert works(run)["split"] == "valid"


@pytest.mark.parametrize("kind", ["gz", "stdin", "folder", "splits", "crlf"])
def test_a_text_is_the_same_wherever_it_comes_from(train, work, text: str, kind: str):
    data = text.encode()
    source: str | None = None
    if kind == "gz":
        (work / "book.txt.gz").write_bytes(gzip.compress(data))
        source = "book.txt.gz"
    elif kind == "folder":
        (work / "texts").mkdir()
        (work / "texts" / "one.txt").write_bytes(data)
        source = "texts"
    elif kind == "splits":
        (work / "texts").mkdir()
        lines = text.splitlines(keepends=True)
        for name, part in (("train", lines[:100]), ("valid", lines[100:120]), ("test", lines[120:])):
            (work / "texts" / f"{name}.txt").write_text("".join(part), encoding="utf-8")
        source = "texts"
    elif kind == "crlf":
        data = text.replace("\n", "\r\n").encode()
        (work / "dos.txt").write_bytes(data)
        source = "dos.txt"
    _, run = train("--corpus", source or "-", "--max-steps", 1, input=data if kind == "stdin" else None)
    splits = json.loads((run / "run.json").read_text(encoding="utf-8"))["splits"]
    assert sum(split["bytes"] for split in splits.values()) == len(data)
    assert sum(split["tokens"] for split in splits.values()) == len(data)


def test_what_came_from_standard_input_is_gone_and_eval_says_so(train, cli, text: str):
    _, run = train("--corpus", "-", "--max-steps", 1, input=text)
    outcome = cli("eval", run, "--threads", 1)
    assert outcome.code == 2
    assert "standard input" in outcome.stderr
    assert "--file" in outcome.stderr
    assert cli("eval", run, "--file", "text.txt", "--threads", 1).code == 0


def test_a_generated_corpus_trains_by_its_name(train, works):
    _, run = train("--corpus", "brackets:4000", "--max-steps", 2)
    works(run)


def test_a_name_of_the_registry_is_that_corpus_even_beside_a_file_that_is_called_so(train, work, text: str):
    (work / "copy").write_text(text, encoding="utf-8")
    _, run = train("--corpus", "copy", "--max-steps", 1)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["corpus"]["source"] != "file copy"
    _, run = train("--corpus", "./copy", "--max-steps", 1, out="other")
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["corpus"]["source"] == "file copy"


@pytest.mark.parametrize("name", ["char", "word"])
def test_a_kind_of_tokenizer_is_that_kind_even_beside_a_file_that_is_called_so(train, work, name: str):
    (work / name).write_text("not a tokenizer", encoding="utf-8")
    _, run = train("--tokenizer", name, "--max-steps", 1)
    assert config_of(run)["tokenizer"] == name


def test_a_folder_can_hold_the_runs_that_are_trained_on_it(train, cli, work):
    (work / "note.txt").write_text("One more text to read.\n", encoding="utf-8")
    _, run = train("--corpus", ".", "--max-steps", 1)
    outcome = cli("eval", run, "--threads", 1)
    assert outcome.code == 0, outcome.stderr
    _, again = train("--corpus", ".", "--max-steps", 1, out="again")
    hashes = [json.loads((folder / "run.json").read_text())["corpus"]["sha256"] for folder in (run, again)]
    assert hashes[0] == hashes[1]


def test_names_are_documents_that_end(train, cli, work):
    names = ["Ann", "Bob", "Cleo", "Dana", "Eve", "Finn", "Gus", "Hal"] * 40
    (work / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    options = ("--documents", "line", "--sampler", "document", "--dropout", 0, "--lr", 0.02)
    _, run = train("--corpus", "names.txt", *options, "--epochs", 12)
    for seed in range(5):
        sampled = json.loads(cli("sample", run, "--json", "--length", 500, "--seed", seed).stdout)["text"]
        assert len(sampled) < 100, "a name ends, and the model has learnt that"
        assert "<eos>" not in sampled


def test_words_can_be_documents_that_end(train, cli, work):
    (work / "lines.txt").write_text("red cat\nblue dog\nred dog\nblue cat\n" * 80, encoding="utf-8")
    options = ("--tokenizer", "word", "--documents", "line", "--sampler", "document", "--dropout", 0, "--lr", 0.02)
    _, run = train("--corpus", "lines.txt", *options, "--epochs", 12)
    sampled = json.loads(cli("sample", run, "--json", "--length", 100).stdout)["text"]
    assert sampled.count("\n") <= 1, "a line is a document, and the model has learnt that it ends"


def test_the_corpus_is_found_again_from_another_folder(train, cli, work, monkeypatch: pytest.MonkeyPatch):
    train("--max-steps", 1)
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    assert cli("eval", "../run", "--threads", 1).code == 0
    assert cli("sample", "../run", "--length", 5).code == 0


def test_a_run_can_be_moved(train, cli, work):
    _, run = train("--max-steps", 1)
    before = cli("eval", run, "--json", "--threads", 1).stdout
    moved = shutil.move(run, work / "moved")
    assert cli("eval", moved, "--json", "--threads", 1).stdout == before


def test_two_trainings_with_one_seed_write_the_same_bytes(train):
    options = ("--epochs", 1, "--eval-every", 10)
    runs = [train(*options, out=name)[1] for name in ("one", "two")]
    for name in ("metrics.jsonl", "model.safetensors", "config.json", "tokenizer.json"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name
    _, other = train(*options, "--seed", 2, out="three")
    assert (runs[0] / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_json_and_the_display_change_nothing_in_a_run(train):
    _, shown = train("--epochs", 1, out="shown")
    _, quiet = train("--epochs", 1, "--json", out="quiet")
    assert (shown / "metrics.jsonl").read_bytes() == (quiet / "metrics.jsonl").read_bytes()


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_best_model(cli, work, small):
    options = ("--optimizer", "sgd", "--lr", "1e30", "--clip", 0, "--cell", "irnn", "--schedule", "constant")
    outcome = cli("train", "--corpus", "text.txt", *small, *options, "--max-steps", 50, "--eval-every", 1, "--out", "r")
    assert outcome.code in (0, 1)  # 1 where the loss itself overflows
    assert "Traceback" not in outcome.stderr
    for line in (work / "r" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_training_that_fails_says_so_in_one_sentence(cli, work, small, monkeypatch: pytest.MonkeyPatch):
    from lmkit.model.language_model import SequenceLoss

    plain = SequenceLoss.forward

    def broken(self, inputs, targets, state):
        loss = plain(self, inputs, targets, state)
        return loss._replace(nll=loss.nll * math.nan)

    monkeypatch.setattr(SequenceLoss, "forward", broken)
    outcome = cli("train", "--corpus", "text.txt", *small, "--max-steps", 5, "--out", "r")
    assert outcome.code == 1
    assert "Step 1: the loss is nan" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_window_that_truncates_nothing_is_noted(train):
    outcome, _ = train("--truncation", "none", "--max-steps", 1)
    assert "--truncation none reads whole rows or documents: --window " in outcome.stderr


def test_a_note_on_the_text_comes_before_the_training_and_once(train, cli, work, text: str):
    (work / "text.txt").write_text(text + text, encoding="utf-8", newline="\r\n")
    outcome, run = train("--max-steps", 2)
    shown = outcome.stderr.splitlines()
    assert shown[0].startswith(f"Note: The text has {2 * text.count(chr(10)):,} line ends of Windows")
    assert "repeat another" in shown[1]
    assert sum("repeat another" in line for line in shown) == 1
    resumed = cli("train", "--resume", run, "--max-steps", 3)
    assert resumed.code == 0
    assert "repeat another" not in resumed.stderr
