"""lmkit inspect: the figures of the library, as tables and as JSON."""

from __future__ import annotations

import json
import math

import pytest

import lmkit
from lmkit.cli.inspect import VIEWS
from lmkit.inspection.inspector import Inspector, spread_lags

SMALL = {
    "sensitivity": ("--lags", 6),
    "context": ("--lags", 20),
    "memory": ("--lags", 2),
    "dynamics": ("--steps", 30, "--token", "t"),
    "forgetting": ("--lags", 5),
}


def looked_at(cli, run, what, *more):
    outcome = cli("inspect", run, what, *SMALL.get(what, ()), *more, "--json", "--threads", 1)
    assert outcome.code == 0, outcome
    return json.loads(outcome.stdout)


@pytest.fixture(scope="module")
def inspector_of():
    def make(run):
        return lmkit.load(run, "cpu").inspect

    return make


def test_json_has_what_the_library_gives(cli, trained, inspector_of):
    inspector, lm = inspector_of(trained), lmkit.load(trained, "cpu")
    _, tokens = lm.split_tokens()
    ids = tokens.ids[:10_000]
    wanted = {
        "sensitivity": inspector.sensitivity(ids, lags=6),
        "context": inspector.context(ids, lengths=(1, 2, 5, 10, 20)),
        "memory": inspector.memory(ids, lags=(0, 1, 2)),
        "dynamics": inspector.dynamics("t", steps=30, transient=30),
        "forgetting": inspector.forgetting(ids, length=5),
    }
    for what, finding in wanted.items():
        found = looked_at(cli, trained, what)
        assert found["what"] == what
        assert {name: found[name] for name in finding.to_dict()} == finding.to_dict()
        assert ("text" in found) == (what != "dynamics")


def test_steps_of_dynamics_that_nobody_chose_are_those_of_the_library(cli, trained, monkeypatch):
    asked, dynamics = [], Inspector.dynamics

    def noted(self, token, **how):
        asked.append(how)
        return dynamics(self, token, steps=10, transient=10)

    monkeypatch.setattr(Inspector, "dynamics", noted)
    for given in ((), ("--steps", 30)):
        assert cli("inspect", trained, "dynamics", *given, "--json").code == 0
    assert asked == [{}, {"steps": 30, "transient": 30}]


def test_the_influence_of_tokens_comes_with_their_names(cli, trained, inspector_of):
    found = looked_at(cli, trained, "influence", "--text", "The cat")
    assert found["predicted"] == list("The cat")
    assert found["read"] == ["<eos>", *"The ca"]
    assert found["norms"] == inspector_of(trained).influence("The cat").tolist()
    table = cli("inspect", trained, "influence", "--text", "The cat").stdout
    assert "'c'" in table and "100%" in table  # <eos> alone is before the first
    assert cli("inspect", trained, "influence").stdout.count("\n") == 60 + 4


def test_the_gates_of_a_text_come_with_and_without_their_values(cli, trained):
    text = 'The cat (a "bird") sat.\n' * 4
    whole = looked_at(cli, trained, "gates", "--text", text, "--values")
    short = looked_at(cli, trained, "gates", "--text", text)
    assert whole["tokens"] == list(text)
    assert short["tokens"] == len(whole["tokens"])
    for one, other in zip(whole["activity"], short["activity"], strict=True):
        assert len(one.pop("values")) == len(whole["tokens"])
        assert one == other
    assert {one["quantity"] for one in short["following"]} == {"quotes", "brackets", "line"}
    table = cli("inspect", trained, "gates", "--text", text).stdout
    assert "layer 0 forget" in table and "brackets" in table


def test_spectra_come_with_the_norms_of_the_training(cli, trained):
    found = looked_at(cli, trained, "spectra")
    assert [one["gate"] for one in found["spectra"]] == ["input", "forget", "candidate", "output"]
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert found["gradients"]["norms"] == [one["grad_norm"] for one in records if one["kind"] == "training"]
    assert "text" not in found


@pytest.mark.parametrize("what", VIEWS)
def test_every_view_is_a_table_for_people(cli, trained, work, what):
    outcome = cli("inspect", trained, what, *SMALL.get(what, ()))
    assert outcome.code == 0, outcome
    assert len(outcome.stdout.splitlines()) >= 3
    assert "nan" not in outcome.stdout.lower()


def test_a_text_can_be_given_or_be_a_file(cli, trained, text, work):
    one = looked_at(cli, trained, "forgetting", "--text", text, "--max-tokens", 300)
    other = looked_at(cli, trained, "forgetting", "--file", "text.txt", "--max-tokens", 300)
    assert (one.pop("text"), other.pop("text")) == ("text", "text.txt")
    assert one == other
    assert one["num_tokens"] == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gatez"], "called 'gatez'"),
        ([], "Name what to look at"),
        (["spectra", "--text", "a"], "spectra takes no --text"),
        (["gates", "--steps", 20], "it is for dynamics"),
        (["gates", "--values"], "--values needs --json"),
        (["context", "--text", "The cat."], "8 tokens"),
        (["sensitivity", "--lags", 5000], "at least 5,066 are needed"),
        (["memory", "--lags", 5000], "look at shorter lags"),
        (["forgetting", "--text", ""], "The text is empty"),
        (["gates", "--text", "a", "--split", "test"], "Give one text"),
        (["dynamics", "--token", "cat"], "not one token"),
        (["dynamics", "--token", ""], "not one token"),
    ],
    ids=str,
)
def test_what_cannot_be_looked_at_is_one_sentence(refused, trained, arguments, message):
    assert message in refused("inspect", trained, *arguments)


def test_a_view_alone_is_of_the_only_run(cli, refused, work):
    assert "There is no run in the folder runs yet" in refused("inspect", "gates")


def test_the_lags_of_a_table_are_spread_evenly_by_ratio():
    assert spread_lags(1) == (0, 1)
    assert spread_lags(50) == (0, 1, 2, 5, 10, 20, 50)
    assert spread_lags(64) == (0, 1, 2, 5, 10, 20, 50, 64)


def test_python_reaches_the_functions_by_their_room(trained):
    model = lmkit.load(trained, "cpu").model
    (change,) = [one for one in lmkit.inspection.parameter_change(model, model) if one.part == "head"]
    assert change.change == 0
    assert not math.isnan(change.relative)
