"""A run whose carried state grows: train, eval, info and doctor say so, and no value is a bare dash."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lmkit.config import Config
from lmkit.doctor.check import OK, SKIPPED, WARNING
from lmkit.doctor.run.carried import guessing_check
from lmkit.session.session import Session
from tests import runs

SMALL: dict[str, Any] = {**runs.SMALL, "cell": "irnn", "max_steps": 1, "valid_fraction": 0.0, "test_fraction": 0.2}
GROWTH = {"huge": 1.005, "broken": 4.0}  # of the state with each token, over some five hundred


@pytest.fixture(scope="module", params=GROWTH)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, text: str) -> tuple[str, Path]:
    """A run that ended with a recurrence that multiplies the state with each token."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.txt").write_text(text[:2600], encoding="utf-8")
    session = Session(Config().override({**SMALL, "corpus": str(folder / "text.txt")}), folder / "run")
    for _ in session.records():
        pass
    with torch.no_grad():
        for name, parameter in session.model.named_parameters():
            if "weight_hh" in name:
                parameter.copy_(GROWTH[request.param] * torch.eye(len(parameter)))
            elif "weight" in name or "bias" in name:
                parameter.copy_(torch.linspace(0.02, 0.1, parameter.numel()).view_as(parameter))
    result = session.close()
    assert result is not None
    (folder / "result.json").write_text(json.dumps(result.metrics(), allow_nan=False), encoding="utf-8")
    return request.param, folder / "run"


def test_the_closing_measurement_says_why_its_figure_is_none_of_a_sound_model(run):
    kind, path = run
    metrics = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
    check(kind, metrics)
    final = json.loads((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert final["kind"] == "final"
    assert final["notes"] == metrics["notes"]
    assert final.get("not_finite") == metrics["not_finite"]


def check(kind: str, metrics: dict[str, Any]) -> None:
    notes = metrics["notes"]
    if kind == "broken":
        assert metrics["perplexity"] is metrics["nll_nats"] is None
        assert metrics["not_finite"] == notes[0]
        assert "until it is not finite" in notes[1]
    else:
        assert metrics["nats_per_token"] > 2 * math.log(50)
        assert ("worse than guessing" in notes[0]) == (metrics["not_finite"] is None)
        assert "The carried state grows: " in notes[1]


def test_eval_says_it_beside_the_figures_and_shows_no_dash(run, cli):
    kind, path = run
    metrics = json.loads(cli("eval", path, "--json", "--threads", 1).stdout)
    check(kind, metrics)
    lines = cli("eval", path, "--threads", 1).stdout.splitlines()
    assert [line.removeprefix("Note: ") for line in lines if line.startswith("Note: ")] == metrics["notes"]
    shown = lines[0].split()[1]
    assert shown in ("nan", "inf") if kind == "broken" else math.isfinite(float(shown.replace(",", "")))
    assert not any(" - " in line for line in lines[:8])


def test_info_repeats_what_the_closing_figure_is_worth(run, cli):
    _, path = run
    shown = cli("info", path).stdout
    assert "Note: The carried state grows" in shown


def test_doctor_measures_the_state_and_the_loss_over_some_hundred_tokens(run, cli):
    kind, path = run
    outcome = cli("doctor", path, "--json")
    assert outcome.code == 1
    checks = {check["name"]: check for check in json.loads(outcome.stdout)["checks"]}
    size, loss = checks["size of the carried state"], checks["loss over position"]
    assert size["status"] == ("failed" if kind == "broken" else "warning")
    assert "The carried state grows" in size["advice"][0]
    assert loss["status"] == "failed"
    assert checks["better than guessing"]["status"] == "warning"


def test_doctor_compares_the_closing_figure_with_guessing():
    def status(*records: dict[str, Any]) -> str:
        return guessing_check(records, vocab_size=10).status

    assert status({"kind": "final", "nats_per_token": 2.3}) == OK
    assert status({"kind": "final", "nats_per_token": 2.31}) == WARNING
    assert status({"kind": "final", "nats_per_token": None}) == WARNING  # as JSON has what is not finite
    assert status({"kind": "evaluation", "nats_per_token": 2.0}) == SKIPPED
