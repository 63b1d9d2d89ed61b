"""How alike a teacher and a student see pictures: CKA of their layers and embeddings, alignment and uniformity."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from clipdistill.analysis.alignment import alignment, uniformity
from clipdistill.analysis.analysing import finite
from clipdistill.analysis.cka import CKA, LEAST, LinearCKA
from clipdistill.analysis.paired_features import Pair, Seen
from clipdistill.engine.tracking import LaterMeter
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import embed_texts
from clipdistill.evaluate.results import Progress
from clipdistill.evaluate.sources import left_out, open_sources
from clipdistill.files import require_writable, write_json
from clipdistill.kinds import open_trained, require_weights
from clipdistill.models.feature_maps import MapLevel, layer_names
from clipdistill.models.image_layers import Pooling


def model_cka(
    teacher: str | Path,
    student: str | Path,
    data: str | Path | Mapping[str, Any],
    *,
    count: int | None = None,
    pool: Pooling | None = "mean",
    batch: int = 512,
    draws: int = 1000,
    workers: int = 1,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Compare two models by name, and write (with `json_path`) what `compare_models` found.

    Args:
        teacher, student: open_clip names with a tag, shipped names, `hf-hub:` names, folders, or RUNs of dual encoders.
        data: one source: a path whose format is guessed, `format:path@split`, or a spec.
        count, pool, batch, draws, workers: see `compare_models`.

    Raises:
        UserError: a model without weights or of another kind, wrong data, too few pictures, an unwritable `json_path`.
    """
    if json_path is not None:
        if json_path.is_dir():
            raise UserError(f"--json {json_path}: is a folder; give a file")
        require_writable(json_path, "--json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one, two = _opened("--teacher", teacher, device), _opened("--student", student, device)
    sources = open_sources(data)
    if len(sources) > 1:
        raise UserError(f"--data: {len(sources)} sources; give one, and compare on each with the same --count")
    ((name, source),) = sources.items()
    with LaterMeter(f"{one.name} and {two.name} on {name}") as moved:
        found = compare_models(
            one, two, source, count=count, pool=pool, batch=batch, draws=draws, workers=workers, device=device,
            progress=moved,
        )  # fmt: skip
    content: dict[str, Any] = finite({"data": name, **found})
    if json_path is not None:
        write_json(json_path, content)
    return content


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
        `teacher`, `student`: name, `layers` (name, channels, height, width). `images`, `batches`, `left_out` (id and
        reason), `settings`. `cka` and `unit` (rows at length 1): `value`, `low`, `high`, `undefined`, `hsic` of the
        student's layers (rows) against the teacher's, `student` and `teacher` what is under the root; the last row and
        the last column are the embeddings. `spread`: None without captions, else by model `alignment` of pictures and
        their first captions, `image_uniformity`, `text_uniformity`, and `pairs`.

    Raises:
        UserError: fewer than 4 pictures, a tower without layers, numbers that aren't finite.
    """
    rows = _drawn(source, count, seed)
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
        "spread": _spread((student, teacher), seen, torch.device(device)),
    }


def _opened(option: str, name: str | Path, device: torch.device) -> Any:
    require_weights(str(name))
    model = open_trained(name, device)
    if model.KIND != "dual_encoder":
        raise UserError(f"{option} {name}: is no dual encoder; give a model with an image and a text tower")
    return model


def read_pool(text: str) -> Pooling | None:
    """`mean`, `flat`, or `none`; UserError for anything else."""
    if text == "none":
        return None
    if text not in get_args(Pooling):
        raise UserError(f"--pool {text}: write mean, flat, or none")
    return cast(Pooling, text)


def _drawn(source: Any, count: int | None, seed: int) -> list[int]:
    """Rows of the source's different pictures, or of `count` of them, in a drawn order."""
    keys = getattr(source, "picture_ids", None) or getattr(source, "pictures", None)
    rows = list(range(len(source)))
    if keys is not None:
        first: dict[str, int] = {}
        for row in rows:
            first.setdefault(keys[row], row)
        rows = list(first.values())
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
    return {"name": model.name, "layers": layers, "embed_dim": model.embed_dim}


def _record(found: CKA) -> dict[str, Any]:
    names = {"student": found.first, "teacher": found.second}
    tables = {name: getattr(found, name) for name in ("value", "low", "high", "undefined", "hsic")}
    return {name: each.tolist() for name, each in (tables | names).items()}


def _spread(models: tuple[Any, Any], seen: Seen, device: torch.device) -> dict[str, Any] | None:
    """Alignment and uniformity of each model on the pictures that have a caption, each with its first."""
    firsts = [next((one for one in captions if one.strip()), None) for captions in seen.captions]
    rows = [row for row, text in enumerate(firsts) if text is not None]
    if len(rows) < 2:
        return None
    found: dict[str, Any] = {"pairs": len(rows)}
    for role, model, kept in zip(("student", "teacher"), models, seen.embeddings, strict=True):
        image: Tensor = torch.cat(kept)[rows]
        text = embed_texts(model, [str(firsts[row]) for row in rows], device=device)
        found[role] = {
            "alignment": alignment(image, text),
            "image_uniformity": uniformity(image),
            "text_uniformity": uniformity(text),
        }
    return found
