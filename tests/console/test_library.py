"""lmkit.train and lmkit.resume: the text comes first, options complete, and the display is that of the command line."""

from __future__ import annotations

import dataclasses
import inspect
import io
import typing
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.config import PLACEMENT, RESUMABLE, Config
from lmkit.console.options import Changes, Options, OptionsOfClassifiers
from lmkit.fields import fields_of
from tests import runs

TEXT = "The cat sat on the mat.\nThe dog ran to the tree.\n" * 60
SMALL: dict[str, Any] = {**runs.SMALL, "max_steps": 2}


def fields() -> dict[str, tuple[Any, Any]]:
    """Every field of the configuration: its type and its default."""
    sections = [type(getattr(Config(), section.name)) for section in dataclasses.fields(Config)]
    return {item.name: (hint, item.default) for section in sections for item, hint in fields_of(section)}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lm(work: Path) -> lmkit.TrainedModel:
    return lmkit.train("text.txt", quiet=True, **SMALL)


# Options


def test_the_types_of_options_are_the_configuration():
    known = {name: hint for name, (hint, _) in fields().items()}
    assert {"corpus": str, **typing.get_type_hints(Options)} == known
    changes = typing.get_type_hints(Changes)
    assert changes == {name: known[name] for name in ("corpus", *RESUMABLE, *PLACEMENT)}


def test_the_types_of_a_classifiers_options_are_those_that_it_takes():
    config = lmkit.ClassifierConfig()
    sections = {one.name: type(getattr(config, one.name)) for one in dataclasses.fields(config)}
    fields = [(name, item.name, hint) for name, section in sections.items() for item, hint in fields_of(section)]
    taken = {name: hint for section, name, hint in fields if config.takes(section, name)}
    assert {"corpus": str, "classes": taken["classes"], **typing.get_type_hints(OptionsOfClassifiers)} == taken
    parameters = inspect.signature(lmkit.train_classifier).parameters
    assert (parameters["window"].default, parameters["tokenizer"].default) == (256, "word")


def test_a_classifier_is_trained_and_resumed_and_classifies(work: Path):
    (work / "train.csv").write_text(runs.labelled_csv(), encoding="utf-8")
    classifier = lmkit.train_classifier("train.csv", quiet=True, out="run", max_steps=20, lr=0.02, **runs.SMALL)
    again = lmkit.resume("run", quiet=True, max_steps=30)
    assert isinstance(again, lmkit.TrainedClassifier)
    assert classifier.classes == again.classes == ("cat", "dog", "hen")
    whole = lmkit.train_classifier("train.csv", quiet=True, out="whole", max_steps=30, lr=0.02, **runs.SMALL)
    texts = ["the dog barks", "an egg on the hen", "cat"]
    assert again.classify(texts).shape == whole.classify(texts).shape == (3, 3)
    prefixes = again.classify_prefixes("the dog  barks")
    assert prefixes.words == ("the", "dog", "barks")
    expected = again.classify(["the", "the dog", "the dog  barks"])
    assert prefixes.log_probs == pytest.approx(expected, abs=1e-5)
    with pytest.raises(lmkit.DataError, match="Text 1 is empty"):
        again.classify(["a", " "])
    with pytest.raises(lmkit.DataError, match="not one text"):
        again.classify("the dog")


def test_the_signatures_show_the_options_with_their_defaults_and_their_help():
    parameters = inspect.signature(lmkit.train).parameters
    assert [one.name for one in parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD] == ["corpus"]
    for name, (_, default) in fields().items():
        if name != "corpus":
            assert (parameters[name].kind, parameters[name].default) == (inspect.Parameter.KEYWORD_ONLY, default)
            assert f"{name}: " in (inspect.getdoc(lmkit.train) or "")
    assert set(inspect.signature(lmkit.resume).parameters) >= {*RESUMABLE, "allow_inexact", "quiet"}


# Training


def test_the_text_comes_first(lm: lmkit.TrainedModel, work: Path):
    assert lm.run is not None
    assert lm.run.path == Path("runs/text-1")
    assert lm.config.data.corpus == str(work / "text.txt")
    assert lmkit.train(work / "text.txt", quiet=True, **SMALL).sample(length=9) == lm.sample(length=9)


def test_all_else_is_given_by_name(work: Path):
    with pytest.raises(TypeError):
        lmkit.train("text.txt", "run")  # type: ignore[call-arg]
    assert not (work / "run").exists()


def test_a_missing_text_is_an_error_that_leaves_nothing_behind(work: Path):
    before = set(work.rglob("*"))
    with pytest.raises(lmkit.DataError, match=r"did you mean text\.txt\?"):
        lmkit.train("tex.txt", **SMALL)
    assert set(work.rglob("*")) == before


def test_a_configuration_keeps_its_text_unless_another_is_given(work: Path):
    config = Config().override({"corpus": "text.txt", **SMALL})
    lm = lmkit.train(config=config, quiet=True, hidden_size=9)
    assert (lm.config.data.corpus, lm.config.model.hidden_size) == (str(work / "text.txt"), 9)


# The display


def test_a_training_is_shown_as_on_the_command_line(work: Path, capfd: pytest.CaptureFixture[str]):
    lmkit.train("text.txt", **SMALL)
    shown = capfd.readouterr()
    assert shown.out == ""
    for words in ("text: char tokens", "lstm 1 x 8", "step      2", "trained 2 steps", "test perplexity"):
        assert words in shown.err
    lmkit.resume("runs/text-1", max_steps=3)
    assert "resumed at step 2" in capfd.readouterr().err


def test_a_quiet_training_shows_nothing(lm: lmkit.TrainedModel, capfd: pytest.CaptureFixture[str]):
    assert lm.run is not None
    lmkit.resume(lm.run.path, quiet=True)
    assert capfd.readouterr() == ("", "")


class NotebookStream(io.StringIO):
    """As ipykernel's: it says that it is a terminal."""

    __module__ = "ipykernel.iostream"

    def isatty(self) -> bool:
        return True


def test_in_a_notebook_the_display_is_plain_text_on_standard_output(work: Path, monkeypatch: pytest.MonkeyPatch):
    """There standard error is red, and each print of rich's own support for notebooks is a box of HTML."""
    shown, red = NotebookStream(), NotebookStream()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setattr("sys.stderr", red)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("lmkit.console.terminal.progress.PATIENCE", 0.0)
    lmkit.train("text.txt", **SMALL)
    assert "trained 2 steps" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()
    assert "\r" not in shown.getvalue()
    assert red.getvalue() == ""


# What a name alone shows


def test_a_model_says_what_it_is(lm: lmkit.TrainedModel):
    shown = repr(lm)
    for words in (
        "lstm 1 x 8",
        "char tokens",
        f"vocabulary {lm.tokenizer.vocab_size}",
        "runs/text-1",
        "test perplexity",
    ):
        assert words in shown
    assert f"{sum(one.numel() for one in lm.model.parameters()):,} parameters" in shown
    assert "perplexity" not in repr(lmkit.TrainedModel(lm.model, lm.tokenizer, lm.config))


def test_a_model_whose_run_has_no_figures_says_what_is_known(lm: lmkit.TrainedModel):
    assert lm.run is not None
    for content in ("", '{"kind": "final"}\n', '{"kind": "final", "perplexity": "x"}\n'):
        (lm.run.path / "metrics.jsonl").write_text(content, encoding="utf-8")
        assert repr(lm).endswith("runs/text-1>")
    (lm.run.path / "metrics.jsonl").unlink()
    assert repr(lm).endswith("runs/text-1>")


def test_tokenizers_and_evaluations_say_what_they_are(lm: lmkit.TrainedModel):
    assert repr(lm.tokenizer) == f"<CharacterTokenizer: char tokens, vocabulary {lm.tokenizer.vocab_size}>"
    result = lm.evaluate("The cat.")
    assert f"perplexity {result.perplexity:.4g}" in repr(result)
    assert "8 tokens" in repr(result)
    assert "nan" in repr(lmkit.Evaluation())


def test_a_comparison_is_a_table(lm: lmkit.TrainedModel):
    found = lmkit.compare([lm, lm], text=TEXT)
    for shown in (repr(found), found._repr_html_()):
        for words in (
            "perplexity",
            "nats per token",
            "+0.0000",
            *(run.bits_per_byte.shown(".4f") for run in found.runs),
        ):
            assert words in shown
    named = dataclasses.replace(found.runs[0], name="<b>")
    assert "&lt;b&gt;" in dataclasses.replace(found, runs=[named, *found.runs[1:]])._repr_html_()
