"""A process that makes batches and hangs: the wait ends, with a sentence, and so does the process."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_files import write_csv

from clipdistill.data.fields import Captions
from clipdistill.data.loader import Loader, _batches, evaluation_batches
from clipdistill.data.mixture import Mixture
from clipdistill.data.sources import open_source
from clipdistill.data.transforms import AugmentPlan
from clipdistill.errors import LostWorker

SAID = "`data.workers`: no batch came for 1 seconds (CLIPDISTILL_WAIT_BATCH sets how many), so a disk or one of 1"


class Stopped(Captions):
    """A field whose row stops the process that makes it, as a disk that doesn't answer does."""

    def row(self, *given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().row(*given)


@pytest.mark.parametrize("evaluating", [False, True])
def test_a_worker_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluating: bool) -> None:
    monkeypatch.setenv("CLIPDISTILL_WAIT_BATCH", "1")
    mixture = Mixture([(open_source(str(write_csv(tmp_path, 4))), None)], seed=0)
    fields = {"text": Stopped()}
    if evaluating:
        batches = evaluation_batches(mixture, None, 2, 1, fields=fields)
    else:
        batches = Loader(mixture, fields, batch_size=2, plan=AugmentPlan(), seed=0, workers=1).epoch(0)
    with pytest.raises(LostWorker, match=f"^{re.escape(SAID)}"):
        next(iter(batches))
    assert not [child for child in multiprocessing.active_children() if child.is_alive()]


@pytest.mark.parametrize("broken", [ConnectionResetError(104, "reset by peer"), EOFError(), FileNotFoundError("/s")])
@pytest.mark.parametrize("alive", [False, True])
def test_a_worker_that_is_killed_as_it_hands_a_batch_over(broken: Exception, alive: bool) -> None:
    """torch lets the broken connection out as it is; with all of its processes alive it is another mistake."""

    class Torn:
        num_workers, timeout = 2, 1
        _workers = (SimpleNamespace(is_alive=lambda: True), SimpleNamespace(is_alive=lambda: alive))

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            raise broken

    loader: Any = Torn()
    if alive:
        with pytest.raises(type(broken)):
            next(_batches(loader))
    else:
        lost = next(_batches(loader))
        assert isinstance(lost, LostWorker) and "one of 2 processes was killed" in str(lost)
