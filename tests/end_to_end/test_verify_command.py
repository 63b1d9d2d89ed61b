"""`clipdistill doctor --verify`: a run with its checkpoints and stores, damaged and mended through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command


@pytest.fixture
def run(command: Command, recipe: Path, tmp_path: Path) -> Path:
    assert command("train", recipe, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def test_a_run_is_looked_over_and_its_store_mended(command: Command, recipe: Path, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    said = command("doctor", "--verify", run)
    assert said.code == 0 and said.out.splitlines()[-1] == f"{store}: whole" and "step-" in said.out

    targets = next(store.rglob("text.f16"))
    good = targets.read_bytes()
    targets.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    checkpoint = sorted((run / "checkpoints").glob("step-*.pt"))[-1]
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(bytes(content))
    said = command("doctor", "--verify", run, "--verify", store)
    assert said.code == 2 and said.err.strip().endswith("3 damaged")  # the store twice, as it was asked for
    assert f"{checkpoint}: damaged" in said.out and f"{targets}: rows " in said.out

    line = command("train", recipe, "--out", tmp_path / "other").complaint()
    assert f"clipdistill doctor --verify {store} --mend" in line
    said = command("doctor", "--verify", store, "--mend")
    assert said.code == 2 and "1 damaged; taken out" in said.err
    assert command("train", recipe, "--out", tmp_path / "other").code == 0
    assert targets.read_bytes() == good and command("doctor", "--verify", store).code == 0


def test_what_is_neither_and_mending_nothing(command: Command, tmp_path: Path) -> None:
    assert f"{tmp_path}: neither a store nor a run" in command("doctor", "--verify", tmp_path).complaint()
    assert "--mend: say which store with --verify STORE" in command("doctor", "--mend").complaint()
