"""The words of the petri world: what objects, backgrounds and styles there are, and what they look like."""

from __future__ import annotations

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "star",
    "heart",
    "cross",
    "ring",
    "moon",
    "arrow",
)

# sRGB, 0-255. Chosen far apart, so that tint and light never carry one colour into another.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "orange": (250, 135, 20),
    "yellow": (250, 225, 30),
    "green": (30, 150, 50),
    "cyan": (50, 220, 220),
    "blue": (35, 65, 215),
    "purple": (130, 40, 165),
    "pink": (255, 145, 195),
    "brown": (125, 75, 35),
    "white": (252, 252, 252),
}

# Radius of the circle around an object, as a share of the picture's side.
SIZES: dict[str, float] = {"small": 0.125, "large": 0.190}

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checkered")

# Each background: colour at the top, colour at the bottom (sRGB), and the depth of its tiling (0 = none).
BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], float]] = {
    "paper": ((238, 235, 224), (232, 228, 216), 0.0),
    "sand": ((222, 196, 148), (206, 176, 126), 0.0),
    "sky": ((150, 190, 230), (215, 232, 246), 0.0),
    "slate": ((70, 76, 88), (54, 60, 72), 0.0),
    "grass": ((168, 204, 140), (140, 182, 112), 0.0),
    "tiles": ((178, 178, 184), (178, 178, 184), 0.14),
}

DOMAINS: tuple[str, ...] = ("plain", "sketch", "night")
SKEWS: tuple[str, ...] = ("even", "natural")
SPLITS: tuple[str, ...] = ("train", "val", "test")

RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
OPPOSITE: dict[str, str] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def attribute_pairs() -> list[tuple[str, str]]:
    """Return all (colour, shape) pairs, in the order in which they are held out of training.

    The order walks along diagonals of the colour x shape table, so the first 10 held-out pairs touch every colour
    and every shape once, and no colour or shape is ever lost from training while there are fewer than 90 of them.
    """
    colours = list(COLOURS)
    count = len(colours)
    return [(colours[(3 * k + d) % count], SHAPES[k]) for d in range(count) for k in range(len(SHAPES))]
