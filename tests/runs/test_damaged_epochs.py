"""A checkpoint at the end of an epoch that the disk has changed: a resumed run goes on from one before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.stages.model_folders import keep_epochs


def test_a_damaged_epoch_is_made_again_and_a_fresh_one_is_said(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-00000004.pt").write_bytes(b"PK, and nothing else")
    keep_epochs(folder, None, steps_per_epoch=4, last=8)  # before a training goes on: it will say so itself
    assert not folder.epochs.exists()
    with pytest.raises(UserError, match="step-00000004.pt: damaged"):
        keep_epochs(folder, None, steps_per_epoch=4, last=8, step=4)
