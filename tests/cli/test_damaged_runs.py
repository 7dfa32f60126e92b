"""A damaged run: whatever happened to its files, commands say which one it was and never show a traceback."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

Change = Callable[[bytes], bytes]

BYTES: dict[str, Change] = {
    "emptied": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "garbage": lambda content: bytes(range(256)) * 20,
    "deep": lambda content: b"[" * 100_000,
    "null": lambda content: b"null",
}
# Which commands must read which files: the others may go on without them.
READERS = {
    "config.json": ("eval", "sample", "info"),
    "tokenizer.json": ("eval", "sample"),
    "model.safetensors": ("eval", "sample"),
    "run.json": ("eval", "info"),
}


@pytest.fixture
def check(refused, cli, damaged):
    """Every command that reads a file refuses it by name; the others refuse it or run."""

    def call(name: str) -> None:
        for command in ("eval", "sample", "info"):
            arguments = {"eval": ("--threads", 1), "sample": ("--length", 3), "info": ()}[command]
            if command in READERS[name]:
                message = refused(command, damaged, *arguments)
                assert name in message, message
            else:
                outcome = cli(command, damaged, *arguments)
                assert outcome.code == 0 or (outcome.code == 2 and name in outcome.stderr), outcome

    return call


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in READERS for damage in BYTES if (name, damage) != ("model.safetensors", "null")],
)
def test_damaged_bytes_are_named(check, damaged: Path, name: str, damage: str):
    path = damaged / name
    path.write_bytes(BYTES[damage](path.read_bytes()))
    check(name)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_named(check, damaged: Path, name: str):
    (damaged / name).unlink()
    if name in ("config.json", "tokenizer.json"):
        return  # then it is no run at all: see test_bad_input
    check(name)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_the_place_of_a_file_is_named(refused, damaged: Path, name: str):
    (damaged / name).unlink()
    (damaged / name).mkdir()
    for command in READERS[name]:
        assert name in refused(command, damaged)


WRONG = [None, True, 17, -1, 1.5, 1e300, 10**30, "text", [], [1], {}, {"a": {"b": 1}}]


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON document."""
    found = [path] if path else []
    if isinstance(values, dict):
        for key, value in values.items():
            found += places(value, (*path, key))
    elif isinstance(values, list):
        for number, value in enumerate(values[:2]):
            found += places(value, (*path, number))
    return found


def replaced(values: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    copy = json.loads(json.dumps(values))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = wrong
    return copy


@pytest.mark.parametrize("name", ["config.json", "run.json", "tokenizer.json"])
def test_no_value_of_any_kind_gives_a_traceback(cli, damaged: Path, name: str):
    """Values are replaced by some of another type. What does no harm may pass; the rest is refused."""
    path = damaged / name
    whole = json.loads(path.read_text(encoding="utf-8"))
    inside = [place for place in places(whole) if place[:2] != ("model", "vocab") or len(place) < 4]
    letters = [place for place in inside if place[:2] == ("model", "vocab") and len(place) == 3]
    inside = [place for place in inside if place not in letters[1:]]
    read = {name: path.read_bytes() for path in damaged.iterdir() if path.is_file() for name in [path.name]}
    for number, place in enumerate(inside[::3]):
        wrong = WRONG[number % len(WRONG)]
        path.write_text(json.dumps(replaced(whole, place, wrong)), encoding="utf-8")
        outcome = cli("info" if name == "run.json" else "sample", damaged)
        assert outcome.code in (0, 2), (place, wrong)
        assert outcome.code == 0 or outcome.stderr.count("\n") == 1, (place, wrong, outcome.stderr)
    path.write_bytes(read[name])
    assert {item.name: item.read_bytes() for item in damaged.iterdir() if item.is_file()} == read


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 10**12), ("embedding_size", 10**30), ("num_layers", 10**12), ("forget_bias", 1e300)],
)
def test_a_configuration_that_fits_no_machine_is_refused(refused, damaged: Path, name: str, value: float):
    path = damaged / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["model"][name] = value
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert "config.json" in refused("sample", damaged)


def test_shapes_that_do_not_fit_are_named(refused, damaged: Path):
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    name = "recurrent.layers.0.weight_hh_l0"
    for wrong in (
        {**tensors, name: tensors[name].t().contiguous()[:5]},
        {key: tensor for key, tensor in tensors.items() if key != name},
        {**tensors, "one_more": torch.zeros(2)},
        {},
    ):
        save_file(wrong, path)
        for command in ("eval", "sample"):
            message = refused(command, damaged)
            assert "model.safetensors" in message
            assert "config.json" in message or "damaged" in message


def test_weights_of_another_type_are_refused_or_converted(cli, damaged: Path):
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    before = cli("eval", damaged, "--json", "--threads", 1).stdout
    save_file({name: tensor.double() for name, tensor in tensors.items()}, path)
    outcome = cli("eval", damaged, "--json", "--threads", 1)
    assert (outcome.code, outcome.stdout) in ((0, before), (2, ""))
    save_file({name: tensor.long() for name, tensor in tensors.items()}, path)
    assert cli("sample", damaged, "--length", 3).code in (0, 2)


def test_weights_that_are_no_numbers_are_refused(refused, damaged: Path):
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    tensors["head.bias"][0] = float("nan")
    save_file(tensors, path)
    for command in ("eval", "sample"):
        assert "model.safetensors" in refused(command, damaged)


def test_a_header_that_promises_too_much_is_refused(check, damaged: Path):
    path = damaged / "model.safetensors"
    content = path.read_bytes()
    for length in (2**63, 2**40, len(content) * 2, 3):
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        check("model.safetensors")


def test_a_model_with_another_vocabulary_is_refused(refused, damaged: Path):
    path = damaged / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["model"]["vocab"]["@"] = len(document["model"]["vocab"])
    path.write_text(json.dumps(document), encoding="utf-8")
    for command in ("eval", "sample"):
        assert "tokenizer.json has changed" in refused(command, damaged)
    info = json.loads((damaged / "run.json").read_text(encoding="utf-8"))
    del info["tokenizer_sha256"]  # as where another program made the run
    (damaged / "run.json").write_text(json.dumps(info), encoding="utf-8")
    for command in ("eval", "sample"):
        assert "config.json declares" in refused(command, damaged)


def test_a_newer_format_says_so(refused, damaged: Path):
    path = damaged / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stored, "format": 999}), encoding="utf-8")
    for command in ("eval", "sample", "info"):
        assert "format" in refused(command, damaged)


def test_a_run_without_a_model_yet_says_so(refused, cli, damaged: Path):
    (damaged / "model.safetensors").unlink()
    for command in ("eval", "sample"):
        assert "no trained model yet" in refused(command, damaged)
    assert cli("info", damaged).code == 0


def test_damaged_lines_of_metrics_are_passed_over(cli, damaged: Path):
    lines = ["17", "null", "[]", "{}", '{"kind": "evaluation"}', "", '{"kind": "evaluation", "ste']
    with (damaged / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))
    for options in ((), ("--json",)):
        assert cli("info", damaged, *options).code == 0
    assert cli("eval", damaged, "--threads", 1).code == 0


@pytest.mark.parametrize("wrong", [17, {"train": 17}])
def test_runs_are_compared_whatever_their_records_say(cli, damaged: Path, trained: Path, wrong: Any):
    path = damaged / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "splits": wrong}), encoding="utf-8")
    outcome = cli(
        "compare", trained, damaged, "--file", trained.parent / "text.txt", "--threads", 1, "--resamples", 100
    )
    assert outcome.code == 0, outcome.stderr
    assert "trained on another text" in outcome.stdout


@pytest.mark.parametrize("wrong", [17, {}])
def test_the_doctor_finds_a_record_without_a_hash(cli, damaged: Path, wrong: Any):
    path = damaged / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "corpus": wrong}), encoding="utf-8")
    outcome = cli("doctor", damaged, "--threads", 1)
    assert outcome.code == 1, outcome.stderr
    assert "FAILED   corpus" in outcome.stdout
