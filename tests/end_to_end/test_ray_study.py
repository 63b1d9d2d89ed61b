"""Studies on Ray with real processes: shared stores, a worker killed in mid-run, a run that fails, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from halting_task import pid_in, steps_in, until

from clipdistill.locks import hold
from clipdistill.stores import TeacherStore

pytest.importorskip("ray", reason="the extra [cluster] isn't installed")
HERE = str(Path(__file__).parent)


@pytest.fixture
def grid(recipe: Path, teacher: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cells that halt, with one store between them, and one whose teacher can't be opened."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "broken").mkdir()
    config = (teacher / "open_clip_config.json").read_text()
    (tmp_path / "broken" / "open_clip_config.json").write_text(config)
    (tmp_path / "broken" / "open_clip_model.safetensors").write_bytes(b"broken")
    places = {name: f"task.place={tmp_path}/places/{name}" for name in ("a", "b")}
    content: dict[str, Any] = {
        "title": "Halting", "recipe": str(recipe), "seeds": 1,
        "set": [
            "task.method=halting_task:Halting",
            f"evaluate=[{{suite: zero_shot, data: '{world / 'zero_shot' / 'unseen'}', templates: petri}}]",
        ],
        "axes": {
            "cell": {
                "levels": {
                    "a": [places["a"]], "b": [places["b"], "train.lr=0.002"],
                    "c": [f"teachers.0.model={tmp_path / 'broken'}", f"teachers.0.store={tmp_path}/stores/broken"],
                }
            }
        },
    }  # fmt: skip
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_workers_share_a_store_and_one_that_is_killed_loses_only_what_was_not_saved(
    command: Command, grid: Path, tmp_path: Path
) -> None:
    out, places = tmp_path / "study", tmp_path / "places"
    logs = {name: out / "logs" / f"cell={name}" / "seed-0.log" for name in "abc"}
    store = hold(tmp_path / "store" / "shard-00000-of-00001" / ".lock", "", wait=False)
    killed: list[int] = []

    def disturb() -> None:
        for name in "ab":  # both are at work, and wait for the store
            until(lambda name=name: logs[name].exists() and "waiting for it" in logs[name].read_text())
        store.release()
        killed.extend(pid_in(places / name / "halted") for name in "ab")  # both have it, and train at the same time
        os.kill(killed[0], signal.SIGKILL)
        (places / "b" / "go").touch()

    thread = threading.Thread(target=disturb)
    thread.start()
    said = command("study", grid, "--out", out, "--engine", "ray", "--workers", "2")
    store.release()
    thread.join()

    assert said.code == 2 and said.err.count("study: failed") == 1, said.err[-2000:]
    assert "study: 1 of 3 runs failed; the first: cell=c, seed 0" in said.err and "broken" in said.err
    assert len(TeacherStore.open(tmp_path / "store").ids) == 48
    first, second = steps_in(places / "a"), steps_in(places / "b")
    # The checkpoint of step 2 was kept; steps 3 and 4 of the killed worker were made again, by another.
    assert list(first) == [killed[0], list(first)[1]] and list(first.values()) == [4, 4]
    assert second == {killed[1]: 6} and killed[0] != killed[1]
    for name in "ab":
        run = out / f"cell={name}" / "seed-0"
        assert steps(run) == [1, 2, 3, 4, 5, 6] and (run / "evaluation.json").is_file()
    assert logs["a"].read_text().count("study: cell=a, seed 0: on ") == 2
    found = json.loads((out / "grid.json").read_text())["cells"]
    assert [bool(each["seeds"]) for each in found] == [True, True, False] and "broken" in found[2]["failed"]

    # The same command without an engine finds them done: an engine leaves what a process alone leaves.
    said = command("study", grid, "--only", "cell=a", "--only", "cell=b", "--out", out)
    assert said.code == 0 and "of 2:" not in said.out, said.err[-2000:]
    assert len(steps_in(places / "a")) == 2


def test_a_signal_leaves_a_checkpoint_of_the_step_that_it_came_in(grid: Path, tmp_path: Path) -> None:
    out, place = tmp_path / "study", tmp_path / "places" / "a"
    arguments = ["study", grid, "--only", "cell=a", "--out", out, "--engine", "ray", "--workers", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "clipdistill.cli", *map(str, arguments)], text=True, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            pid_in(place / "halted")
            # SIGTERM, which means the same: what a shell starts in the background ignores SIGINT.
            process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                if "each writes a checkpoint first" in line:
                    break
            until((place / "asked_to_stop").exists)
            (place / "go").touch()
            said = process.communicate()[1]
        finally:
            process.kill()
    assert process.returncode == 130, said[-2000:]
    assert said.strip().endswith("stopped; 1 of 1 runs aren't done; go on with the same command")
    assert steps(out / "cell=a" / "seed-0") == [1, 2, 3, 4]
    assert (out / "cell=a" / "seed-0" / "checkpoints" / "step-00000004.pt").is_file()


def test_what_no_machine_has_is_refused(command: Command, grid: Path, tmp_path: Path) -> None:
    arguments = ["study", grid, "--only", "cell=a", "--out", tmp_path / "study", "--engine", "ray", "--workers", "1"]
    line = command(*arguments, "--resources", "memory=1e9").complaint()
    assert "a run asks for 1 CPUs, 0 GPUs, 1000000000.0 GB, and no node has that" in line and "--resources" in line
