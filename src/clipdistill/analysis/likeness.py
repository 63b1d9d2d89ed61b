"""`clipdistill cka`: two models by name, over the pictures of one source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch

from clipdistill.analysis.analysing import finite
from clipdistill.engine.tracking import LaterMeter
from clipdistill.errors import UserError
from clipdistill.evaluate.likeness.comparing import compare_models
from clipdistill.evaluate.sources import open_sources
from clipdistill.files import require_writable, write_json
from clipdistill.kinds import open_trained, require_weights
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
