"""lmkit compare: two runs on the same text, for people and for programs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import lmkit


@pytest.fixture(scope="module")
def runs(trained_once: Path, small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on the same text: with the same tokenizer, and with others."""
    from click.testing import CliRunner

    from lmkit.cli import main

    folder = tmp_path_factory.mktemp("runs")
    kinds: dict[str, list[Any]] = {
        "worse": ["--epochs", 2],
        "bpe": ["--tokenizer", "bpe", "--vocab-size", 280, "--epochs", 2],
        "word": ["--tokenizer", "word", "--max-steps", 5],
        "rare": ["--tokenizer", "word", "--min-count", 20, "--max-steps", 5],
        "lines": ["--documents", "line", "--sampler", "document", "--max-steps", 5],
        "cut": ["--valid-fraction", 0.2, "--max-steps", 5],
        **{f"a{seed}": ["--max-steps", 4, "--seed", seed] for seed in (1, 2)},
        **{f"b{seed}": ["--max-steps", 4, "--seed", seed, "--lr", 0.1] for seed in (1, 2)},
    }
    for name, options in kinds.items():
        arguments = ["train", "--corpus", trained_once / "text.txt", *small, *options, "--out", folder / name]
        result = CliRunner().invoke(main, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
    return {"best": trained_once / "run", **{name: folder / name for name in kinds}}


@pytest.fixture
def compare(cli, runs):
    """The metrics of lmkit compare --json."""

    def call(*names: str, **options: Any) -> dict[str, Any]:
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        flags = [part for part in flags if part is not True]
        outcome = cli("compare", *(runs[name] for name in names), "--json", "--threads", 1, *flags)
        assert outcome.code == 0, outcome.stderr
        metrics: dict[str, Any] = json.loads(outcome.stdout)
        return metrics

    return call


def test_a_better_run_is_better(compare, cli, runs):
    metrics = compare("best", "worse")
    (row,) = metrics["differences"]
    assert (metrics["unit"], metrics["split"], metrics["notes"]) == ("nats_per_token", "test", [])
    assert 0 < row["difference"]["low"] < row["difference"]["value"] < row["difference"]["high"]
    assert row["p_value"] < 0.05
    for run, found in zip(("best", "worse"), metrics["runs"], strict=True):
        alone = json.loads(cli("eval", runs[run], "--json", "--threads", 1).stdout)
        assert found["nll"] == pytest.approx(alone["nll_nats"], rel=1e-6)
        assert found["perplexity"]["value"] == pytest.approx(alone["perplexity"], rel=1e-6)
        assert found["bits_per_byte"]["value"] == pytest.approx(alone["bits_per_byte"], rel=1e-6)
    assert sum(band["units"] for band in metrics["by_frequency"]) == metrics["units"]
    assert sum(band["units"] for band in metrics["by_position"]) == metrics["units"]


def test_unknown_words_are_told_beside_the_headline_wherever_there_is_one(
    compare, cli, runs, trained_once, small, work
):
    metrics = json.loads(cli("eval", runs["rare"], "--json", "--threads", 1).stdout)
    (note,) = [note for note in metrics["notes"] if "<unk>" in note]
    assert note.startswith(f"{metrics['unknown_tokens']:,} of {metrics['tokens']:,} tokens")
    assert f"Note: {note}" in cli("eval", runs["rare"], "--threads", 1).stdout.splitlines()
    options = ("--tokenizer", "word", "--min-count", 20, "--max-steps", 2, "--out", "run")
    trained = cli("train", "--corpus", trained_once / "text.txt", *small, *options)
    assert f"Note: {note}" in trained.stdout.splitlines()
    text = trained_once / "text.txt"
    scored = cli("score", runs["rare"], text)
    assert scored.stderr.count("became <unk>, because the vocabulary lacks them") == 1
    lines = cli("score", runs["rare"], text, "--per", "line", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["rests_on_unk"] for row in rows] == [row["oov"] > 0.1 * row["tokens"] for row in rows]
    assert compare("rare", "rare")["notes"] == [f"{runs['rare']}: {note}"] * 2
    (work / "list.txt").write_text("1\t0\tthe zzz\n1\t0\tthe cat\n", encoding="utf-8")
    assert "Note: 1 of 2 hypotheses rest on words" in cli("score", runs["word"], "--nbest", work / "list.txt").stderr


def test_the_order_of_the_runs_turns_the_sign(compare):
    one, other = compare("best", "worse"), compare("worse", "best")
    assert one["differences"][0]["difference"]["value"] == -other["differences"][0]["difference"]["value"]
    assert one["differences"][0]["p_value"] == pytest.approx(other["differences"][0]["p_value"])


def test_different_tokenizers_are_compared_in_bits_per_byte(compare, cli, runs):
    metrics = compare("best", "bpe", "worse")
    assert metrics["unit"] == "bits_per_byte"
    for run, found in zip(("best", "bpe", "worse"), metrics["runs"], strict=True):
        alone = json.loads(cli("eval", runs[run], "--json", "--threads", 1).stdout)
        assert found["bits_per_byte"]["value"] == pytest.approx(alone["bits_per_byte"], rel=1e-6)
    assert metrics["by_frequency"]
    p_values = [(row["p_value"], row["p_holm"]) for row in metrics["differences"]]
    assert all(p <= holm for p, holm in p_values)


def test_lossy_tokenizers_are_refused_unless_allowed(refused, compare, runs, work):
    (work / "known.txt").write_text("The cat sat on the mat.\n" * 9, encoding="utf-8")
    message = refused("compare", runs["best"], runs["word"], "--threads", 1, "--file", "known.txt")
    assert "--allow-lossy" in message
    assert "are <unk>" in refused("compare", runs["word"], runs["rare"], "--threads", 1)
    metrics = compare("word", "rare", **{"allow-lossy": True})
    assert sum("is lossy" in note for note in metrics["notes"]) == 2
    assert compare("rare", "rare")["unit"] == "nats_per_token"  # the very same tokens lose the same


def test_runs_with_their_own_documents_and_cuts(compare):
    metrics = compare("best", "lines")
    assert metrics["unit"] == "bits_per_byte"
    assert [run["state"] for run in metrics["runs"]] == ["carry", "document"]
    assert any("state policy that it was trained with" in note for note in metrics["notes"])
    assert any("trained on another text" in note for note in compare("best", "cut")["notes"])


def test_another_text_from_a_file_or_standard_input(compare, cli, runs, text, tmp_path):
    file = tmp_path / "other.txt"
    file.write_text(text[:3000], encoding="utf-8", newline="")
    from_file = compare("best", "bpe", file=file)
    assert from_file["split"] == str(file)
    outcome = cli(
        "compare", runs["best"], runs["bpe"], "--file", "-", "--json", "--threads", 1, input=text[:3000].encode()
    )
    assert json.loads(outcome.stdout)["runs"] == from_file["runs"]


def test_blocks_resamples_confidence_and_seed_are_taken(compare):
    metrics = compare("best", "worse", block=20, resamples=200, confidence=0.9, seed=4, split="valid", rows=2)
    chosen = (metrics["resamples"], metrics["confidence"], metrics["seed"], metrics["split"], metrics["rows"])
    assert chosen == (200, 0.9, 4, "valid", 2)
    assert 20 <= metrics["block"] < 40
    assert metrics == compare("best", "worse", block=20, resamples=200, confidence=0.9, seed=4, split="valid", rows=2)


def test_python_says_the_same(compare, runs, text, tmp_path):
    names = ("best", "worse", "bpe")
    folders = [runs[name] for name in names]
    metrics = compare(*names, resamples=200, seed=3)
    found = lmkit.compare(folders, resamples=200, seed=3, device="cpu")
    assert isinstance(found, lmkit.Comparison)
    assert json.loads(json.dumps(found.as_dict())) == metrics
    loaded = [lmkit.load(folder, "cpu") for folder in folders]
    assert lmkit.compare([folders[0], *loaded[1:]], resamples=200, seed=3, device="cpu") == found
    file = tmp_path / "other.txt"
    file.write_text(text[:3000], encoding="utf-8", newline="")
    from_text = lmkit.compare(loaded, text=text[:3000], resamples=200)
    assert from_text.as_dict() | {"split": str(file)} == compare(*names, file=file, resamples=200)


def test_models_without_a_run_are_called_by_their_number(runs, text):
    best = lmkit.load(runs["best"], "cpu")
    alone = lmkit.TrainedModel(best.model, best.tokenizer, best.config)
    told = []
    found = lmkit.compare([runs["best"], alone], text=text, resamples=200, progress=lambda *what: told.append(what))
    assert [run.name for run in found.runs] == [str(runs["best"]), "model 2"]
    assert found.differences[0].difference.value == 0
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages[-3:] == [f"scoring {runs['best']}", "scoring model 2", "comparing"]
    assert dict(told)[f"scoring {runs['best']}"] == dict(told)["scoring model 2"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "The cat.", "file": "-"}, "one text"),
        ({"split": "test", "file": "-"}, "not both"),
        ({"text": ""}, "empty"),
        ({"text": "cat"}, "too short"),
        ({"file": ""}, "--file is empty"),
        ({"block": 0}, "--block"),
        ({"block": 10.5}, r"--block must be a whole number, not 10\.5"),
        ({"block": True}, "--block"),
        ({"resamples": 99}, "--resamples"),
        ({"seed": -1}, "--seed"),
        ({"confidence": 1}, "--confidence"),
        ({"rows": 0}, "--rows"),
    ],
    ids=str,
)
def test_mistakes_in_python_are_told_in_a_sentence(runs, options: dict[str, Any], words: str):
    with pytest.raises(lmkit.LmkitError, match=words):
        lmkit.compare([runs["best"], runs["worse"]], device="cpu", **options)
    with pytest.raises(lmkit.ConfigError, match=f"two runs or more|{words}"):
        lmkit.compare(str(runs["best"]), **options)


def test_runs_may_come_one_by_one(runs, text):
    names = ("best", "worse")
    listed = lmkit.compare([runs[name] for name in names], text=text, resamples=200, device="cpu")
    streamed = lmkit.compare((runs[name] for name in names), text=text, resamples=200, device="cpu")
    assert streamed.as_dict() == listed.as_dict()


def test_the_tables_show_what_the_figures_say(cli, compare, runs):
    shown = cli("compare", runs["best"], runs["worse"], runs["bpe"], "--threads", 1).stdout
    metrics = compare("best", "worse", "bpe")
    for row in metrics["differences"]:
        assert f"{row['difference']['value']:+.4f} [{row['difference']['low']:+.4f}" in shown
    assert "B - A" in shown and "C - A" in shown and "p, Holm" in shown
    pair = cli("compare", runs["best"], runs["worse"], "--threads", 1).stdout
    ratio = math.exp(compare("best", "worse")["differences"][0]["difference"]["value"]) - 1
    assert f"{ratio:+.2%}" in pair
    assert "95 % confidence" in pair


def test_without_the_training_text_there_are_no_frequencies(
    cli, runs, text, tmp_path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))  # others know where the text is as well
    (tmp_path / "other.txt").write_text(text[:3000], encoding="utf-8", newline="")
    gone = tmp_path / "gone.txt"
    gone.write_text(text, encoding="utf-8", newline="")
    run = Path(shutil.copytree(runs["best"], tmp_path / "run"))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["data"]["corpus"] = str(gone)
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arguments = ("compare", run, runs["worse"], "--file", tmp_path / "other.txt", "--json", "--threads", 1)
    assert json.loads(cli(*arguments).stdout)["by_frequency"]
    gone.unlink()
    metrics = json.loads(cli(*arguments).stdout)
    assert metrics["by_frequency"] is None
    assert any(note.startswith("No losses by frequency: ") for note in metrics["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "two runs or more"),
        (("best",), "two runs or more"),
        (("best", "worse", "--file", "text.txt", "--split", "test"), "not both"),
        (("best", "worse", "--block", 100000), "--block 100000"),
        (("best", "worse", "--block", 0), "--block"),
        (("best", "worse", "--confidence", 1), "--confidence"),
        (("best", "worse", "--file", "absent.txt"), "absent.txt"),
        (("best", "worse", "--file", "tiny.txt"), "too short to compare"),
        (("best", "worse", "--file", "empty.txt"), "empty"),
        (("best", "absent"), "absent"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_mistakes_are_told_in_a_sentence(refused, runs, work, arguments, words: str):
    (work / "tiny.txt").write_text("abc", encoding="utf-8")
    (work / "empty.txt").write_text("", encoding="utf-8")
    given = [runs.get(part, part) if isinstance(part, str) else part for part in arguments]
    assert words in refused("compare", *given, "--threads", 1)


def test_groups_of_seeds_are_compared_over_the_text_and_over_seeds(cli, runs):
    groups = ("compare", runs["b1"], runs["b2"], "--threads", 1, "--against", runs["a1"], runs["a2"])
    metrics = json.loads(cli(*groups, "--json").stdout)
    alone = {
        name: json.loads(cli("eval", runs[name], "--json", "--threads", 1).stdout)["nats_per_token"]
        for name in ("a1", "a2", "b1", "b2")
    }
    seeds, (row,) = metrics["seeds"], metrics["differences"]
    assert seeds["baseline_losses"] == pytest.approx([alone["a1"], alone["a2"]], rel=1e-6)
    assert seeds["losses"] == pytest.approx([alone["b1"], alone["b2"]], rel=1e-6)
    assert seeds["paired"] is True  # they differ in the rate alone
    assert seeds["pairs"] == [[str(runs[f"b{seed}"]), str(runs[f"a{seed}"])] for seed in (1, 2)]
    assert row["difference"]["value"] == pytest.approx(seeds["difference"]["value"])
    assert row["difference"]["low"] != pytest.approx(seeds["difference"]["low"])
    assert [run["name"] for run in metrics["runs"]] == [f"{runs['a1']} and 1 more", f"{runs['b1']} and 1 more"]
    shown = cli(*groups).stdout
    assert "over the text" in shown
    assert "over seeds" in shown


def test_every_run_after_against_is_of_the_baseline_and_pairs_are_those_of_a_seed(cli, runs):
    groups = (runs["b1"], runs["b2"], "--threads", 1, "--against", runs["a2"], "--resamples", 200, runs["a1"])
    metrics = json.loads(cli("compare", *groups, "--json").stdout)
    assert [run["name"] for run in metrics["runs"]] == [f"{runs['a2']} and 1 more", f"{runs['b1']} and 1 more"]
    assert metrics["seeds"]["pairs"] == [[str(runs[f"b{seed}"]), str(runs[f"a{seed}"])] for seed in (1, 2)]
    assert metrics["resamples"] == 200


def test_groups_of_one_run_have_no_interval_over_seeds(cli, runs):
    metrics = json.loads(cli("compare", runs["b1"], "--against", runs["a1"], "--json", "--threads", 1).stdout)
    assert (metrics["seeds"]["difference"]["low"], metrics["seeds"]["p_value"]) == (None, None)
    assert metrics["differences"][0]["difference"]["low"] is not None


def test_groups_that_are_none_are_refused_or_noted(refused, cli, runs):
    assert "have the same seed" in refused("compare", runs["a1"], runs["b1"], "--against", runs["b2"])
    assert "have the same seed" in refused("compare", runs["b2"], f"--against={runs['a1']}", runs["b1"])
    assert "different tokenizers" in refused("compare", runs["a1"], runs["bpe"], "--against", runs["b2"])
    assert "both sides of --against" in refused("compare", "--against", runs["b2"])
    shown = cli("compare", runs["a1"], runs["b2"], "--against", runs["b1"], "--threads", 1)
    assert "differ from it in more than their seed: lr." in shown.stdout
