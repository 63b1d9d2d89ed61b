"""Writing: whole or not at all, and trouble said in one line."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.files import HOST, atomic_path, one_line, require_writable, write_json, write_text


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


@pytest.mark.parametrize("error", [
    OSError(errno.EFBIG, os.strerror(errno.EFBIG)), Exception("Error while serializing: I/O error: x (os error 27)"),
])  # fmt: skip
def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path, error: Exception) -> None:
    said = rf"^{tmp_path / 'a'}: larger than this disk, or `ulimit -f`, lets a file be"
    with pytest.raises(UserError, match=said), one_line(tmp_path / "a"):
        raise error
    with pytest.raises(UserError, match="a: the disk is full"), one_line(tmp_path / "a"):
        raise Exception("No space left on device (os error 28)")
    with pytest.raises(KeyError), one_line(tmp_path / "a"):
        raise KeyError("a defect of ours")


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    living = tmp_path / f".a.json.{HOST}-{os.getppid()}.tmp"
    elsewhere = tmp_path / ".a.json.another-host-1.tmp"
    for other in (living, elsewhere):
        other.touch()
    write_text(tmp_path / "a.json", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", living.name, elsewhere.name}


def test_a_process_that_is_killed_as_it_looks_whether_it_can_write_leaves_nothing(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            tempfile.TemporaryFile = killed_once_open  # type: ignore[assignment,misc]
            require_writable(tmp_path, "--out")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


def killed_once_open(**given: object) -> None:
    held = OPEN(**given)  # type: ignore[call-overload]
    assert held
    os.kill(os.getpid(), signal.SIGKILL)


OPEN = tempfile.TemporaryFile
