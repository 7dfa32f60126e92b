"""What is said of a text before a model is trained on it: once, in one line each, and never in the way."""

import os
import time

import pytest

from lmkit.config import DataConfig
from lmkit.text import build_corpus
from lmkit.text.cache import survey as survey_module
from lmkit.text.sources.chunk import Chunk
from lmkit.text.traits import MEMORISED, RETURNS, TABLE, TraitMeter, Traits

PROSE = "".join(f"This is line {number}, and no other line is the same.\n" for number in range(100))
TABLE_ROWS = "".join(f'{number},"a text, with a comma",{number % 2}\n' for number in range(100))


def notes(path, content: str, **settings) -> tuple[str, ...]:
    path.write_text(content, encoding="utf-8", newline="")
    return build_corpus(DataConfig(corpus=str(path), **settings)).notes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.txt"


def test_of_honest_prose_nothing_is_said(path):
    assert notes(path, PROSE) == ()


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_line_ends_of_windows_are_counted(path, tokenizer):
    content = PROSE.replace("\n", "\r\n")
    assert notes(path, content, tokenizer=tokenizer) == (f"The text has 100 line ends of Windows (\\r\\n). {RETURNS}",)


def test_words_are_read_without_the_line_ends_of_windows(path):
    assert notes(path, PROSE.replace("\n", "\r\n"), tokenizer="word", split_at="line") == ()


def test_a_fifth_of_the_lines_that_comes_again_is_told(path):
    repeated = "".join(PROSE.splitlines(keepends=True)[:25])
    assert notes(path, PROSE + repeated) == (f"20% of the lines of 40 characters or more repeat another. {MEMORISED}",)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_table_is_recognised_by_its_columns(path, separator):
    assert notes(path, TABLE_ROWS.replace(",", separator)) == (f"The text is a table (CSV). {TABLE}",)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_is_recognised_by_its_name(tmp_path, name):
    assert notes(tmp_path / name, PROSE) == (f"The text is a table (CSV). {TABLE}",)


def test_of_the_built_in_corpora_nothing_is_said():
    assert build_corpus(DataConfig(corpus="pydoc")).notes == ()


def test_only_what_is_trained_on_is_looked_at(tmp_path):
    (tmp_path / "train.txt").write_text(PROSE, encoding="utf-8")
    (tmp_path / "test.txt").write_bytes(PROSE.replace("\n", "\r\n").encode())
    assert build_corpus(DataConfig(corpus=str(tmp_path))).notes == ()


@pytest.mark.parametrize("content", [PROSE + PROSE[:2000], TABLE_ROWS, PROSE.replace("\n", "\r\n"), "\r\n" * 9, "\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_traits_do_not_depend_on_the_chunks(content, size):
    def found(chunks) -> Traits:
        meter = TraitMeter()
        assert "".join(chunk.text for chunk in meter.watch("a.txt", map(Chunk.of, chunks))) == content
        return meter.traits

    pieces = [content[begin : begin + size] for begin in range(0, len(content), size)]
    assert found(pieces) == found([content])


def test_the_traits_of_a_text_that_is_known_are_known(path, monkeypatch):
    path.write_text(PROSE + PROSE, encoding="utf-8")
    old = time.time() - 60
    os.utime(path, (old, old))
    first = build_corpus(DataConfig(corpus=str(path))).notes
    assert len(first) == 1
    monkeypatch.setattr(survey_module, "_read", None)
    assert build_corpus(DataConfig(corpus=str(path))).notes == first
