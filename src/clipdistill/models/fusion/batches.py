"""From a batch of the loader to what a fusion model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipdistill.models.fusion.inputs import FusionInputs, with_whole_image


def fusion_inputs(batch: Mapping[str, Any], texts: str, rows: slice | None = None) -> FusionInputs:
    """The pairs of a batch's texts and pictures, the whole image as region 0 (the mean of the others' features).

    A batch without regions gives texts alone: no region, not even the whole image, and words that point nowhere.

    Args:
        batch: entries of `data.fusion_fields`: `TEXTS/...` and those of `FusionRegions`, on any device.
        texts: name of the texts. Where a sample has O of them, [B, O, L], its picture goes with each: B * O pairs, a
            sample's side by side.
        rows: some of the samples; None = all.

    Returns:
        [B, ...] or [B * O, ...].
    """
    part = slice(None) if rows is None else rows
    ids, types, mask, tags = (batch[f"{texts}/{name}"][part] for name in ("ids", "types", "mask", "tags"))
    if "regions" not in batch:
        return texts_alone(*(value.flatten(0, -2) for value in (ids, types, mask)))
    features, boxes, shown = with_whole_image(
        batch["regions"][part], batch["region_boxes"][part], batch["region_mask"][part]
    )
    objects = batch["object_regions"][part]
    if ids.ndim == 3:
        options = ids.shape[1]
        ids, types, mask, tags = (value.flatten(0, 1) for value in (ids, types, mask, tags))
        features, boxes, shown, objects = (
            value.repeat_interleave(options, 0) for value in (features, boxes, shown, objects)
        )
    return FusionInputs(ids, types, mask, features, boxes, shown, pointed_regions(tags, objects))


def texts_alone(ids: Tensor, types: Tensor, mask: Tensor) -> FusionInputs:
    """Texts [B, L] without pictures: M = 0."""
    count, device = len(ids), ids.device
    return FusionInputs(
        ids, types, mask, torch.zeros(count, 0, 0, device=device), torch.zeros(count, 0, 4, device=device),
        torch.zeros(count, 0, dtype=torch.bool, device=device),
    )  # fmt: skip


def pointed_regions(tags: Tensor, objects: Tensor) -> Tensor:
    """Which region each word points to: object numbers [B, L] and the objects' regions [B, N] -> [B, L].

    Counted with the whole image as region 0; -1 = none, also where no region shows the object.
    """
    # A column of -1 behind the objects is what words without one look up, and keeps a batch without objects whole.
    table = torch.cat([objects, objects.new_full((len(objects), 1), -1)], dim=1)
    found = table.gather(1, torch.where(tags < 0, table.shape[1] - 1, tags))
    return torch.where(found < 0, -1, found + 1)
