"""The cache of token files: whole entries only, by content, and no stale text."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmkit.config import DataConfig
from lmkit.errors import DataError, FailedError, LmkitWarning
from lmkit.text import build_corpus, cache_folder, encode_path
from lmkit.text.cache import store as cache_module
from lmkit.text.cache import survey as survey_module
from lmkit.text.cache.entry import META_FORMAT
from lmkit.text.cache.sealed import seal, unseal
from lmkit.text.tokenizers.tokenizer import Tokenizer

TEXT = "some text to be kept\n" * 41


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LMKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    settle(path)
    return path


def settle(path):
    """Let the file look a minute old, so that the index trusts it."""
    old = time.time() - 60
    os.utime(path, (old, old))


def build(path, **settings) -> str:
    verify = settings.pop("verify", False)
    corpus = build_corpus(DataConfig(corpus=str(path), **settings), verify=verify)
    return "".join(corpus.tokenizer.decode(split.ids) for split in corpus.splits.values())


def count_readings(monkeypatch) -> list[str]:
    readings: list[str] = []
    read = survey_module._read

    def counting(source, *rest):
        readings.append(source.name)
        return read(source, *rest)

    monkeypatch.setattr(survey_module, "_read", counting)
    return readings


def entries(folder) -> list[str]:
    return sorted(entry.name for entry in (folder / "tokens").iterdir())


def test_a_text_is_tokenised_once(path, folder, monkeypatch):
    readings = count_readings(monkeypatch)
    assert build(path) == TEXT
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    monkeypatch.setattr(Tokenizer, "encode_stream", None)
    assert build(path) == TEXT
    assert readings == ["a"]
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_an_entry_of_an_older_format_without_a_count_is_made_anew(path, folder):
    build(path)
    (meta,) = folder.glob("tokens/*/meta.json")
    whole = meta.read_text(encoding="utf-8")
    splits = unseal(whole, META_FORMAT)["splits"]
    for split in splits.values():
        del split["counts"]["oov_written"]
    meta.write_text(seal(META_FORMAT - 1, {"splits": splits}), encoding="utf-8")
    assert build(path) == TEXT
    assert meta.read_text(encoding="utf-8") == whole
    assert len(entries(folder)) == 1


def test_the_same_text_under_another_name_is_the_same_entry(path, folder, tmp_path):
    build(path)
    build(shutil.copy(path, tmp_path / "b.txt"))
    assert len(entries(folder)) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer": "word"},
        {"vocab_size": 5},
        {"min_count": 100},
        {"documents": "line"},
        {"valid_fraction": 0.2},
        {"split_at": "line"},
    ],
)
def test_another_setting_is_another_entry(path, folder, settings):
    build(path)
    build(path, **settings)
    assert len(entries(folder)) == 2


def test_an_edit_of_the_same_size_is_seen(path):
    build(path)
    edited = TEXT.replace("kept", "lost")
    path.write_text(edited, encoding="utf-8")
    settle(path)
    assert build(path) == edited


def test_a_replaced_file_of_the_same_size_and_time_is_seen(path, tmp_path):
    build(path)
    found = path.stat()
    other = tmp_path / "other"
    edited = TEXT.replace("kept", "lost")
    other.write_text(edited, encoding="utf-8")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(other, path)
    assert build(path) == edited


def test_a_file_that_changed_a_moment_ago_is_read_again(path, monkeypatch):
    path.touch()
    readings = count_readings(monkeypatch)
    build(path)
    build(path)
    assert len(readings) == 2


def test_verify_reads_the_text_again(path, monkeypatch):
    build(path)
    readings = count_readings(monkeypatch)
    monkeypatch.setattr(cache_module.Cache, "find_survey", None)
    assert build(path, verify=True) == TEXT
    assert readings == ["a"]


def test_a_build_that_was_killed_leaves_nothing_that_is_taken_for_whole(path, folder, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", kill)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            build(path)
    (left,) = entries(folder)
    assert left.startswith("building-")
    assert build(path) == TEXT
    assert len(entries(folder)) == 2


def test_what_killed_processes_left_is_removed_after_a_day(path, folder):
    left = folder / "tokens" / "building-old"
    left.mkdir(parents=True)
    (left / "train.ids").write_bytes(b"half")
    fresh = folder / "tokens" / "building-new"
    fresh.mkdir()
    old = time.time() - 2 * cache_module.STALE_SECONDS
    os.utime(left, (old, old))
    build(path)
    assert not left.exists()
    assert fresh.exists()


@contextlib.contextmanager
def said_once(name="a"):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        yield
    assert [str(warning.message) for warning in said] == [f"The token cache of {name} was damaged: made again."]
    assert said[0].category is LmkitWarning


def flip(file, place=-1):
    """Change one bit of one byte."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def without_seals(folder):
    """The cache as the version before the seals wrote it."""
    for file in (folder / "tokenizers").iterdir():
        file.write_text(json.loads(file.read_text())["tokenizer"], encoding="utf-8")
    for file in (folder / "index").iterdir():
        values = json.loads(file.read_text())
        file.write_text(json.dumps({"stamp": values["stamp"], "survey": values["survey"]}), encoding="utf-8")
    for file in folder.glob("tokens/*/meta.json"):
        splits = json.loads(file.read_text())["splits"]
        old = {name: {"counts": split["counts"], "sha256": split["sha256"]} for name, split in splits.items()}
        file.write_text(json.dumps(old), encoding="utf-8")


@pytest.mark.parametrize("damage", ["truncated", "missing", "meta", "starts", "no meta"])
def test_a_damaged_entry_is_written_again(path, folder, damage):
    build(path)
    (entry,) = (folder / "tokens").iterdir()
    if damage == "truncated":
        os.truncate(entry / "train.ids", 10)
    elif damage == "missing":
        (entry / "valid.ids").unlink()
    elif damage == "starts":
        (entry / "test.starts").write_bytes(b"")
    elif damage == "meta":
        (entry / "meta.json").write_text("{", encoding="utf-8")
    else:
        (entry / "meta.json").unlink()
    with said_once():
        assert build(path) == TEXT


def test_damaged_small_files_are_written_again_and_it_is_said_once(path, folder):
    build(path)
    for file in [*(folder / "index").iterdir(), *(folder / "tokenizers").iterdir()]:
        file.write_text("{", encoding="utf-8")
    with said_once():
        assert build(path) == TEXT
    assert all(json.loads(file.read_text(encoding="utf-8")) for file in (folder / "index").iterdir())


@pytest.mark.parametrize("kind", ["tokens/*/train.ids", "tokens/*/valid.starts", "tokens/*/meta.json"])
def test_a_flipped_bit_in_an_entry_is_found(path, folder, kind):
    build(path)
    before = {file.name: file.read_bytes() for file in folder.glob("tokens/*/*")}
    (file,) = folder.glob(kind)
    flip(file, file.read_bytes().find(b'"tokens": ') + 10 if file.suffix == ".json" else -1)
    with said_once():
        assert build(path) == TEXT
    assert {file.name: file.read_bytes() for file in folder.glob("tokens/*/*")} == before
    assert build(path) == TEXT


def test_an_id_beyond_the_vocabulary_is_never_handed_out(path, folder):
    build(path)
    (file,) = folder.glob("tokens/*/train.ids")
    file.write_bytes(b"\xff" * len(file.read_bytes()))
    with said_once():
        assert build(path) == TEXT


def test_changed_counts_in_the_index_move_no_split(path, folder):
    tokens = build_corpus(DataConfig(corpus=str(path))).splits["train"].counts
    (file,) = (folder / "index").iterdir()
    file.write_text(file.read_text().replace(f'"chars": {len(TEXT)}', f'"chars": {len(TEXT) - 100}'))
    with said_once():
        assert build_corpus(DataConfig(corpus=str(path))).splits["train"].counts == tokens


def test_a_changed_token_in_a_kept_tokenizer_is_found(path, folder):
    build(path, tokenizer="word")
    (file,) = (folder / "tokenizers").iterdir()
    file.write_text(file.read_text().replace("kept", "kepu"))
    shutil.rmtree(folder / "tokens")
    with said_once():
        corpus = build_corpus(DataConfig(corpus=str(path), tokenizer="word"))
    assert "kept" in corpus.tokenizer.vocabulary


def test_the_cache_of_an_earlier_version_is_made_again_without_a_word(path, folder):
    build(path)
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    without_seals(folder)
    assert build(path) == TEXT  # a warning would be an error here
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files


def test_a_file_is_hashed_once_in_a_process_unless_it_changes(path, folder, monkeypatch):
    build(path)
    hashed = []
    digest = hashlib.file_digest

    def noting(file, algorithm):
        hashed.append(Path(file.name).name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noting)
    build(path)
    assert hashed == []
    (file,) = folder.glob("tokens/*/train.ids")
    os.utime(file, ns=(1, 1))
    build(path)
    assert hashed == ["train.ids"]


def test_a_text_that_was_encoded_alone_is_checked_too(path, folder):
    tokenizer = build_corpus(DataConfig(corpus=str(path))).tokenizer
    before = encode_path(tokenizer, path).ids.tolist()
    (file,) = folder.glob("tokens/*/text.ids")
    flip(file)
    with said_once():
        assert encode_path(tokenizer, path).ids.tolist() == before


def test_a_folder_that_cannot_be_written_is_replaced_by_a_temporary_one(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert build(path) == TEXT
    assert (tmp_path / "file").read_bytes() == b""


def test_a_full_disk_is_no_mistake_of_the_user(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FailedError, match=r"disk .* is full: free some space, or set LMKIT_CACHE"):
        build(path)


def test_a_file_that_changes_while_it_is_read_is_refused(path, monkeypatch):
    read = survey_module._read

    def slow(*arguments):
        found = read(*arguments)
        path.write_text(TEXT.replace("kept", "lost"), encoding="utf-8")
        return found

    monkeypatch.setattr(survey_module, "_read", slow)
    with pytest.raises(DataError, match="changed while it was read"):
        build(path)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that is open cannot be replaced")
def test_processes_that_build_the_same_entry_at_once_all_succeed(path, folder):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert pool.map(build, [path] * 6) == [TEXT] * 6
    assert len(entries(folder)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_of_those_that_want_the_same_entry_one_builds_it_and_the_others_wait(folder):
    cache, built, coming = cache_module.Cache(), [], threading.Barrier(3)

    def build_slowly(target):
        built.append(target)
        time.sleep(0.2)  # the others are at the lock by now, or will be at an entry that is whole
        (target / "file").touch()

    def want(number):
        coming.wait()
        return cache.entry("key", build_slowly, lambda target: (target / "file").exists())

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(want, range(3))) == {folder / "tokens" / "key"}
    assert len(built) == 1


def test_the_place_of_the_cache_follows_the_platform(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LMKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "lmkit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "lmkit")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "lmkit"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a home is found in other ways")
def test_a_user_without_a_home_has_a_temporary_cache(path, monkeypatch):
    import pwd

    def nobody(uid):
        raise KeyError(uid)

    for name in ("LMKIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert build(path) == TEXT
    assert cache_folder().is_relative_to(tempfile.gettempdir())
    assert entries(cache_folder()) != []
    with pytest.raises(DataError, match=r"no file or folder ~/book\.txt"):
        build("~/book.txt")
