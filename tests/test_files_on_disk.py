"""Writing: whole or not at all, and trouble said in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.files import atomic_path, require_writable, write_json, write_text


def test_a_file_appears_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"ä": [1]})
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == '{\n  "ä": [\n    1\n  ]\n}\n'
    write_text(tmp_path / "new" / "a.json", "other")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(errno.ENOENT, "another file")])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "disk is full"),
        (OSError(errno.EDQUOT, "x"), "disk is full"),
        (OSError(errno.EIO, "x"), "input/output errors"),
        (OSError(errno.EROFS, "x"), "read-only, perhaps since it gave errors"),
        (OSError(errno.EACCES, "Permission denied"), "can't be written (Permission denied)"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), "disk is full"),
    ],
)
def test_trouble_in_words(tmp_path: Path, error: Exception, words: str) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(UserError) as raised, atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert words in str(raised.value) and str(path) in str(raised.value) and os.listdir(tmp_path) == []


def test_a_disk_that_became_read_only_amid_a_file_is_told_though_nothing_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(UserError, match=r"a\.txt: the disk is read-only"):
        write_text(tmp_path / "a.txt", "x")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(UserError, match="can't be written"):
        write_text(tmp_path, "x")
    with pytest.raises(UserError, match=f"--out .*{tmp_path / 'file'} is a file"):
        require_writable(tmp_path / "file" / "run" / "deep", "--out")
    with pytest.raises(UserError, match="--out /proc/x"):
        require_writable("/proc/x", "--out")
    require_writable(tmp_path / "file", "--json")
    require_writable(tmp_path / "not" / "yet", "--out")
    assert os.listdir(tmp_path) == ["file"]
