"""Draw scenes: vectorised signed distances in torch, on any device, at any resolution, with smooth edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipdistill.petri.scenes import Scene, Thing
from clipdistill.petri.shapes import DISTANCES, outline
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, DOMAINS, PATTERNS, SHAPES

PERIOD = 0.085  # of stripes, dots and checks, in picture sides: five and a half pixels at 64 x 64
_EDGE = 0.016  # width of an object's outline, in picture sides
_SHADE = 0.3  # brightness of a pattern's second tone
_SHADOW = 0.22  # brightness of the outline


@dataclass(frozen=True)
class _Style:
    """How a domain paints: how far backgrounds and fills fade to a colour, the outline's width, the noise's depth."""

    ground: float = 0.0
    fill: float = 0.0
    ground_to: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill_to: tuple[float, float, float] = (1.0, 1.0, 1.0)
    edge: float = 1.0
    noise: float = 0.0


_PENCIL = (0.98, 0.97, 0.94)
_STYLES = {
    "plain": _Style(),
    "sketch": _Style(0.9, 0.6, _PENCIL, _PENCIL, 1.6, 0.02),
    "night": _Style(0.75, 0.45, (0.03, 0.04, 0.10), (0.05, 0.07, 0.16), 1.0, 0.06),
}


def render(
    scenes: Sequence[Scene], size: int = 64, device: str | torch.device = "cpu", chunk: int | None = None
) -> Tensor:
    """Return the pictures of `scenes`: uint8 [N, 3, size, size] on `device`.

    A picture depends on its scene and on `size` alone: not on `chunk`, nor on which scenes are drawn beside it.
    `chunk` scenes are drawn at a time; by default as many as keep the working memory under about 100 MB.

    Raises:
        ValueError: `size` is below 8 pixels.
    """
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, not {size}")
    device = torch.device(device)
    chunk = chunk or max(1, min(64, 2**18 // size**2))
    pictures = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8, device=device)
    grounds = _grounds(size, device)
    for start in range(0, len(scenes), chunk):
        part = scenes[start : start + chunk]
        pictures[start : start + chunk] = _draw(part, size, device, grounds)
    return pictures


def boxes(scene: Scene, size: int) -> np.ndarray:
    """Return float64 [things, 4]: the tight xyxy box of each thing, in pixels of a picture of `size` x `size`.

    From the signed distance function's outermost points, so they don't depend on the renderer's pixel grid.
    """
    found = np.empty((len(scene.things), 4))
    for row, thing in zip(found, scene.things, strict=True):
        c, s = math.cos(thing.angle), math.sin(thing.angle)
        points = outline(thing.shape) @ np.array([[c, s], [-s, c]]) * thing.radius + (thing.x, thing.y)
        row[:2], row[2:] = points.min(0), points.max(0)
    return np.clip(found * size, 0.0, float(size))


def _draw(scenes: Sequence[Scene], size: int, device: torch.device, grounds: Tensor) -> Tensor:
    styles = [_STYLES[scene.domain] for scene in scenes]
    domains = torch.tensor([DOMAINS.index(scene.domain) for scene in scenes], device=device)
    which = torch.tensor([list(BACKGROUNDS).index(scene.background) for scene in scenes], device=device)
    picture = grounds[domains, which]
    light = torch.tensor([scene.light for scene in scenes], dtype=torch.float32, device=device)
    picture = picture * light[:, None, None, None]
    # One row an object, sorted by shape: one call of each signed distance function draws all objects of a chunk.
    rows = sorted(
        ((n, thing) for n, scene in enumerate(scenes) for thing in scene.things), key=lambda r: SHAPES.index(r[1].shape)
    )
    picture = picture.permute(0, 2, 3, 1).reshape(-1, 3)
    if rows:
        reach = max(thing.radius for _, thing in rows)
        # Six pixels more than the widest object: smooth edges reach two pixels past a sharp tip.
        side = min(size, math.ceil(2 * 1.03 * reach * size) + 6)
        cover, colour, flat = _paint(rows, styles, side, size, device)
        # Objects never overlap: of a pixel's addends one, at two close tips two, aren't zero, so their order is free.
        ink = torch.zeros(len(picture), 4, device=device)
        ink.index_add_(0, flat.reshape(-1), torch.cat([colour * cover[..., None], cover[..., None]], -1).reshape(-1, 4))
        picture = picture * (1.0 - ink[:, 3:]) + ink[:, :3]
    picture = picture.reshape(len(scenes), size, size, 3).permute(0, 3, 1, 2)
    noisy = [n for n, style in enumerate(styles) if style.noise]
    if noisy:
        scale = torch.tensor([styles[n].noise for n in noisy], dtype=torch.float32, device=device)
        grain = torch.tensor([scenes[n].grain for n in noisy], device=device)
        picture[noisy] += _noise(grain, size) * scale[:, None, None, None]
    return (picture * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8)


def _paint(
    rows: list[tuple[int, Thing]], styles: list[_Style], side: int, size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Paint each object on its own patch: cover [R, side, side], colour [R, side, side, 3], flat pixel index."""
    table = [
        (
            t.x, t.y, t.radius, math.cos(t.angle), math.sin(t.angle), t.tint, styles[n].edge,
            styles[n].fill, *styles[n].fill_to, *(c / 255 for c in COLOURS[t.colour]),
        )
        for n, t in rows
    ]  # fmt: skip
    values = torch.tensor(table, dtype=torch.float64).to(torch.float32).to(device)
    cx, cy, radius, cos, sin, tint, edge = (values[:, k, None, None] for k in range(7))
    image = torch.tensor([n for n, _ in rows], device=device)
    # The patch's corner: whole pixels, computed in double on the host so that it never depends on the device.
    corner = [[max(0, min(size - side, round(c * size - side / 2))) for c in (t.x, t.y)] for _, t in rows]
    corners = torch.tensor(corner, device=device)
    steps = torch.arange(side, device=device)
    column, line = corners[:, 0, None] + steps, corners[:, 1, None] + steps
    flat = (image[:, None, None] * size + line[:, :, None]) * size + column[:, None, :]
    dx = (column.float()[:, None, :] + 0.5) / size - cx
    dy = (line.float()[:, :, None] + 0.5) / size - cy
    u, v = dx * cos + dy * sin, dy * cos - dx * sin  # picture sides, in the object's own frame
    x, y = u / radius, v / radius

    names = [t.shape for _, t in rows]
    distance = torch.empty_like(x)
    for shape in dict.fromkeys(names):
        span = slice(names.index(shape), names.index(shape) + names.count(shape))
        distance[span] = DISTANCES[shape](x[span], y[span])
    distance = distance * radius * size  # pixels
    cover = (0.5 - distance).clamp(0.0, 1.0)
    rim = (0.5 + distance + edge * (_EDGE * size)).clamp(0.0, 1.0)
    tone = _tone([t.pattern for _, t in rows], u, v, size)
    shade = tone * (1.0 - _SHADE) + _SHADE
    # Fading a style towards its paper comes before the outline, which stays dark.
    shade = shade * (1.0 - rim) + rim * _SHADOW
    fade = values[:, 7, None, None] * (1.0 - rim)
    colour = values[:, None, None, 11:14] * (tint * shade)[..., None]
    return cover, colour * (1.0 - fade)[..., None] + values[:, None, None, 8:11] * fade[..., None], flat


def _tone(patterns: list[str], u: Tensor, v: Tensor, size: int) -> Tensor:
    """Return 1 where an object has its colour and 0 where its pattern has the second tone, [R, side, side]."""
    tone = torch.ones_like(u)
    pixels = PERIOD * size
    for pattern in PATTERNS[1:]:
        rows = [n for n, name in enumerate(patterns) if name == pattern]
        if not rows:
            continue
        a, b = u[rows] / PERIOD, v[rows] / PERIOD
        a, b = a - a.floor() - 0.5, b - b.floor() - 0.5  # -0.5 ... 0.5 within a cell
        if pattern == "striped":
            tone[rows] = ((b.abs() - 0.25) * pixels + 0.5).clamp(0.0, 1.0)
        elif pattern == "dotted":
            tone[rows] = (((a * a + b * b).sqrt() - 0.3) * pixels + 0.5).clamp(0.0, 1.0)
        else:
            wave_a = ((a.abs() - 0.25) * 2 * pixels).clamp(-1.0, 1.0)
            wave_b = ((b.abs() - 0.25) * 2 * pixels).clamp(-1.0, 1.0)
            tone[rows] = wave_a * wave_b * 0.5 + 0.5
    return tone


def _grounds(size: int, device: torch.device) -> Tensor:
    """Return float32 [domains, backgrounds, 3, size, size]: every background in every style, in [0, 1]."""
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    tiles = ((axis * 8).floor()[:, None] + (axis * 8).floor()[None, :]) % 2
    styles = []
    for style in (_STYLES[domain] for domain in DOMAINS):
        made = []
        towards = torch.tensor(style.ground_to, dtype=torch.float64)[:, None, None]
        for top, bottom, depth in BACKGROUNDS.values():
            upper, lower = (torch.tensor(c, dtype=torch.float64)[:, None, None] / 255 for c in (top, bottom))
            ground = (upper + (lower - upper) * axis[None, :, None]) * (1.0 - depth * tiles)
            made.append(ground * (1 - style.ground) + towards * style.ground)
        styles.append(torch.stack(made))
    return torch.stack(styles).to(torch.float32).to(device)


def _noise(grain: Tensor, size: int) -> Tensor:
    """Return float32 [N, 1, size, size] in [-1, 1): a 32-bit integer hash of (grain, pixel), the same on any device."""
    place = torch.arange(size * size, device=grain.device)
    z = (grain[:, None] * 2654435761 + place * 40503) & 0xFFFFFFFF
    for shift, factor in ((16, 0x45D9F3B), (16, 0x45D9F3B)):
        z = ((z ^ (z >> shift)) * factor) & 0xFFFFFFFF
    z = z ^ (z >> 16)
    return (z.to(torch.float64) * 2.0**-31 - 1.0).to(torch.float32).reshape(-1, 1, size, size)
