"""The doctor knows runs of classifiers: a sound one passes, and what is wrong with another is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lmkit.classify.training.kind import CLASSIFIERS
from lmkit.classify.training.options import configure
from lmkit.doctor.check import FAILED, OK, SKIPPED, Check
from lmkit.doctor.run.classifier import better_than_guessing, classifier_checks
from lmkit.doctor.run.run import check_run
from lmkit.model.classifier import Classifier
from lmkit.model.pooling import running
from lmkit.session.session import Session
from lmkit.text import CharacterTokenizer
from tests.runs import SMALL, labelled_csv


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(labelled_csv(), encoding="utf-8")
    options = {**SMALL, "corpus": str(tmp_path / "train.csv"), "max_steps": 30, "lr": 0.02}
    with Session.begin(configure(options), tmp_path / "run", kind=CLASSIFIERS, warn=pytest.fail) as session:
        list(session.records())
        session.close()
    return tmp_path / "run"


def failed(checks: Any) -> set[str]:
    return {check.name for check in checks if check.status == FAILED}


def test_a_run_that_nobody_touched_passes_and_changed_labels_are_found(run: Path):
    found: list[Check] = list(check_run(run, "cpu"))
    assert {check.status for check in found} == {OK}
    assert {"labelled texts", "texts are independent", "word by word = whole text"} <= {check.name for check in found}
    data = run.parent / "train.csv"
    lines = data.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].rpartition(",")[0] + (",dog" if lines[1].endswith("cat") else ",cat")
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert failed(check_run(run, "cpu")) == {"labelled texts"}
    data.unlink()
    checks = {check.name: check for check in check_run(run, "cpu")}
    assert (checks["labelled texts"].status, checks["probabilities sum to one"].status) == (SKIPPED, OK)


def lose_state(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A network that begins each window anew."""

    def outputs(self: Classifier, tokens: torch.Tensor, state: Any) -> Any:
        return plain(self, tokens, self.initial_state(len(tokens)))

    return outputs


def mix_rows(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A network whose rows see each other."""

    def outputs(self: Classifier, tokens: torch.Tensor, state: Any) -> Any:
        found, state = plain(self, tokens, state)
        return found + found.mean(dim=1, keepdim=True), state

    return outputs


def make(*, resets: bool = False) -> Classifier:
    model = Classifier(configure({"hidden_size": 8}).model, 20, 3, "concat", 256, resets=resets)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


TOKENIZER = CharacterTokenizer([*("<unk>", "<eos>"), *"abcdefghijklmnopqr"])
PROBES = ["abcabcabcabc", "bb", "cdefghijkl"]


@pytest.mark.parametrize(
    ("damage", "names"),
    [(lose_state, {"windows = one pass"}), (mix_rows, {"texts are independent", "windows = one pass"})],
)
def test_a_network_that_is_broken_is_found(monkeypatch: pytest.MonkeyPatch, damage: Any, names: set[str]):
    model = make()
    assert failed(classifier_checks(model, TOKENIZER, [])) == set()
    monkeypatch.setattr(Classifier, "outputs", damage(Classifier.outputs))
    assert failed(classifier_checks(model, TOKENIZER, PROBES)) == names


def test_windows_that_begin_anew_are_held_against_each_read_by_itself(monkeypatch: pytest.MonkeyPatch):
    model = make(resets=True)
    assert failed(classifier_checks(model, TOKENIZER, PROBES)) == set()
    monkeypatch.setattr("lmkit.model.classifier.running", lambda outputs, before: running(outputs, None))
    assert failed(classifier_checks(model, TOKENIZER, PROBES)) == {"windows = each by itself"}


@pytest.mark.parametrize(("nats", "status"), [(0.5, "ok"), (1.2, "warning"), (None, "warning")])
def test_a_closing_loss_is_held_against_guessing(nats: float | None, status: str):
    assert better_than_guessing([{"kind": "final", "nats_per_document": nats}], 1.0986).status == status
    assert better_than_guessing([{"kind": "evaluation", "nats_per_document": nats}], 1.0986).status == SKIPPED
