"""What a region store says of how its regions were found, and whether it has those of some pictures."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.region_boxes import BoxFinder

SHARED = "pictures"
"""`keys` of a store that has a row for each picture, however many samples show it."""


def finder_facts(model: Any, finder: BoxFinder, width: int, crop: str, pictures: Any) -> dict[str, Any]:
    """Facts of regions that a provider finds and a model gives features.

    width: of the features. crop: how a box becomes what the model sees. pictures: see `annotations_key`.
    """
    from clipdistill.models import fingerprint

    provider = finder.provider
    return {
        "teacher": model.name, "teacher_fingerprint": fingerprint(model), "embed_dim": width,
        "provider": "annotations" if provider is None else provider.name,
        "provider_key": annotations_key(pictures) if provider is None else provider.key,
        "min_score": finder.min_score, "max_regions": finder.most,
        "crop": crop + (", the whole picture before them" if finder.whole else ""),
    }  # fmt: skip


def annotations_key(pictures: Any) -> str:
    """A hash of the boxes that the data has for its pictures; a UserError when it has none."""
    digest, some = hashlib.sha256(), False
    for row in range(len(pictures)):
        regions = pictures[row].regions
        if regions is not None:
            some = some or len(regions.boxes) > 0
            digest.update(
                np.ascontiguousarray(regions.boxes).tobytes() + np.ascontiguousarray(regions.scores).tobytes()
            )
            digest.update("\n".join(regions.labels).encode())
        digest.update(b"|")
    if not some:
        raise UserError("provider annotations: the data has no boxes; give its source `boxes`, or use another provider")
    return f"annotations-{digest.hexdigest()[:16]}"
