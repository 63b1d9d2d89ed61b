"""Draw docs/pictures/architecture.svg from the code's own imports: `make pictures`, or `python docs/make_pictures.py`.

`FLOORS` is the house, ground floor first; tests/test_floors.py holds the code to it: whatever stands on a floor imports
only from floors below. The picture is drawn from what is imported, so an arrow in it is an import in the code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "clipdistill"
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("waits",),
    ("files", "locks", "yaml_files"),
    ("petri", "data", "models", "objectives", "recipe"),
    ("export", "evaluate", "stores", "recipe_files", "studies"),
    ("kinds",),
    ("report", "tasks"),
    ("engine",),
    ("runs", "running"),
    ("analysis", "mitigate", "rehearsal"),
    ("cli_analysis", "cli_data", "cli_doctor", "cli_study"),
    ("cli", "__init__"),
)
EVERYWHERE = (
    "errors",
    "waits",
    "files",
    "locks",
    "yaml_files",
)  # drawn without their arrows: nearly everything uses them


class Import(NamedTuple):
    """`file` (relative to the package), on `line`, imports from the part `target` of the package."""

    file: str
    line: int
    part: str
    target: str


def part_of(file: Path) -> str:
    """The file's part of the package: its top folder, or its own name at the top."""
    return file.relative_to(SOURCE).with_suffix("").parts[0]


def imports() -> list[Import]:
    """Every import from one part of the package into another, wherever in a file it stands."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for module in _modules(node):
                parts, line = module.split("."), getattr(node, "lineno", 0)
                if parts[0] == "clipdistill" and len(parts) > 1 and parts[1] != part_of(file):
                    found.append(Import(str(file.relative_to(SOURCE)), line, part_of(file), parts[1]))
    return found


def _modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
        # `from clipdistill import files` names a part in the list of names
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> list[tuple[str, str]]:
    """(part, part that it imports from), without those that everything uses."""
    return sorted({(i.part, i.target) for i in imports() if i.target not in EVERYWHERE})


def described() -> str:
    """What the picture shows, in one line; it is kept inside the file, so that a stale picture can be told."""
    return "; ".join(f"{part} -> {target}" for part, target in arrows())


def draw(path: Path) -> None:
    """Draw the house: floors as rows, imports as arrows downwards."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "clipdistill"  # the same file again from the same code
    matplotlib.rcParams["svg.fonttype"] = "path"
    from matplotlib import pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    width, across, high = 10.0, 1.62, 0.62
    floors = FLOORS[1:]  # what is used everywhere shares the lowest row
    places: dict[str, tuple[float, float]] = {}
    for level, names in enumerate(floors):
        row = EVERYWHERE if level == 0 else names
        for column, name in enumerate(row):
            places[name] = ((column + 0.5) * width / len(row), level * 1.25)
    figure, axes = plt.subplots(figsize=(10, 8.2))
    for level in range(len(floors)):
        shade = "#f3f5f7" if level % 2 else "#fafbfc"
        axes.add_patch(plt.Rectangle((0, level * 1.25 - 0.6), width, 1.22, color=shade, zorder=0))
    palette = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    colours = dict(zip(("cli", "__init__", "runs", "engine", "tasks", "report"), palette, strict=False))
    for part, target in arrows():
        (x, y), (u, v) = places[part], places[target]
        span = max(abs(y - v) / 1.25, 1)
        shift = max(-0.55, min(0.55, (u - x) * 0.12))
        bend = 0.0 if span == 1 else (0.10 if u >= x else -0.10) * min(span, 3)
        axes.add_patch(
            FancyArrowPatch(
                (x + shift, y - high / 2), (u - shift, v + high / 2), arrowstyle="-|>", mutation_scale=9, lw=1.0,
                color=colours.get(part, "#6b7785"), alpha=0.75, connectionstyle=f"arc3,rad={bend}", zorder=2,
            )
        )  # fmt: skip
    for name, (x, y) in places.items():
        box = FancyBboxPatch(
            (x - across / 2, y - high / 2), across, high, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor="white", edgecolor=colours.get(name, "#3d4852"), lw=1.4, zorder=3,
        )  # fmt: skip
        axes.add_patch(box)
        label = "clipdistill (Python)" if name == "__init__" else name + ("/" if (SOURCE / name).is_dir() else ".py")
        axes.text(x, y, label, ha="center", va="center", fontsize=10 if name != "__init__" else 8.5, zorder=4)
    note = "used on every floor; their arrows are left out"
    axes.text(width / 2, -0.58, note, ha="center", fontsize=8, color="#6b7785")
    axes.set_xlim(0, width)
    axes.set_ylim(-0.68, (len(floors) - 1) * 1.25 + 0.62)
    axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"Date": None, "Description": described()} if path.suffix == ".svg" else None
    figure.savefig(path, bbox_inches="tight", metadata=about)
    plt.close(figure)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    draw(target)
    print(target)
