"""Options of lmkit train: made from the configuration, in the right order of precedence, under old names too."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import tomllib
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from lmkit import cli as lmkit_cli
from lmkit.cli import classify
from lmkit.cli.options import make_config, say_what_is_awaited
from lmkit.config import Config, DataConfig, ModelConfig, RuntimeConfig, TrainingConfig
from lmkit.fields import fields_of, flag_of
from lmkit.presets.preset import preset_names, read_preset
from lmkit.run.directory import RunDirectory

ABOUT = '[about]\npurpose = ""\ntext = ""\ntime = ""\nexpected = ""\n'
SECTIONS = (DataConfig, ModelConfig, TrainingConfig, RuntimeConfig)

# Names for one and the same thing in DESIGN.md and in older toolkits: option, value, field.
NAMES = [
    (("--corpus", "--data", "--input-txt", "--input_txt"), "other.txt", "corpus"),
    (("--valid-fraction", "--val-frac", "--val_frac"), "0.2", "valid_fraction"),
    (("--test-fraction", "--test-frac", "--test_frac"), "0.2", "test_fraction"),
    (("--cell", "--model"), "gru", "cell"),
    (("--layers", "--nlayers", "--num-layers", "--num_layers", "--n_layers"), "2", "num_layers"),
    (("--hidden-size", "--hidden_size", "--nhid", "--rnn-size", "--rnn_size", "--hidden-dim"), "11", "hidden_size"),
    (("--embedding-size", "--emsize", "--embedding-dim", "--wordvec-size", "--wordvec_size"), "7", "embedding_size"),
    (("--window", "--bptt", "--seq-length", "--seq_length", "--sequence-length"), "9", "window"),
    (("--batch-size", "--batch_size"), "3", "batch_size"),
    (("--lr", "--learning-rate", "--learning_rate"), "0.5", "lr"),
    (("--clip", "--grad-clip", "--grad_clip", "--clip-norm"), "0.25", "max_grad_norm"),
    (("--epochs", "--max-epochs", "--max_epochs", "--num-epochs"), "1", "epochs"),
    (("--max-steps", "--max-iters", "--max_iters"), "1", "max_steps"),
    (("--eval-every", "--eval_val_every"), "4", "eval_every"),
    (("--seed", "--random-seed"), "5", "seed"),
    (("--weight-decay", "--wdecay"), "0.1", "weight_decay"),
]


def train_command() -> click.Command:
    command: click.Command = importlib.import_module("lmkit.cli.train").command
    return command


def make(*arguments: str) -> Config:
    """The configuration that lmkit train makes of its arguments."""
    from lmkit.cli import main

    with (
        main.make_context("lmkit", ["train", *arguments]) as group,
        train_command().make_context("train", list(arguments), parent=group) as context,
    ):
        given = dict(context.params)
    fields = {item.name for section in SECTIONS for item, _ in fields_of(section)}
    return make_config(given["preset"], given["config_file"], {name: given[name] for name in fields})


def flat(config: Config) -> dict[str, Any]:
    return {name: value for section in config.to_dict().values() for name, value in section.items()}


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets instead of lmkit's own."""
    folder = tmp_path / "presets"
    folder.mkdir()
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    return folder


def test_no_flags_equals_default_config():
    assert make() == Config()


def test_every_field_has_an_option_with_its_help():
    options = {option.name: option for option in train_command().params if isinstance(option, click.Option)}
    for section in SECTIONS:
        for item, _ in fields_of(section):
            option = options[item.name]
            assert flag_of(item) == option.opts[0]
            assert option.help is not None
            assert option.help.startswith(item.metadata["help"])
            assert option.default is None, "a default stands in lmkit/config alone"


@pytest.mark.parametrize(("names", "value", "field"), NAMES, ids=lambda part: part if isinstance(part, str) else None)
def test_names_of_older_toolkits_set_the_same_field(names: tuple[str, ...], value: str, field: str):
    expected = flat(make(names[0], value))
    assert expected != flat(Config())
    for name in names:
        assert flat(make(name, value)) == expected, name
    assert {key for key, found in expected.items() if found != flat(Config())[key]} == {field}


@pytest.mark.parametrize("name", ["--tied", "--tie-weights", "--tie_weights", "--tie-embeddings"])
def test_tying_has_several_names(name: str):
    assert make(name).model.tie_embeddings
    assert not make(name, "--no-tied").model.tie_embeddings


def test_every_unambiguous_name_of_the_table_of_older_toolkits_is_taken():
    wanted = {
        "window": ["--max-time-steps", "--tokens-per-sample", "--chunk-len", "--block-size", "--ctx-len"],
        "batch_size": ["--mini-batch-size", "--bs", "--batchsize"],
        "optimizer": ["--optimization-method", "--opt"],
        "tie_embeddings": ["--share-decoder-input-output-embed"],
        "max_grad_norm": ["--gradient-normalization", "--gradient-cutoff"],
        "hidden_size": ["--hidden"],
        "cell": ["--model-type"],
    }
    known = {name: option.name for option in train_command().params for name in option.opts}
    missing = [name for field, names in wanted.items() for name in names if known.get(name) != field]
    assert not missing


def test_cuda_is_a_short_way_to_the_device():
    assert make("--cuda").runtime.device == "cuda"


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "Lstm"])
def test_a_cell_may_be_written_as_torch_writes_it(cell: str):
    assert make("--model", cell).model.cell == cell.lower()


def test_flags_come_before_the_file_the_preset_and_the_defaults(presets: Path, tmp_path: Path):
    (presets / "base.toml").write_text(
        ABOUT + "[model]\nhidden_size = 11\nnum_layers = 2\ndropout = 0.5\n[training]\nlr = 0.1\n", encoding="utf-8"
    )
    file = tmp_path / "own.toml"
    file.write_text("[model]\nnum_layers = 3\ndropout = 0.4\n", encoding="utf-8")
    config = make("--preset", "base", "--config", str(file), "--dropout", "0.3")
    found = (config.training.lr, config.model.hidden_size, config.model.num_layers, config.model.dropout)
    assert found == (0.1, 11, 3, 0.3)
    assert config.training.window == Config().training.window
    assert make("--preset", "base", "--hidden-size", "256").model.hidden_size == 256, "a default can be asked for"


def test_a_flag_can_undo_what_a_preset_contradicts(presets: Path):
    (presets / "base.toml").write_text(ABOUT + '[training]\nsampler = "random"\nstate = "reset"\n', encoding="utf-8")
    assert make("--preset", "base", "--sampler", "sequential", "--state", "carry").training.state_policy == "carry"


def test_every_preset_is_a_valid_configuration():
    assert preset_names()
    for name in preset_names():
        assert make("--preset", name) != Config()


def test_every_preset_says_what_it_is_for():
    for name in preset_names():
        preset = read_preset(name)
        assert all((preset.purpose, preset.text, preset.time, preset.expected))
        seconds = preset.options.get("max_seconds")
        assert seconds is None or f"{seconds:g} seconds" in preset.time


def test_what_a_preset_is_for_is_no_option(refused, work):
    (work / "own.toml").write_text(ABOUT, encoding="utf-8")
    assert "[about]" in refused("train", "text.txt", "--config", "own.toml")


def test_the_precedence_holds_in_a_run(cli, work, small):
    (work / "own.toml").write_text("[model]\nhidden_size = 12\nnum_layers = 2\n[training]\nmax_steps = 1\n")
    options = ("--preset", "pytorch-examples", "--config", "own.toml", "--tokenizer", "char")
    outcome = cli("train", "--corpus", "text.txt", *options, *small, "--out", "run")
    assert outcome.code == 0, outcome.stderr
    stored = json.loads((work / "run" / "config.json").read_text(encoding="utf-8"))
    assert stored["model"]["hidden_size"] == 8  # flag
    assert stored["model"]["num_layers"] == 2  # file
    assert stored["training"]["optimizer"] == "sgd"  # preset
    assert stored["training"]["weight_decay"] == 0  # default


def test_the_configuration_of_a_run_trains_it_again(cli, work, small):
    options = ("--cell", "gru", "--cutoffs", "5,10", "--head", "adaptive", "--tied", "--max-steps", 2)
    assert cli("train", "--corpus", "text.txt", *small, *options, "--out", "one").code == 0
    sections = RunDirectory.open(work / "one").stored().config.to_dict()  # with the text's place as seen from here
    lines = []
    for section in (item.name for item in dataclasses.fields(Config)):
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in sections[section].items() if value is not None]
    (work / "again.toml").write_text("\n".join(lines), encoding="utf-8")
    assert tomllib.loads((work / "again.toml").read_text(encoding="utf-8"))
    assert cli("train", "--config", "again.toml", "--out", "two").code == 0
    for name in ("config.json", "metrics.jsonl", "model.safetensors"):
        assert (work / "one" / name).read_bytes() == (work / "two" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[model]\nhiden_size = 5\n", ["hiden_size", "hidden_size"]),
        ("[modell]\nhidden_size = 5\n", ["modell", "[model]"]),
        ("hidden_size = 5\n", ["hidden_size", "[model]"]),
        ("[model]\nlayers = 5\n", ["layers", "num_layers"]),
        ("[training]\nclip = 5\n", ["clip", "max_grad_norm"]),
        ("[model]\nlr = 5\n", ["lr", "[training]"]),
        ("[model]\nhidden_size = 'big'\n", ["hidden", "big"]),
        ("[model]\nhidden_size = 1.5\n", ["hidden", "1.5"]),
        ("[model]\ntie_embeddings = 1\n", ["tie", "1"]),
        ("[model]\ncell = 'gruu'\n", ["gruu", "gru"]),
        ("[training]\nlr = nan\n", ["lr", "nan"]),
        ("[model]\ncutoffs = 5\nhead = 'adaptive'\n", ["cutoffs"]),
        ("model = 5\n", ["[model]"]),
        ("[model\n", ["own.toml", "line 1"]),
        ("\ufeff[model]\n", ["own.toml"]),
    ],
)
def test_a_mistake_in_a_configuration_file_is_named(refused, work, small, content: str, words: list[str]):
    (work / "own.toml").write_text(content, encoding="utf-8")
    message = refused("train", "--corpus", "text.txt", "--config", "own.toml", "--max-steps", 1, "--out", "run")
    assert all(word in message for word in words), message


def test_a_configuration_file_that_is_no_text_is_named(refused, work):
    (work / "own.toml").write_bytes(b"\xff\xfe[")
    assert "own.toml" in refused("train", "--corpus", "text.txt", "--config", "own.toml", "--out", "run")
    assert "missing.toml" in refused("train", "--corpus", "text.txt", "--config", "missing.toml", "--out", "run")
    assert "No preset" in refused("train", "--preset", "base", "--out", "run").replace("There is no", "No")


HOMES = [f"lmkit.cli.{name}" for name in lmkit_cli.COMMANDS] + [
    f"lmkit.cli.classify.{name}" for name in classify.COMMANDS
]


@pytest.mark.parametrize("home", HOMES)
def test_help_fits_a_terminal_of_eighty_columns(home: str):
    command = importlib.import_module(home).command
    context = click.Context(command, info_name=home.replace(".cli.", " "), terminal_width=80)
    too_long = [line for line in command.get_help(context).splitlines() if len(line) > 80]
    assert [line for line in too_long if "|" not in line] == []  # click does not break the choices of an option


@pytest.mark.parametrize(("typed", "said"), [(True, 1), (False, 0)], ids=["terminal", "pipe"])
def test_a_command_that_waits_for_typing_says_so(monkeypatch, capsys, typed: bool, said: int):
    ended = []
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: typed))
    say_what_is_awaited(cast(Any, SimpleNamespace(end=lambda: ended.append(1))))
    written = capsys.readouterr()
    assert (len(ended), written.err.count("Ctrl-D"), written.out) == (said, said, "")
