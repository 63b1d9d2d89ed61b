"""Nothing is waited for without end: a limit each, which the environment sets, and a sentence."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from clipdistill import waits
from clipdistill.errors import UserError
from clipdistill.locks import hold
from clipdistill.models import hub
from clipdistill.runs.engines import slurm_queue
from clipdistill.waits import LIMITS, limit, network_limit, polls, variable


def test_a_limit_is_a_positive_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPDISTILL_WAIT_LOCK", raising=False)
    assert limit("LOCK") == 24 * 3600
    monkeypatch.setenv("CLIPDISTILL_WAIT_LOCK", "2.5")
    assert limit("LOCK") == 2.5
    for wrong in ("0", "-1", "nan", "inf", "an hour"):
        monkeypatch.setenv("CLIPDISTILL_WAIT_LOCK", wrong)
        with pytest.raises(UserError, match=f"^CLIPDISTILL_WAIT_LOCK={wrong}: write seconds, such as 86400$"):
            limit("LOCK")


def test_the_page_names_every_limit() -> None:
    page = (Path(__file__).parent.parent / "docs" / "reliability.md").read_text("utf-8")
    for what, (seconds, why) in LIMITS.items():
        assert f"| `{variable(what)}` | {seconds:,.0f} | {why} |" in page


def test_polls_end_at_the_limit_with_a_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(waits.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(waits.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setenv("CLIPDISTILL_WAIT_LOCK", "5")
    seen = [now[0] for _ in polls("LOCK")]
    assert (
        seen[0] == 100
        and seen[-1] == pytest.approx(105)
        and all(b - a <= 1 for a, b in zip(seen, seen[1:], strict=False))
    )


def test_a_lock_that_is_never_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPDISTILL_WAIT_LOCK", "0.05")
    with hold(tmp_path / ".lock", "", wait=False):
        said = r"store: being written, and has been for 0\.05 seconds \(CLIPDISTILL_WAIT_LOCK sets how many\); see "
        with pytest.raises(UserError, match=said):
            hold(tmp_path / ".lock", "store: being written", wait=True)
    hold(tmp_path / ".lock", "", wait=False).release()  # and the one that gave up holds nothing


@pytest.fixture
def silent_server() -> Any:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/weights.pt"


def test_a_server_that_never_answers(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip.pretrained as theirs

    monkeypatch.setenv("CLIPDISTILL_WAIT_NETWORK", "0.1")
    monkeypatch.setattr(
        theirs, "download_pretrained_from_url", lambda url, cache_dir: theirs.urllib.request.urlopen(url)
    )
    said: list[str] = []

    def fetch() -> None:
        with pytest.raises(UserError) as caught:
            hub.pretrained_file("ViT-B-32:x", {"url": silent_server})
        said.append(str(caught.value))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(30)
    assert said and "couldn't be fetched" in said[0]
    before = socket.getdefaulttimeout()
    with network_limit():
        assert socket.getdefaulttimeout() == 0.1
    assert socket.getdefaulttimeout() == before


def test_a_queue_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPDISTILL_WAIT_NETWORK", "0.05")
    run = subprocess.run
    monkeypatch.setattr(slurm_queue.subprocess, "run", lambda _command, **options: run(["sleep", "60"], **options))
    said = "squeue hasn't answered for 0.05 seconds (CLIPDISTILL_WAIT_NETWORK sets how many); the runs stay with Slurm"
    with pytest.raises(UserError, match=re.escape(said)):
        slurm_queue._squeue()
