"""How many samples the official data sets have, for forecasts of runs whose data isn't on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.data.sources import open_source
from clipdistill.errors import UserError
from clipdistill.recipe import PetriSpec

UNKNOWN = 1_000_000
"""Stands for a data set that isn't known here; reports say so."""

SIZES: tuple[tuple[str, dict[str, int]], ...] = (
    ("cc12m", {"": 10_968_539}),
    ("cc3m", {"": 2_905_954}),
    ("558k", {"": 558_128}),
    ("mix665k", {"": 665_298}),
    ("dataset_coco", {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}),
    ("train2017", {"": 118_287}),
    ("dataset_flickr30k", {"train": 29_000, "val": 1_014, "test": 1_000}),
    ("vcr", {"train": 212_923, "val": 26_534, "test": 25_263}),
    ("snli_ve", {"train": 529_527, "dev": 17_858, "test": 17_901}),
    ("gqa", {"": 12_578}),
    ("textvqa", {"": 5_000}),
    ("scienceqa", {"": 4_241}),
    ("pope", {"": 9_000}),
    ("mme_benchmark", {"": 2_374}),
    ("vqa", {"train": 443_757, "val": 214_354, "": 214_354}),
    ("visual_genome", {"": 108_077}),
    ("imagenet/val", {"": 50_000}),
    ("cifar", {"train": 50_000, "test": 10_000, "": 10_000}),
    ("mnist", {"train": 60_000, "test": 10_000}),
    ("fgvc_aircraft", {"": 3_333}),
    ("compositional", {"": 53_085}),
)
"""A piece of the path -> split -> samples. CC3M and CC12M are what could still be fetched when CLIP-KD was made."""


COUNTED = ("csv", "tsv", "jsonl", "karpathy", "coco", "imagefolder", "snli_ve", "vqa_v2", "llava")
"""Formats whose samples are counted where they lie on this machine: soon, and without a file of ours beside them."""


def true_size(spec: Any, petri: PetriSpec | None = None) -> tuple[int, bool]:
    """How many samples a source has that a recipe names.

    Args:
        spec: the values of a source, a path, or None, which means the petri world's test split.
        petri: the world that the run writes.

    Returns:
        the number, and whether it is known: by `count`, by the world, by the data where it lies here, or by `SIZES`.
    """
    values = spec if isinstance(spec, dict) else {"path": spec}
    if values.get("count") or values.get("low_shot"):
        return int(values.get("count") or values["low_shot"]), True
    path, split = values.get("path"), str(values.get("split") or "")
    text = str(path[0] if isinstance(path, list) else path).lower()
    if petri is not None and (path is None or str(petri.path).lower() in text):
        return petri.test if path is None or "test" in split + text else petri.images, True
    if (found := _counted(values)) is not None:
        return found, True
    for piece, splits in SIZES:
        if piece in text:
            usual = splits.get("") or splits.get("train") or max(splits.values())
            return sum(splits.get(part.partition("_")[0], usual) for part in split.split("+")), True
    return UNKNOWN, False


def _counted(values: dict[str, Any]) -> int | None:
    path = values.get("path")
    if values.get("format") not in COUNTED or not isinstance(path, str) or not Path(path).exists():
        return None
    options = {key: value for key, value in values.items() if key not in ("count", "low_shot", "repeat")}
    try:
        return len(open_source(options))
    except UserError:  # it will be said when it is trained on
        return None
