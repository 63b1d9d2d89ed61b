"""Checkpoints that a disk has changed: seen by their checksums, named, and the one before them is taken."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainer import trainer, weights

from clipdistill.engine.checkpoint import list_checkpoints, load_latest, read_checkpoint, save_checkpoint
from clipdistill.errors import UserError

RECIPE = {"seed": 1}


def state(value: float) -> dict[str, Any]:
    return {"recipe": RECIPE, "task": {"weight": torch.full((300,), value)}, "random": [b"\1\2"], "words": ["é", "x"]}


def flipped(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_any_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, state(0.5), keep=1)
    whole, content = read_checkpoint(path), path.read_bytes()
    draws, seen = random.Random(0), 0
    for place in range(0, len(content), 11):
        flipped(path, place, draws.randrange(8))
        try:
            found = read_checkpoint(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: damaged (") and "\n" not in str(error)
            seen += 1
        else:  # padding, dates
            assert torch.equal(found["task"].pop("weight"), whole["task"]["weight"])
            assert found == {**whole, "task": {}}
        path.write_bytes(content)
    assert seen > len(content) // 11 // 3
    place = content.index(b"\0\0\0\x3f" * 100) + 7  # in the weights, which torch itself reads as they are
    flipped(path, place)
    assert not torch.equal(torch.load(path, weights_only=True)["task"]["weight"], whole["task"]["weight"])
    with pytest.raises(UserError, match=r"damaged \(.*data/0 isn't what was written\)"):
        read_checkpoint(path)


def test_the_one_before_is_taken_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state(float(step)), keep=3)
    one, two, three = list_checkpoints(tmp_path)
    three.write_bytes(three.read_bytes()[:-40])
    flipped(two, two.read_bytes().index(b"\0\0\0\x40" * 100))
    found = load_latest(tmp_path, RECIPE)
    assert found is not None and found["step"] == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": damaged")[0] for line in said] == [f"clipdistill: {path}" for path in (three, two)]
    one.write_text("é")
    with pytest.raises(UserError, match="none of the 3 checkpoints can be read; start again with a new --out"):
        load_latest(tmp_path, RECIPE)


def test_good_ones_stay_when_the_new_one_cant_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, state(1), keep=1)
    monkeypatch.setattr(torch, "save", lambda value, path: Path(path).write_bytes(b"PK"))
    with pytest.raises(UserError, match="step-00000002.pt: damaged"):
        save_checkpoint(tmp_path, 2, state(2), keep=1)
    assert (tmp_path / "step-00000001.pt").is_file()


def test_a_run_goes_on_from_the_good_one_to_the_same_bits(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.fit()
    newest = list_checkpoints(made.checkpoints)[-1]
    content = newest.read_bytes()
    weight = next(iter(made.task.state_dict().values())).numpy().tobytes()
    flipped(newest, content.index(weight[:16]) + 1, 6)
    again = trainer(tmp_path / "run", seed=4)
    again.fit(resume=True)
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(made).items())
