"""Scenes: one to four objects on a background, each scene a pure function of (rules, seed, stream, index)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, PATTERNS, RELATIONS, SHAPES, SIZES, attribute_pairs

GAP = 0.02  # least distance between two objects, and from an object to the picture's edge, in picture sides
COUNT_SHARES = np.cumsum([0.12, 0.34, 0.32, 0.22])  # one, two, three, four objects
_TRIES = 24


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: positions and radius in picture sides (x right, y down), angle in radians, tint a brightness."""

    shape: str
    colour: str
    size: str
    pattern: str
    x: float
    y: float
    radius: float
    angle: float = 0.0
    tint: float = 1.0

    @property
    def name(self) -> str:
        """The class name, such as "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows. `grain` seeds the noise of the style domain; `light` is a brightness factor."""

    things: tuple[Thing, ...]
    background: str
    light: float = 1.0
    grain: int = 0
    domain: str = "plain"

    def key(self) -> str:
        """Return the scene description without positions: equal keys mean the same things on the same background."""
        things = sorted(f"{t.size} {t.pattern} {t.colour} {t.shape}" for t in self.things)
        return f"{self.background}: " + ", ".join(things)


@dataclass(frozen=True, slots=True)
class SceneRules:
    """What scenes are drawn from.

    `pairs`: the (colour, shape) pairs allowed. `skew`: "even", or "natural" where each shape has preferred colours
    with probabilities falling as 1 / rank (Zipf). `domain`: style of the pictures.
    """

    pairs: frozenset[tuple[str, str]] = frozenset(attribute_pairs())
    skew: str = "even"
    domain: str = "plain"
    scenes: str = "full"


@lru_cache(maxsize=32)
def pair_table(rules: SceneRules) -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
    """Return the allowed pairs and their probabilities, float64 [pairs], under `rules`.

    Natural skew ranks the colours of a shape in an order that is different for every shape but the same for every
    seed (a teacher and a student trained on different seeds live in the same world); pairs held out leave their
    share to the others of the shape.
    """
    pairs: list[tuple[str, str]] = []
    weights: list[float] = []
    for shape in SHAPES:
        ranked = [list(COLOURS)[i] for i in Draws(stream("natural colours", shape)).order(len(COLOURS))]
        allowed = [colour for colour in ranked if (colour, shape) in rules.pairs]
        shares = np.array([1.0 / (1 + ranked.index(c)) if rules.skew == "natural" else 1.0 for c in allowed])
        if rules.skew == "natural":  # shapes stay even: only which colour comes with which shape is skewed
            shares = shares / shares.sum() if len(shares) else shares
        pairs += [(colour, shape) for colour in allowed]
        weights += [float(share) for share in shares]
    probabilities = np.array(weights)
    return tuple(pairs), probabilities / probabilities.sum()


@lru_cache(maxsize=32)
def _cumulative(rules: SceneRules) -> np.ndarray:
    return np.cumsum(pair_table(rules)[1])


def draw_scene(rules: SceneRules, *place: object, count: int | None = None) -> Scene:
    """Return the scene at `place` (seed, split, index, ...): the same place always gives the same scene.

    `count` fixes the number of objects. No two objects of a scene have the same colour and shape, so that a caption
    that names both always means one object.
    """
    if rules.scenes == "pairs" and count is None:
        return draw_pair_scene(rules, *place)
    draws = Draws(stream("scene", *place), 64 + _TRIES * 8)
    pairs, cumulative = pair_table(rules)[0], _cumulative(rules)
    drawn = 1 + draws.weighted(COUNT_SHARES)
    count = min(count or drawn, len(pairs))
    chosen: list[tuple[str, str]] = []
    while len(chosen) < count:
        pair = pairs[draws.weighted(cumulative)]
        if pair not in chosen:
            chosen.append(pair)
    background = list(BACKGROUNDS)[draws.integer(len(BACKGROUNDS))]
    light, grain = draws.uniform(0.93, 1.0), draws.integer(2**31)
    sizes = [list(SIZES)[draws.integer(len(SIZES))] for _ in chosen]
    radii = np.array([SIZES[size] * draws.uniform(0.94, 1.06) for size in sizes])
    places = _place(radii, draws)
    things = tuple(
        Thing(
            shape,
            colour,
            size,
            PATTERNS[draws.integer(len(PATTERNS))],
            round(float(x), 5),
            round(float(y), 5),
            round(float(radius), 5),
            round(draws.uniform(-0.2, 0.2), 5),
            round(draws.uniform(0.9, 1.0), 5),
        )
        for (colour, shape), size, radius, (x, y) in zip(chosen, sizes, radii, places, strict=True)
    )
    return Scene(things, background, round(light, 5), grain, rules.domain)


def draw_pair_scene(rules: SceneRules, *place: object) -> Scene:
    """Return two large plain things side by side or one above the other: the relation of the first is always clear."""
    draws = Draws(stream("pair scene", *place))
    pairs, cumulative = pair_table(rules)[0], _cumulative(rules)
    chosen = [pairs[draws.weighted(cumulative)]]
    while len(chosen) < 2:
        pair = pairs[draws.weighted(cumulative)]
        if pair not in chosen:
            chosen.append(pair)
    background = list(BACKGROUNDS)[draws.integer(len(BACKGROUNDS))]
    light, grain, word = draws.uniform(0.93, 1.0), draws.integer(2**31), draws.integer(4)
    things = []
    for side, (colour, shape) in enumerate(chosen):
        along = (0.26 if side == word % 2 else 0.74) + draws.uniform(-0.03, 0.03)
        across = draws.uniform(0.36, 0.64)
        x, y = (along, across) if word < 2 else (across, along)
        radius = SIZES["large"] * draws.uniform(0.94, 1.06)
        angle, tint = draws.uniform(-0.2, 0.2), draws.uniform(0.9, 1.0)
        things.append(
            Thing(
                shape,
                colour,
                "large",
                "plain",
                round(x, 5),
                round(y, 5),
                round(radius, 5),
                round(angle, 5),
                round(tint, 5),
            )
        )
    return Scene(tuple(things), background, round(light, 5), grain, rules.domain)


def _place(radii: np.ndarray, draws: Draws) -> np.ndarray:
    """Return centres, float64 [n, 2], such that the circles of `radii` keep `GAP` from each other and the edges."""
    n = len(radii)
    low = radii + GAP
    tries: np.ndarray = low[:, None] + draws.take(_TRIES * n * 2).reshape(_TRIES, n, 2) * (1.0 - 2.0 * low)[:, None]
    distance = np.linalg.norm(tries[:, :, None] - tries[:, None], axis=-1)
    need = radii[:, None] + radii[None] + GAP
    np.fill_diagonal(need, 0.0)
    good = (distance >= need).all(axis=(1, 2))
    if good.any():
        first: np.ndarray = tries[int(np.argmax(good))]
        return first
    # Four large objects rarely fit by chance: give each a quarter of the picture and jitter it inside.
    corners = np.array([(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)])[draws.order(4)[:n]]
    slack = np.maximum(0.25 - radii - GAP, 0.0)[:, None]
    return corners + (draws.take(2 * n).reshape(n, 2) * 2.0 - 1.0) * slack


def relation(a: Thing, b: Thing) -> str | None:
    """Return how `a` lies to `b` ("left of", "right of", "above", "below"), or None when neither direction is clear.

    Clear means that one direction's distance is at least 1.3 times the other's; the word is then true on its own and
    its direction is the one a person would name first.
    """
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) >= 1.3 * abs(dy):
        return RELATIONS[0] if dx < 0 else RELATIONS[1]
    if abs(dy) >= 1.3 * abs(dx):
        return RELATIONS[2] if dy < 0 else RELATIONS[3]
    return None


def region(thing: Thing) -> str:
    """Return where the centre of `thing` lies: "top left", "top", ..., "centre" (thirds of the picture)."""
    vertical = "top" if thing.y < 1 / 3 else "bottom" if thing.y > 2 / 3 else ""
    horizontal = "left" if thing.x < 1 / 3 else "right" if thing.x > 2 / 3 else ""
    return f"{vertical} {horizontal}".strip() or "centre"
