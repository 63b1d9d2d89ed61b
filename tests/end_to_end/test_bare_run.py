"""A folder of pictures without captions beside pairs: from the plan to the report, with a store and a live teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Command

from clipdistill.models import load_model


@pytest.fixture
def data(world: Path) -> list[str]:
    """A dozen pairs, four times an epoch, and all 64 pictures of the world as a plain folder."""
    pairs = f"{{format: karpathy, path: '{world / 'dataset_petri.json'}', split: train, count: 12, repeat: 4}}"
    return [f"data.train=[{pairs}, {{format: pictures, path: '{world / 'images'}', name: bare}}]"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "student").clip.state_dict()


def test_from_the_plan_to_the_report(
    command: Command, recipe: Path, data: list[str], world: Path, tmp_path: Path
) -> None:
    said = command("train", recipe, *data, "--plan")
    assert said.code == 0, said.err[-2000:]
    text = " ".join((said.out + said.err).split())
    assert "petri: 12, 4 times an epoch, bare: 64" in text, text
    assert "about 7 of the 16 of a batch do" in text, text

    suites = f"evaluate=[{{suite: retrieval, data: 'karpathy:{world / 'dataset_petri.json'}@test'}}]"
    given = [*data, suites, "compare=[control]"]
    said = command("train", recipe, *given, "--out", tmp_path / "stored")
    assert said.code == 0, said.err[-2000:]
    found = json.loads((tmp_path / "stored" / "evaluation.json").read_text())["models"]
    assert found.keys() == {"control", "student"} and (tmp_path / "stored" / "report.html").is_file()

    # A store is what the live teacher says, to half precision.
    live = command("train", recipe, *data, "teachers.0.store=null", "evaluate=[]", "--out", tmp_path / "live")
    assert live.code == 0, live.err[-2000:]
    one, other = weights(tmp_path / "stored"), weights(tmp_path / "live")
    for name in one:
        if one[name].is_floating_point():
            torch.testing.assert_close(one[name], other[name], rtol=0.02, atol=0.02)


def test_what_can_t_be_used_is_said_before_the_run(command: Command, recipe: Path, data: list[str]) -> None:
    line = command("train", recipe, *data, "task={method: sds_clip}", "teachers=[]", "--plan").complaint()
    assert "`data.train.1`: sds_clip can't use pictures without captions; clip_kd, contrastive, rkd can" in line
    line = command("train", recipe, *data, "data.train.0.repeat=1", "data.train.0.count=2", "--plan").complaint()
    assert "`data.train.1`: only 0.48 pictures of a batch of 16 have a caption" in line and "`repeat`" in line
    line = command("train", recipe, *data, "data.train.0.captions=none", "--plan").complaint()
    assert "`data.train.0`: only 0 pictures of a batch of 16" in line
    line = command("train", recipe, *data, "data.train.0.captions=some", "--plan").complaint()
    assert "data.train.0.captions" in line and "'none'" in line
