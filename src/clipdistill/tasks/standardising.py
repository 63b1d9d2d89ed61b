"""Students that standardise region features, and the training data that says how."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clipdistill.data import Mixture
from clipdistill.models.fusion.embeddings import seven_numbers
from clipdistill.stores.regions import DryRegions

FITTED_ON = 2_000
"""Pictures whose regions are looked at."""


def fit_features(student: Any, data: Mixture) -> None:
    """Let a student that standardises region features and boxes see what those of its first training data are like.

    Nothing happens to one that has seen some, nor on a forecast's stand-in.
    """
    embeddings = getattr(student, "embeddings", None)
    standard, boxes = (getattr(embeddings, name, None) for name in ("standard", "standard_box"))
    if standard is None or data.regions is None or isinstance(data.regions, DryRegions):
        return
    store = data.regions
    rows = np.unique(store.rows(data.picture_ids))
    found = store.lookup(rows[:: max(1, len(rows) // FITTED_ON)], int(store.meta["max_regions"]))
    standard.fit(torch.as_tensor(found["features"][found["mask"]]))
    if boxes is not None and "shares" in found:
        boxes.fit(seven_numbers(torch.as_tensor(found["shares"][found["mask"]])))
