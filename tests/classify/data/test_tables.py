"""Tables: what is read is what stands in the file, whatever its format; what is no table is refused with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.classify.data.formats import FORMATS, LONGEST_CELL, lines_of
from lmkit.classify.data.table import Table, form_of, read_table
from lmkit.errors import DataError

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@pytest.fixture
def table(tmp_path: Path):
    """A file of this content, read."""

    def read(name: str, content: str | bytes, form: str | None = None) -> Table:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return read_table(path, form)

    return read


@pytest.fixture
def refused(table):
    """The sentence with which such a file is refused, without the name of its folder."""

    def sentence(name: str, content: str | bytes, form: str | None = None) -> str:
        with pytest.raises(DataError) as error:
            table(name, content, form)
        return name + str(error.value).partition(name)[2]

    return sentence


def test_quotes_and_line_ends_stand_inside_cells(table):
    found = table("a.csv", 'text,label\n"say ""hi"", then\ngo",x\nplain,y\n')
    assert found.columns == {"text": ('say "hi", then\ngo', "plain"), "label": ("x", "y")}
    assert found.lines == (2, 4)  # the second row begins after the line end inside the first


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(table, end, last):
    lines = ["\ufefftext, label", "", "a b,x", "", "c,y"]
    found = table("a.csv", end.join(lines) + (end if last else ""))
    assert found.columns == {"text": ("a b", "c"), "label": ("x", "y")}
    assert found.lines == (3, 5)


def test_tsv_has_no_quotes(table):
    found = table("a.tsv", 'text\tlabel\n"open\tx\r\na "b" c\ty\n')
    assert found.columns == {"text": ('"open', 'a "b" c'), "label": ("x", "y")}


def test_json_lines_keep_digits_and_lack_what_they_lack(table):
    found = table("a.jsonl", '{"text": "a", "label": 1.00}\n\n{"label": true, "text": "b", "id": [7, "x"]}\n')
    assert found.columns == {"text": ("a", "b"), "label": ("1.00", "true"), "id": ("", '["7", "x"]')}
    assert found.lines == (1, 3)


def test_a_text_a_line(table):
    found = table("a.txt", "one two\n\n three\n")
    assert (found.columns, found.lines) == ({"text": ("one two", " three")}, (1, 3))


def test_compressed_files_are_what_they_hold(table):
    plain = "text,label\na,x\n"
    assert table("a.csv.gz", gzip.compress(plain.encode())).columns == table("a.csv", plain).columns


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("a.b.TSV", "tsv"), ("x/a.jsonl.gz", "jsonl"), ("a.ndjson", "jsonl"), ("a.txt.zst", "lines")],
)
def test_the_name_says_the_format(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "-", "a.json"])
def test_a_name_that_says_no_format_is_refused(name):
    with pytest.raises(DataError, match="its format as --input-format"):
        form_of(name)


@given(st.lists(st.tuples(CELLS, CELLS.filter(str.strip)), min_size=1, max_size=6), st.integers(1, 40))
def test_what_csv_and_json_write_is_read_again(rows, size):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("text", "label"), *rows])
    objects = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    for form, content in (("csv", written.getvalue()), ("jsonl", objects)):
        chunks = [content[begin : begin + size] for begin in range(0, len(content), size)]
        found = [tuple(row.cells.values()) for row in FORMATS[form](lines_of(chunks, "it"), "it")]
        assert found == rows


def test_a_cell_may_be_long_and_not_endless(table, refused):
    long = "x" * (csv.field_size_limit() + 1)
    assert table("a.csv", f'text,label\n"{long}",y\n').columns["text"] == (long,)
    endless = "x " * (5 * 2**20)
    assert f"line 3: a cell has more than {LONGEST_CELL:,}" in refused("a.csv", f'text,label\na,b\n"{endless}",y\n')
    assert f"line 2: a cell has {len(endless):,} characters" in refused("a.tsv", f"text\tlabel\n{endless}\ty\n")
    assert csv.field_size_limit() == len(long) - 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "", "a.csv has no rows below its first line."),
        ("a.csv", "text,label\n", "a.csv has no rows below its first line."),
        ("a.csv", "text,label\na,b\nc\n", "line 3: the row has 1 column, and the first line names 2: text, label."),
        ("a.csv", "text;label\na, b;c\n", "names 1: text;label. Separate columns with commas, not with ';'."),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "line 2: the row has 3 columns, and the first line names 2"),
        ("a.csv", "text,text\na,b\n", "line 1: two columns are called 'text'"),
        ("a.csv", 'text,label\na,b\n"c,d\n', "line 3: a quote opens there and is never closed."),
        ("a.csv", 'text,label\n"a"b,c\n', "line 2: a quote ends before its cell does"),
        ("a.csv", "text,label\ra,b\r", "line 1: a carriage return stands alone"),
        ("a.csv", "text,label\na\0,b\n", "line 2: it holds a NUL byte"),
        ("a.csv", b"text,label\na,b\n\xff\xfe,d\n", "is not UTF-8 at byte offset 15, line 3: byte 0xff"),
        ("a.csv", b"PK\x03\x04word", "a.csv is a zip archive"),
        ("a.csv.gz", b"no gzip", "is a damaged or incomplete .gz file"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2: it is not JSON (Expecting value): one object a line."),
        ("a.jsonl", '["a", "b"]\n', "line 1: it is no JSON object such as"),
        ("a.jsonl", "[" * 9999 + "\n", "line 1: it is not JSON ("),
        ("a.jsonl", '{"text": "\\ud800"}\n', "line 1: half of a surrogate pair stands alone"),
        ("a.txt", "\n \n", "a.txt has no rows."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "bytes",
)
def test_what_is_no_table_is_refused_with_its_line(refused, name, content, sentence):
    assert sentence in refused(name, content)


def test_a_column_that_is_not_there_comes_with_those_that_are(table):
    found = table("a.csv", "sentence,intent\na,b\n")
    with pytest.raises(DataError, match=r"no column 'text': its columns are 'sentence', 'intent'.*--text-column"):
        found.column("text", "--text-column")


def test_other_separators_are_recognised(table):
    with pytest.raises(DataError, match=r"only column is 'text;label'\. Separate columns with commas, not with ';'"):
        table("a.csv", "text;label\na;b\n").column("text", "--text-column")


def test_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"did you mean .*train\.csv"):
        read_table(tmp_path / "tran.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path / "folder.csv")


def test_lines_do_not_depend_on_chunks():
    text = "\ufeffone\ntwo\r\n\nthree"
    whole = list(lines_of([text], "it"))
    assert whole == ["one\n", "two\r\n", "\n", "three"]
    assert all(list(lines_of([text[:cut], text[cut:]], "it")) == whole for cut in range(1, len(text)))
