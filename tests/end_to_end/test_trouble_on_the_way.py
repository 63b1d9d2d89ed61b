"""What can only go wrong once a run is under way: bad pictures, a full disk, NaN, Ctrl-C. Still one line each."""

from __future__ import annotations

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Said

from clipdistill import files
from clipdistill.engine.trainer import Trainer
from clipdistill.runs.folder import LOCK
from clipdistill.runs.stages import Cache
from clipdistill.tasks.clip_kd import ClipKD


def last_line(said: Said, code: int = 2) -> str:
    """The line that a command ends with; the lines before it are plan and progress."""
    assert said.code == code and "Traceback" not in said.err, said.err[-3000:]
    lines = said.err.strip().splitlines()
    assert [line for line in lines if line.startswith("clipdistill: ")] == lines[-1:]
    return lines[-1]


@pytest.fixture
def table(world: Path, tmp_path: Path) -> Path:
    """A copy of the training pictures that a test may damage, with a CSV of one caption a picture."""
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    annotations = json.loads((world / "dataset_petri.json").read_text())["images"]
    lines = ["filepath,caption"]
    for image in annotations[:48]:
        shutil.copy(world / "images" / image["filename"], folder / "images")
        lines.append(f'images/{image["filename"]},"{image["sentences"][0]["raw"]}"')
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


def nothing_begun() -> bool:
    """Whether the run's folder is as good as new: the lock that a process had on it is no run."""
    return [path.name for path in Path("run").iterdir()] == [LOCK]


def source(table: Path) -> str:
    return f"data.train=[{{format: csv, path: '{table / 'captions.csv'}', name: own}}]"


def damage(table: Path, count: int) -> list[str]:
    """Cut `count` pictures short; returns their ids."""
    broken = sorted((table / "images").iterdir())[:count]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    return [f"own/images/{path.name}" for path in broken]


@pytest.mark.parametrize(("stored", "workers"), [(True, 0), (False, 1)])
def test_one_bad_picture_is_left_out_and_listed(
    command: Command, recipe: Path, table: Path, teacher: Path, tmp_path: Path, stored: bool, workers: int
) -> None:
    (bad,) = damage(table, 1)
    live = [] if stored else [f"teachers=[{{model: '{teacher}'}}]"]
    more = ["data.max_bad_share=0.05", f"data.workers={workers}", "compare=[control]"]
    said = command("train", recipe, source(table), *live, *more, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    for run in (tmp_path / "run", tmp_path / "run" / "control"):
        listed = [json.loads(line) for line in (run / "bad_samples.jsonl").read_text().splitlines()]
        if run.name == "run" or not stored:
            assert [item["id"] for item in listed] == [bad] and listed[0]["reason"]
        assert (run / "student" / "open_clip_model.safetensors").is_file()


def test_too_many_bad_pictures_stop_the_store(command: Command, recipe: Path, table: Path) -> None:
    bad = damage(table, 3)
    line = last_line(command("train", recipe, source(table), "--out", "run"))
    assert "3 of 48 pictures" in line and "data.max_bad_share = 0.01" in line and all(one in line for one in bad)
    assert nothing_begun()
    said = command("train", recipe, source(table), "data.max_bad_share=0.1", "train.max_steps=1", "--out", "run")
    assert said.code == 0, said.err  # without --resume


def test_too_many_bad_pictures_stop_the_training(command: Command, recipe: Path, table: Path, teacher: Path) -> None:
    damage(table, 3)
    said = command(
        "train", recipe, source(table), f"teachers=[{{model: '{teacher}'}}]", "data.workers=1", "--out", "run"
    )
    line = last_line(said)
    assert "bad_samples.jsonl" in line and "data.max_bad_share = 0.01" in line
    assert Path("run/bad_samples.jsonl").read_text().count("\n") >= 1 and not Path("run/student").exists()


def test_rows_that_a_source_left_out_count_too(command: Command, recipe: Path, table: Path) -> None:
    text = (table / "captions.csv").read_text().splitlines()
    text[3] = text[3].split(",")[0] + ","
    (table / "captions.csv").write_text("\n".join(text))
    line = command("train", recipe, source(table), "--out", "run").complaint()
    assert "1 of 48 samples" in line and "no caption" in line and text[3].rstrip(",") in line
    said = command("train", recipe, source(table), "data.max_bad_share=0.05", "--plan")
    assert said.code == 0 and "own: 47" in said.err


def test_pictures_that_are_gone_after_the_store_was_written(command: Command, recipe: Path, table: Path) -> None:
    assert command("cache", recipe, source(table)).code == 0
    damage(table, 48)
    line = last_line(command("train", recipe, source(table), "data.workers=1", "--out", "run"))
    assert "data source 'own' has changed" in line and not Path("run").exists()


def test_no_picture_can_be_read(command: Command, recipe: Path, table: Path, teacher: Path) -> None:
    damage(table, 48)
    said = command(
        "train", recipe, source(table), f"teachers=[{{model: '{teacher}'}}]", "data.workers=1", "--out", "run"
    )
    assert "stand-ins" in last_line(said) and not Path("run").exists()


def test_wrong_tables(command: Command, recipe: Path, table: Path) -> None:
    def complaint(text: str, more: str = "") -> str:
        (table / "captions.csv").write_text(text)
        where = f"data.train=[{{format: csv, path: '{table / 'captions.csv'}'{more}}}]"
        line = command("train", recipe, where, "--out", "run").complaint()
        assert "`data.train.0`" in line and "captions.csv" in line and not Path("run").exists()
        return line

    assert "no rows" in complaint("")
    assert "no rows" in complaint("filepath,caption\n")
    assert "which column is the image" in complaint("where,caption\na.png,red\n")
    assert "which column is the caption" in complaint("filepath,words\na.png,red\n")
    line = complaint("filepath,words\na.png,red\n", ", caption: word")
    assert "no column 'word'" in line and "'words'" in line
    assert "pictures are not there" in complaint("filepath,caption\nnone.png,red\n")
    assert "no usable rows" in complaint("filepath,caption\nimages/000000.png,\n")


def test_nan_stops_and_keeps_the_last_checkpoint(
    command: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = ClipKD.batch_losses

    def poisoned(self: ClipKD, features: Any) -> dict[str, torch.Tensor]:
        found = losses(self, features)
        late = Path("run/checkpoints/step-00000004.pt").exists()
        return {**found, "crd": found["crd"] * float("nan")} if late else found

    monkeypatch.setattr(ClipKD, "batch_losses", poisoned)
    line = last_line(command("train", recipe, "--out", "run"))
    assert "step 4" in line and "`crd` is nan" in line and "train.lr" in line
    assert [path.name for path in sorted(Path("run/checkpoints").iterdir())] == ["step-00000002.pt", "step-00000004.pt"]
    monkeypatch.setattr(ClipKD, "batch_losses", losses)
    assert command("train", recipe, "--out", "run", "--resume").code == 0


def test_a_rate_that_is_far_too_high(command: Command, recipe: Path) -> None:
    line = last_line(command("train", recipe, "train.lr=1.0e+30", "train.warmup_steps=0", "--out", "run"))
    assert "nan" in line or "inf" in line
    assert "lower train.lr" in line and not Path("run/student").exists()


Usage = namedtuple("Usage", "total used free")


def test_a_disk_too_small_is_known_before_the_run(
    command: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1000, 999, 1))
    line = last_line(command("train", recipe, "--out", "run"))
    assert "--out run" in line and "MB" in line and not Path("run").exists() and not (tmp_path / "store").exists()
    line = last_line(command("cache", recipe))
    assert str(tmp_path / "store") in line and "MB" in line and not (tmp_path / "store").exists()


def test_a_disk_that_fills_up(command: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Trainer) -> None:
        # What torch's writer says of a full disk, and what everything else gets from the system.
        with files.atomic_path(self.checkpoints / "step.pt") as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(Trainer, "save", full)
    line = last_line(command("train", recipe, "--out", "run"))
    assert "step.pt" in line and "disk is full" in line and list(Path("run/checkpoints").iterdir()) == []

    def no_space(_trainer: Trainer) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl")

    monkeypatch.setattr(Trainer, "save", no_space)
    assert "run/metrics.jsonl: the disk is full" in last_line(command("train", recipe, "--out", "run2"))

    def read_only(_trainer: Trainer) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "run/metrics.jsonl")

    monkeypatch.setattr(Trainer, "save", read_only)
    assert "run/metrics.jsonl: the disk is read-only" in last_line(command("train", recipe, "--out", "run3"))


def test_ctrl_c(command: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cache, "run", interrupt)
    assert last_line(command("train", recipe, "--out", "run"), 130) == "clipdistill: stopped"
    assert nothing_begun()
