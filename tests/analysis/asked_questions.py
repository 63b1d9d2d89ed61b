"""Tiny fusion models asked VCR questions, with regions that depend on the picture alone."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import torch

from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.suites.fusion_answers import Pairs
from tests.evaluate.test_fusion_suites import Regions
from tests.models.tiny_fusion import tiny_fusion

QUESTIONS = ["Why", "How many red stars", "Where", "Who of these people"]


def tiny(architecture: str, **changes: Any) -> Any:
    return tiny_fusion(architecture, positions=64, **changes)


class Sparse(Regions):
    """Drawn from the picture's name, so that they are the same in any part of the data; green.jpg has one region."""

    def lookup(self, rows: Any, max_regions: int) -> dict[str, Any]:
        names = [self.ids[int(row)] for row in rows]
        found = super().lookup([crc32(name.encode()) for name in names], max_regions)
        found["mask"][["green" in name for name in names], 1] = False
        return found


def asked(model: Any, source: Any, batch_size: int = 8) -> Pairs:
    job = Job(model, torch.device("cpu"), batch_size, regions=lambda mixture, _path: Sparse(mixture))
    return Pairs(job, source, None, "vcr", "answers")
