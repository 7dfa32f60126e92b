"""From what a person types to documents of strict UTF-8."""

import gzip
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import CorpusError, DataError
from lmkit.text.sources.opening import open_source
from lmkit.text.sources.reading import NO_TEXT, decode_chunks
from lmkit.text.sources.source import WHOLE

TEXT = "Zeile 1\r\nline 2\rNUL \0 BOM \ufeff \x85 😀 é\n"


def read(name, stdin=None) -> dict[str, list[tuple[str, str]]]:
    with open_source(str(name), stdin=stdin) as source:
        return {
            part: [(document.name, "".join(document.chunks())) for document in documents]
            for part, documents in source.parts.items()
        }


def message(name, error=DataError) -> str:
    with pytest.raises(error) as caught:
        read(name)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_is_read_with_its_line_endings_untouched(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode())
    assert read(path) == {WHOLE: [("a.txt", TEXT)]}


def test_a_gz_file_is_the_text_inside(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert read(path) == {WHOLE: [("a.txt.gz", TEXT)]}


def test_standard_input_is_read_as_it_comes():
    assert read("-", io.BytesIO(TEXT.encode())) == {WHOLE: [("standard input", TEXT)]}


def test_a_zst_file_is_read_where_a_decoder_is_installed(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress(TEXT.encode()))
    assert read(path) == {WHOLE: [("a.txt.zst", TEXT)]}
    path.write_bytes(b"nonsense")
    assert "damaged or incomplete .zst" in message(path)


def test_a_zst_file_without_a_decoder_says_what_to_do(tmp_path, monkeypatch):
    import importlib

    def missing(name):
        raise ImportError(name)

    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"")
    monkeypatch.setattr(importlib, "import_module", missing)
    assert "unpack it first, or pip install zstandard" in message(path)


@pytest.mark.parametrize("valid", ["valid.txt", "val.txt", "validation.txt", "valid.txt.gz", "wiki.valid.tokens"])
def test_a_folder_with_splits_is_not_cut(tmp_path, valid):
    pack = gzip.compress if valid.endswith(".gz") else bytes
    (tmp_path / "train.txt").write_bytes(b"training")
    (tmp_path / valid).write_bytes(pack(b"validation"))
    (tmp_path / "test.txt").write_bytes(b"test")
    (tmp_path / "README").write_bytes(b"\xff")
    expected = {"train": [("train.txt", "training")], "valid": [(valid, "validation")], "test": [("test.txt", "test")]}
    assert read(tmp_path) == expected


def test_a_folder_of_files_is_read_in_the_order_of_their_names(tmp_path):
    for name in ("b/z.txt", "b/a.md", "a.txt", ".hidden.txt", ".git/c.txt", "c.txt.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        content = path.relative_to(tmp_path).as_posix().encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\xff")
    names = ["a.txt", "b/a.md", "b/z.txt", "c.txt.gz"]
    assert read(tmp_path) == {WHOLE: [(name, name) for name in names]}
    with open_source(str(tmp_path)) as source:
        assert source.info == {"files": 4, "skipped": ["image.png"]}


def test_a_txt_file_in_a_folder_is_never_skipped(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine")
    (tmp_path / "b.txt").write_bytes(b"not \xff fine")
    assert "b.txt is not UTF-8 at byte offset 4" in message(tmp_path)


def test_two_files_for_one_split_are_refused(tmp_path):
    for name in ("train.txt", "valid.txt", "val.txt"):
        (tmp_path / name).write_bytes(b"a")
    assert "both valid.txt and val.txt" in message(tmp_path)


def test_a_folder_with_a_test_file_alone_is_refused(tmp_path):
    (tmp_path / "test.txt").write_bytes(b"a")
    assert "test.txt but no train.txt" in message(tmp_path)


def test_a_folder_without_text_is_refused(tmp_path):
    assert "holds no text files" in message(tmp_path)


@pytest.mark.parametrize("at", [0, 5, (1 << 20) - 1, (1 << 20) + 7])
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_bad_utf8_is_named_with_its_file_and_byte_offset(tmp_path, at, suffix):
    path = tmp_path / f"a{suffix}"
    content = "é".encode() * at
    content = content[: at - at % 2] + b"x" * (at % 2) + b"\xff" + b"rest"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    found = message(path)
    assert f"a{suffix} is not UTF-8 at byte offset {at}, line 1:" in found
    assert "0xff" in found


def test_a_character_cut_off_at_the_end_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("aé".encode()[:-1])
    assert "byte offset 1" in message(path)


def test_utf16_is_recognised(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello", encoding="utf-16")
    assert "looks like UTF-16" in message(path)


@given(text=st.text(), sizes=st.lists(st.integers(1, 4)))
def test_decoding_in_blocks_is_decoding_the_whole(text, sizes):
    data = text.encode()
    blocks, place = [], 0
    for size in sizes:
        blocks.append(data[place : place + size])
        place += size
    blocks.append(data[place:])
    assert "".join(decode_chunks(blocks, "name")) == text


@given(data=st.binary().filter(lambda data: not data.startswith(tuple(NO_TEXT))), size=st.integers(1, 4))
def test_the_offset_of_bad_bytes_does_not_depend_on_the_blocks(data, size):
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        with pytest.raises(DataError, match=f"byte offset {error.start}, line {line}:"):
            list(decode_chunks(blocks, "name"))
    else:
        assert "".join(decode_chunks(blocks, "name")) == text


def test_a_document_of_another_kind_in_a_folder_is_skipped(tmp_path):
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    (tmp_path / "b.rtf").write_bytes(b"{\\rtf1 text}")
    with open_source(str(tmp_path)) as source:
        assert [document.name for document in source.parts[WHOLE]] == ["a.txt"]
        assert source.info["skipped"] == ["b.rtf"]


def test_a_truncated_gz_is_an_error(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(1000).hex().encode())[:-20])
    assert "damaged or incomplete .gz" in message(path)
    path.write_bytes(b"not gzip")
    assert "damaged or incomplete .gz" in message(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a")
    path.chmod(0)
    assert "is not readable" in message(path)


def test_permission_errors_are_told_in_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    assert "is not readable: check its permissions" in message(path)


def test_a_file_or_folder_inside_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.md").write_bytes(b"a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert "a.md is not readable" in message(tmp_path)
    scan = os.scandir

    def refuse(place):
        if str(place) == str(inner):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "inner is not readable" in message(tmp_path)


@pytest.mark.parametrize("name", ["./book", "/nowhere/at/all", "~/nothing-there", "a/b/c", "bok.txt", "data/bok.txt"])
def test_a_mistyped_path_fails_at_once_as_a_missing_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message(name).startswith(f"There is no file or folder {name}:")


def test_a_mistyped_path_names_the_file_that_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shakespeare").write_bytes(b"a")
    assert message("data/shakespear").endswith(f"did you mean {os.path.join('data', 'shakespeare')}?")


def test_an_unknown_name_suggests_close_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean pydoc?" in message("pydocs", CorpusError)
    assert "known are pydoc, python-stdlib" in message("qqqq", CorpusError)


@pytest.mark.parametrize(
    "name", ["copy:" + "9" * 20, "copy:" + "9" * 5000, "markov:0", "markov:-3", "copy:many", "brackets:1.5"]
)
def test_a_generated_corpus_needs_a_whole_length(name):
    assert "whole number of characters" in message(name, CorpusError)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *(("recall:0", "a lag from 1 to 10,000"), ("recall:50:x", "a lag from"), ("recall::300", "a lag from")),
        *(("alphabet:sideways", "forward, backward, both, from-letter"), ("anbn:5-3", "the largest number of a")),
        *(
            ("agreement:-1", "words between"),
            ("recall:500:100", "lines of up to 504 characters: ask for a longer text"),
        ),
    ],
)
def test_a_generated_corpus_needs_its_setting(name, what):
    assert what in message(name, CorpusError)


def test_pydoc_is_one_document_of_prose_and_always_the_same():
    (first,) = read("pydoc")[WHOLE]
    assert first == read("pydoc")[WHOLE][0]
    assert 300_000 < len(first[1]) < 1_000_000
    assert "\n\n" in first[1]
    assert first[1].endswith("\n")


def test_the_standard_library_has_many_documents_without_tests_and_packages():
    with open_source("python-stdlib") as source:
        names = [document.name for document in source.parts[WHOLE]]
    assert names == sorted(names)
    assert {"json/decoder.py", "os.py"} <= set(names)
    assert not [name for name in names if {"test", "tests", "idlelib", "site-packages"} & set(name.split("/")[:-1])]
