"""VCR questions of several lengths and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdistill.data import open_source
from tests.analysis.asked_questions import QUESTIONS
from tests.evaluate import question_data as made


@pytest.fixture
def source(tmp_path: Path) -> Any:
    items = [
        made.vcr_item(k, picture, k % 4, (k + 1) % 4, QUESTIONS[k % 4])
        for k, picture in enumerate(["red", "green", "blue", "blue", "red", "green"])
    ]
    made.write_vcr(tmp_path / "vcr", items)
    return open_source({"format": "vcr", "path": str(tmp_path / "vcr"), "split": "val", "name": "a/name"})
