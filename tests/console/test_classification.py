"""What is shown of classifiers: all of it fits into 80 columns, and the picture shows the probabilities."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.measures.comparison import compare_classifiers
from lmkit.classify.measures.report import evaluate_classifier
from lmkit.classify.prefixes import Prefixes
from lmkit.console import classification, prefixes
from lmkit.console.classification import show_classifier, show_classifier_comparison
from lmkit.console.prefixes import picture, show_prefixes

NAMES = tuple(f"A rather long name of class {number}" for number in range(7))


def labelled(classes: tuple[str, ...], number: int = 1200) -> LabelledTexts:
    labels = np.arange(number) % len(classes)
    texts = tuple(f"word {index} of [bold]a text[/bold] {'and more ' * 20}" for index in range(number))
    return LabelledTexts("test.csv", texts, labels, classes, {}, tuple(range(2, number + 2)))


def log_probs(data: LabelledTexts) -> np.ndarray:
    joint = np.random.default_rng(2).normal(size=(len(data), len(data.classes)))
    joint[np.arange(len(data)), data.labels] += 1.5
    return np.asarray(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch):
    """The lines that a function prints on a terminal of 80 columns."""

    def console(*, file: io.StringIO) -> Console:
        return Console(file=file, width=80, force_terminal=True, color_system=None, highlight=False)

    def lines(show, *arguments) -> list[str]:
        file = io.StringIO()
        show(*arguments, file=file)
        return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in file.getvalue().splitlines()]

    for module in (classification, prefixes):
        monkeypatch.setattr(module, "open_console", console)
    return lines


@pytest.mark.parametrize("classes", [NAMES, NAMES[:2], tuple(map(str, range(30)))], ids=["7", "2", "30"])
def test_a_report_has_every_part_and_fits_a_terminal(shown, classes):
    data = labelled(classes)
    found = evaluate_classifier(data, log_probs(data), training=data.take(range(0, 1200, 3)))
    lines = shown(show_classifier, found)
    *tables, sentences = lines  # the terminal breaks the last line
    assert max(map(cell_len, tables)) <= 80
    text = "\n".join(lines)
    for name in ("accuracy", "naive Bayes", "commonest class", "unseen texts", "macro F1", "calibration error"):
        assert any(line.startswith(name) for line in tables), name
    assert f"{found.measured.confusion.right:,} of 1,200 texts" in text
    assert "without 400 that training had, too" in text
    assert "[bold]a text[/bold]" in text
    assert "Wilson (1927)" in sentences
    if len(classes) == 7:
        first, confusions = found.measured.confusion.counts[0].tolist(), "class, below: said"
        row = lines[next(index for index, line in enumerate(lines) if line.startswith(confusions)) + 1]
        assert row.split()[-7:] == [str(count) if count else "·" for count in first]


def test_a_comparison_names_both_kinds_of_chance(shown):
    right = np.random.default_rng(1).random((6, 500)) < 0.8
    found = compare_classifiers("test.csv", {"runs/a and 2 more": right[:3], "b": right[3:5], "c": right[5:]})
    lines = shown(show_classifier_comparison, found)
    assert [line.split()[0] for line in lines[1:4]] == ["A", "B", "C"]
    assert lines[5].split() == ["over", "texts", "difference", "p", "p,", "Holm"]
    assert lines[6].startswith("B - A") and lines[7].startswith("C - A")
    assert lines[9].startswith("over seeds")
    assert lines[10].startswith("B - A") and lines[11] == ""  # c is one run, which another seed could change
    assert max(map(cell_len, lines[:12])) <= 80


def test_runs_of_one_folder_are_told_apart_by_the_end_of_their_names(shown):
    right = np.random.default_rng(3).random((2, 50)) < 0.9
    names = [f"a/very/long/folder/of/many/runs/lstm-{number}" for number in range(2)]
    lines = shown(
        show_classifier_comparison, compare_classifiers("test.csv", dict(zip(names, right[:, None], strict=True)))
    )
    assert [line.split()[1] for line in lines[1:3]] == [f"…der/of/many/runs/lstm-{number}" for number in range(2)]


def test_two_runs_show_what_each_alone_is_right_on(shown):
    right = np.random.default_rng(1).random((2, 50)) < 0.8
    found = compare_classifiers("test.csv", {"a": right[:1], "b": right[1:]})
    pairs = found.differences[0].pairs
    assert pairs is not None
    assert any(
        f"{pairs.second} right by B alone, {pairs.first} by A alone" in line
        for line in shown(show_classifier_comparison, found)
    )


def test_the_picture_has_a_bar_as_wide_as_the_word_for_each_class():
    shares = np.array([[0.5, 0.5], [0.02, 0.98], [0.75, 0.25]])
    lines = [line for line, _ in picture(("ask", "order"), Prefixes(("what", "time", "is"), np.log(shares)), 80)]
    assert lines == [
        "       what time is",
        "ask    ▄▄▄▄      ▆▆  75.0 %",
        "order  ▄▄▄▄ ████ ▂▂  25.0 %",
    ]


def test_a_long_sentence_goes_on_below_and_the_class_that_is_said_stands_out():
    words = tuple(f"word{number}" for number in range(30))
    lines = list(picture(NAMES[:3], Prefixes(words, np.log(np.full((30, 3), 1 / 3))), 60))
    assert max(cell_len(line) for line, _ in lines) <= 60
    assert [word for line, _ in lines for word in line.split() if word.startswith("word")] == list(words)
    assert [line for line, stands_out in lines if stands_out] == [line for line, _ in lines[1::4]]
    assert [line.endswith("33.3 %") for line, _ in lines] == [False] * (len(lines) - 3) + [True] * 3


def test_of_many_classes_the_picture_shows_the_likeliest():
    shares = np.full((1, 12), 0.01)
    shares[0, 11] = 0.89
    lines = [line for line, _ in picture([f"c{number}" for number in range(12)], Prefixes(("go",), np.log(shares)), 80)]
    assert lines[-1] == "(2 more classes, none above 1.0 %)"
    assert lines[-2] == "c11  ▇▇  89.0 %"
    assert len(lines) == 12


def test_a_word_cannot_steer_the_terminal(shown):
    lines = shown(show_prefixes, ("a", "b"), Prefixes(("x\x1b[2J", "[bold]"), np.log([[0.5, 0.5]] * 2)))
    assert "\x1b" not in "".join(lines)
    assert "[bold]" in lines[0]
