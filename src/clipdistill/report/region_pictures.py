"""A sheet of pictures with their regions drawn over them: what a meta-teacher was shown."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipdistill.data.pictures import Pictures
from clipdistill.stores.regions import StoredRegions

COLOURS = ("#0b8a7a", "#c2620f", "#6d4fd0", "#b3261e", "#1f6feb")


def region_sheet(pictures: Sequence[tuple[Image.Image, StoredRegions]], columns: int = 4) -> bytes:
    """Draw boxes, class names and confidences over pictures, side by side; returns a PNG."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    lines = -(-len(pictures) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3 * columns, 2.9 * lines), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (image, found) in zip(axes.flat, pictures, strict=False):
        axis.imshow(np.asarray(image))
        for number, (box, score, label) in enumerate(zip(found.boxes, found.scores, found.labels, strict=True)):
            colour = COLOURS[number % len(COLOURS)]
            left, top, right, bottom = (float(side) for side in box)
            axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.6))
            note = {"facecolor": colour, "edgecolor": "none", "pad": 1.2}
            axis.text(left, top, f"{label} {score:.2f}", fontsize=7, color="white", va="bottom", bbox=note)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return buffer.getvalue()


def regions_of(runs: Sequence[Path]) -> tuple[bytes | None, str]:
    """The sheet that a run drew, and a sentence on how much of the captions its meta-teacher's targets hold."""
    sheet = next((run / "regions.png" for run in runs if (run / "regions.png").is_file()), None)
    notes = [json.loads((run / "teacher" / "targets.json").read_text()) for run in runs if _has_targets(run)]
    if not notes:
        return (sheet.read_bytes() if sheet else None), ""

    def shares(what: str, among: str) -> str:
        found = [100 * note[what][among] for note in notes]
        return f"{sum(found) / len(found):.1f} %" + (
            f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
        )

    text = (
        "A target is made with one caption. Guessing that caption from the target alone succeeds in "
        f"{shares('target', 'same_picture')} of cases among the captions of the picture (chance "
        f"{100 * notes[0]['chance']:.0f} %) and in {shares('target', 'all')} among {notes[0]['captions']:,}; from "
        f"the mean of the regions in {shares('regions_alone', 'same_picture')} and {shares('regions_alone', 'all')}."
    )
    return (sheet.read_bytes() if sheet else None), text


def _has_targets(run: Path) -> bool:
    return (run / "teacher" / "targets.json").is_file()


def draw_regions(data: Any, regions: Any, file: Path, pictures: int = 12) -> None:
    """Draw the stored regions of pictures from all over a mixture into `file`, for the report."""
    some: list[tuple[Any, Any]] = []
    distinct = Pictures(data)
    positions = range(0, len(distinct), max(1, len(distinct) // pictures))
    rows = regions.rows([distinct.ids[position] for position in positions])
    for position, row in list(zip(positions, rows.tolist(), strict=True))[:pictures]:
        if distinct.ids[position] not in regions.bad:
            some.append((distinct[position].image.open(), regions.regions(row)))
    if some:
        file.write_bytes(region_sheet(some))
