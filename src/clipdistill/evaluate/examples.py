"""Retrieval examples as pictures: the same fixed queries for every model, drawn by a seed and not by hand."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping
from typing import Any

import torch

from clipdistill.evaluate.embed import Encoder, embed_images, embed_texts
from clipdistill.evaluate.results import Progress
from clipdistill.evaluate.retrieval import unit
from clipdistill.evaluate.sources import Subset

THUMBNAIL = 128


def retrieval_examples(
    models: Mapping[str, Encoder],
    source: Any,
    *,
    name: str | None = None,
    count: int = 10,
    top: int = 3,
    gallery: int = 1000,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search a source's pictures with captions of its own and keep what each model found first.

    The rule: `seed` draws `gallery` pictures (all of them when there are fewer), then `count` of those that have
    captions, then one caption of each; it looks at neither models nor pictures, so the same data and seed give the same
    queries whatever the models do.

    Args:
        models: by role, as shown in the report: `{"teacher": ..., "control": ..., "student": ...}`.
        source: a Source or Mixture with captions.
        name: what to call the data; the source's name when left out.

    Returns:
        JSON-ready `{"data", "seed", "gallery", "top", "queries": [{"caption", "answer", "models": {role: {"rank",
        "found": [id, ...]}}}], "pictures": {id: JPEG as base64}}`. `rank` counts from 1, ties against the model.
    """
    draw = random.Random(f"retrieval examples {seed}")
    positions = sorted(draw.sample(range(len(source)), min(gallery, len(source))))
    subset = Subset(source, positions)
    answers = [row for row in range(len(subset)) if any(caption.strip() for caption in subset[row].captions)]
    answers = draw.sample(answers, min(count, len(answers)))
    captions = [draw.choice([caption for caption in subset[row].captions if caption.strip()]) for row in answers]
    queries: list[dict[str, Any]] = [
        {"caption": caption, "answer": subset[row].id, "models": {}}
        for row, caption in zip(answers, captions, strict=True)
    ]
    shown: dict[str, int] = {}
    for role, model in models.items() if queries else ():
        embedded = embed_images(model, subset, device=device, batch_size=batch_size, workers=workers, progress=progress)
        text = unit(embed_texts(model, captions, device=device), "text")
        scores = (text @ unit(embedded.features, "image").T).float()
        rows = embedded.positions.tolist()
        for query, answer, score in zip(queries, answers, scores, strict=True):
            if answer not in rows:
                continue  # its own picture can't be read: the query stays, without an outcome
            own = rows.index(answer)
            before = int((score >= score[own]).sum())  # the picture itself is one of them, so this is its rank
            score[own] -= 1e-6  # in the shown order, too, a tie goes against the model
            found = [rows[i] for i in score.topk(min(top, len(rows))).indices.tolist()]
            query["models"][role] = {"rank": before, "found": [subset[row].id for row in found]}
            shown |= {subset[row].id: row for row in [*found, answer]}
    pictures = {key: _thumbnail(subset[row]) for key, row in shown.items()}
    return {
        "data": name or getattr(source, "name", "data"),
        "seed": seed,
        "gallery": len(subset),
        "top": top,
        "queries": [query for query in queries if query["models"]],
        "pictures": pictures,
    }


def _thumbnail(sample: Any) -> str:
    """Return a JPEG of at most 128 x 128 pixels as base64."""
    image = sample.image.open(min_size=THUMBNAIL).convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
