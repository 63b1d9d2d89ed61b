"""The frontier between a base and its student: retrieval gained against zero-shot kept, as a picture and a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """One mixture of the weights: alpha (0 = base, 1 = student), retrieval and zero-shot accuracy as fractions, and
    the share of the base's zero-shot accuracy that is kept (None when the base has none)."""

    alpha: float
    retrieval: float
    zero_shot: float
    kept: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


def choose(points: Sequence[Point], keep: float) -> Point:
    """The best retrieval among the points that keep at least the share `keep` of zero-shot accuracy.

    The base keeps all of its own, so there is always one; of equals the one nearest to the base.
    """
    fitting = [point for point in points if point.kept is None or point.kept >= keep or point.alpha == 0]
    return max(fitting, key=lambda point: (point.retrieval, -point.alpha))


def frontier_table(points: Sequence[Point], chosen: Point, retrieval: str, zero_shot: str) -> str:
    """The points as a Markdown table; `retrieval` and `zero_shot` say what was measured on what."""
    base = points[0]
    lines = [
        f"| alpha | {retrieval} | gain | {zero_shot} | kept | |",
        "|---:|---:|---:|---:|---:|---|",
    ]
    for point in points:
        kept = "" if point.kept is None else f"{100 * point.kept:.1f} %"
        lines.append(
            f"| {point.alpha:.2f} | {100 * point.retrieval:.1f} | {100 * (point.retrieval - base.retrieval):+.1f} | "
            f"{100 * point.zero_shot:.1f} | {kept} | {'chosen' if point == chosen else ''} |"
        )
    return "\n".join(lines) + "\n"


def frontier_picture(points: Sequence[Point], chosen: Point, retrieval: str, zero_shot: str) -> bytes:
    """Draw the points in their order as SVG: gain to the right, accuracy kept upwards."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    gain = [100 * (point.retrieval - points[0].retrieval) for point in points]
    height = [100 * (point.zero_shot if point.kept is None else point.kept) for point in points]
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    axis.plot(gain, height, color="#0b8a7a", marker="o", markersize=4, linewidth=1.2)
    for point, x, y in zip(points, gain, height, strict=True):
        name = {0.0: "base", 1.0: "student"}.get(point.alpha, f"{point.alpha:.1f}")
        axis.annotate(name, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8, color="#68727f")
    at = list(points).index(chosen)
    axis.scatter([gain[at]], [height[at]], s=110, facecolors="none", edgecolors="#c2620f", linewidths=1.8, zorder=3)
    axis.set_xlabel(f"{retrieval}: points gained over the base")
    axis.set_ylabel(f"{zero_shot}: per cent of the base kept")
    axis.grid(color="#dde1e6", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()
