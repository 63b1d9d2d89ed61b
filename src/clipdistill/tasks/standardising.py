"""Students that standardise region features, and the training data that says how."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdistill.data import Mixture
from clipdistill.models.fusion.embeddings import seven_numbers
from clipdistill.stores.regions import DryRegions

FITTED_ON = 2_000
"""Pictures whose regions are looked at."""
EDGE = 1e-3
"""How near to the picture's edges a box that is the whole picture comes, as a share."""


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
        boxes.fit(seven_numbers(_of_things(torch.as_tensor(found["shares"][found["mask"]]))))


def _of_things(boxes: Tensor) -> Tensor:
    """Those that aren't the whole picture, if there are any.

    With it among them, all things are much alike: smaller than the mean in each way. That, and not where they lie, is
    then most of what a LayerNorm lets through of their boxes.
    """
    whole = (boxes[:, :2] <= EDGE).all(dim=1) & (boxes[:, 2:] >= 1 - EDGE).all(dim=1)
    return boxes if bool(whole.all()) else boxes[~whole]
