"""How alike a teacher and a student see pictures: CKA of their layers and embeddings, alignment and uniformity."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.embed import embed_texts
from clipdistill.evaluate.likeness.alignment import alignment, uniformity
from clipdistill.evaluate.likeness.cka import CKA, LEAST, LinearCKA
from clipdistill.evaluate.likeness.paired_features import Pair, Seen
from clipdistill.evaluate.results import Progress
from clipdistill.evaluate.sources import left_out
from clipdistill.models.feature_maps import MapLevel, before_the_last, layer_names
from clipdistill.models.image_layers import Pooling


def compare_models(
    teacher: Any,
    student: Any,
    source: Any,
    *,
    count: int | None = None,
    pool: Pooling | None = "mean",
    batch: int = 512,
    draws: int = 1000,
    seed: int = 0,
    workers: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare what two open dual encoders make of the same pictures, each through its own preprocessing.

    Each different picture counts once, however often a source shows it: a picture beside itself would look like
    agreement. Their order is drawn, so that no batch is of one class.

    Args:
        source: a Source or a Mixture. count: of its different pictures; that many are drawn, the same ones every time.
            None = all. Intervals of two data sets or students are comparable at equal counts.
        pool: how a layer's patches become one vector, see `ImageLayer.pooled`; None = compare the embeddings alone.
        batch: pictures whose Gram matrices are taken at once; the last may have up to twice as many. With `count` at
            most this, CKA is that of all pictures at once. `flat` needs memory for a batch's tokens of all layers.
        draws: of pictures, for the intervals of 95 %. seed: of the order and of these draws.

    Returns:
        `teacher`, `student`: name, `layers` (name, channels, height, width), `before_last` (which of them a language
        model reads; None without layers). `images`, `batches`, `left_out` (id and
        reason), `settings`. `cka` and `unit` (rows at length 1): `value`, `low`, `high`, `undefined`, `hsic` of the
        student's layers (rows) against the teacher's, `student` and `teacher` what is under the root; the last row and
        the last column are the embeddings. `spread`: None without captions, else by model `alignment` of pictures and
        their first captions, `image_uniformity`, `text_uniformity`, and `pairs`.

    Raises:
        UserError: fewer than 4 pictures, a tower without layers, numbers that aren't finite.
    """
    rows = drawn_rows(source, count, seed)
    pair, seen = Pair((student, teacher), source, torch.device(device), pool, workers), Seen()
    levels = [pair.levels(side) for side in (0, 1)]
    sums = {name: LinearCKA(*(len(each) + 1 for each in levels), unit=name == "unit") for name in ("cka", "unit")}
    for first, second in pair.batches(rows, max(batch, LEAST), seen, progress):
        if len(first[-1]) < LEAST:
            break  # the only one
        for each in sums.values():
            each.add(first, second)
    if not sums["cka"].batches:
        why = f"; the first that can't be read: {seen.bad[0]['id']}: {seen.bad[0]['reason']}" if seen.bad else ""
        raise UserError(f"cka: {len(seen.captions)} pictures; at least {LEAST} are needed{why}")
    return {
        "student": _described(student, levels[0]),
        "teacher": _described(teacher, levels[1]),
        "images": sums["cka"].images,
        "batches": sums["cka"].batches,
        "left_out": left_out(source, seen.bad),
        "settings": {"count": count, "pool": pool, "batch": batch, "draws": draws, "seed": seed, "level": 0.95},
        **{name: _record(each.result(draws=draws, seed=seed)) for name, each in sums.items()},
        "spread": spread_of(
            {
                role: (model, torch.cat(kept))
                for role, model, kept in zip(("student", "teacher"), (student, teacher), seen.embeddings, strict=True)
            },
            seen.captions,
            torch.device(device),
        ),
    }


def same_depth(layer: int, layers: int, others: int) -> int:
    """Which of the `others` layers lies as deep as layer number `layer` of `layers`: the last beside the last."""
    return max(0, (2 * (layer + 1) * others + layers) // (2 * layers) - 1)


def different_pictures(source: Any) -> list[int]:
    """Rows of a source's different pictures: of those that it shows several times, the first."""
    keys = getattr(source, "picture_ids", None) or getattr(source, "pictures", None)
    rows = list(range(len(source)))
    if keys is None:
        return rows
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(keys[row], row)
    return list(first.values())


def drawn_rows(source: Any, count: int | None, seed: int = 0) -> list[int]:
    """Rows of the source's different pictures, or of `count` of them, in a drawn order."""
    rows = different_pictures(source)
    if count is not None:
        if count > len(rows):
            raise UserError(f"--count {count}: there are {len(rows):,} different pictures; ask for fewer")
        rows = sorted(random.Random("evaluation").sample(rows, count))
    random.Random(f"cka {seed}").shuffle(rows)
    return rows


def _described(model: Any, levels: list[MapLevel]) -> dict[str, Any]:
    layers = [
        {"name": name, "channels": level.channels, "height": level.height, "width": level.width}
        for name, level in zip(layer_names(levels), levels, strict=True)
    ]
    last = before_the_last(levels) if levels else None
    return {"name": model.name, "layers": layers, "before_last": last, "embed_dim": model.embed_dim}


def _record(found: CKA) -> dict[str, Any]:
    names = {"student": found.first, "teacher": found.second}
    tables = {name: getattr(found, name) for name in ("value", "low", "high", "undefined", "hsic")}
    return {name: each.tolist() for name, each in (tables | names).items()}


def spread_of(
    models: Mapping[str, tuple[Any, Tensor]], captions: Sequence[Sequence[str]], device: torch.device
) -> dict[str, Any] | None:
    """Alignment and uniformity on the pictures that have a caption, each with its first.

    Args:
        models: by role, each with its embeddings [n, D] of the pictures. captions: of each picture.

    Returns:
        `pairs`, and by role `alignment`, `image_uniformity`, `text_uniformity`; None for fewer than 2 pairs.
    """
    firsts = [next((one for one in some if one.strip()), None) for some in captions]
    rows = [row for row, text in enumerate(firsts) if text is not None]
    if len(rows) < 2:
        return None
    found: dict[str, Any] = {"pairs": len(rows)}
    for role, (model, embeddings) in models.items():
        image = embeddings[rows]
        text = embed_texts(model, [str(firsts[row]) for row in rows], device=device)
        found[role] = {
            "alignment": alignment(image, text),
            "image_uniformity": uniformity(image),
            "text_uniformity": uniformity(text),
        }
    return found
