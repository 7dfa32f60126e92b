"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lmkit import files
from lmkit.errors import FailedError
from lmkit.files import default_mode, replace_file, write_atomically


def test_a_file_is_written_and_replaced(tmp_path: Path):
    path = tmp_path / "file.json"
    write_atomically(path, "été\n")
    assert path.read_bytes() == "été\n".encode()
    write_atomically(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_line_ends_stay_as_they_are(tmp_path: Path):
    write_atomically(tmp_path / "file", "a\r\nb\n")
    assert (tmp_path / "file").read_bytes() == b"a\r\nb\n"


@pytest.mark.parametrize("call", ["replace", "fsync", "open"])
def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "open":
        monkeypatch.setattr(files, "open", full, raising=False)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(FailedError, match=r"file: No space left on device\.$") as caught:
        write_atomically(path, "new")
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path], "a temporary file was left behind"


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FailedError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", "text")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_file_has_the_mode_that_the_user_s_mask_gives(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "text")
        assert default_mode(0o777) == 0o750
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
