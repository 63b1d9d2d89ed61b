"""A sheet of pictures with their regions drawn over them: what a meta-teacher was shown."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

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
