"""Providers of regions: which there are, what they find, and what tells one's weights from another's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.models.regions import check_provider, open_provider


def test_weights_that_yolo_fetched_by_name_are_told_apart_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = tmp_path / "weights" / "yolov8x.pt"
    fetched.parent.mkdir()
    monkeypatch.setitem(
        sys.modules, "ultralytics", SimpleNamespace(YOLO=lambda _: SimpleNamespace(ckpt_path=str(fetched)))
    )
    keys = []
    for content in (b"one", b"another", b"one"):
        fetched.write_bytes(content)
        keys.append(open_provider({"provider": "yolo", "trust": True}).key)
    assert keys[0] == keys[2] != keys[1]
    keys.append(open_provider({"provider": "yolo", "weights": str(fetched), "trust": True}).key)
    assert keys[3] == keys[0]
    fetched.unlink()
    with pytest.raises(UserError, match="`weights`: yolov8x.pt was opened from no file"):
        open_provider({"provider": "yolo", "trust": True})


def test_grid_and_whole() -> None:
    image = Image.new("RGB", (30, 20))
    (grid,) = open_provider({"provider": "grid", "rows": 2, "columns": 3}).find([image])
    assert grid.boxes.shape == (6, 4) and grid.boxes[4].tolist() == [10, 10, 20, 20]
    (whole,) = open_provider({"provider": "whole"}).find([image])
    assert whole.boxes.tolist() == [[0, 0, 30, 20]]


def test_wrong_providers_say_what_there_is() -> None:
    with pytest.raises(UserError, match="Did you mean.*yolo"):
        check_provider({"provider": "yollo"})
    with pytest.raises(UserError, match="grid has no such option; it has rows, columns"):
        check_provider({"provider": "grid", "cells": 2})


def test_torchvision_detector_reads_its_state_dict(tmp_path: Path) -> None:
    from torchvision.models import get_model

    name = "ssdlite320_mobilenet_v3_large"
    torch.manual_seed(0)
    torch.save(get_model(name, weights=None, weights_backbone=None, num_classes=91).state_dict(), tmp_path / "w.pth")
    provider = open_provider({"provider": "detector", "model": name, "weights": str(tmp_path / "w.pth")})
    (found,) = provider.find([Image.new("RGB", (64, 48), (200, 30, 30))])
    assert found.boxes.shape[1:] == (4,) and len(found.labels) == len(found.scores)
    with pytest.raises(UserError, match="doesn't fit"):
        open_provider({"provider": "detector", "weights": str(tmp_path / "w.pth")})
    with pytest.raises(UserError, match="can't be read from"):
        open_provider({"provider": "detector", "model": name, "weights": str(tmp_path / "none.pth")})


def test_a_pickle_is_opened_by_who_says_so_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=opened.append))
    for trust in ({}, {"trust": False}, {"trust": "yes"}):
        with pytest.raises(UserError, match="`regions.trust`: mine.pt is a pickle, and opening it runs"):
            open_provider({"provider": "yolo", "weights": "mine.pt", **trust})
    assert opened == []
