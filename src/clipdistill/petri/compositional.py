"""Petri's compositional split: pairs of pictures whose captions hold the same words in another order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count as count_from
from pathlib import Path

from clipdistill.petri.captions import phrase, where
from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.scenes import Scene, SceneRules, draw_pair_scene, relation
from clipdistill.petri.splits import split_of

KINDS = {"attribute swap": "Object", "relation swap": "Relation", "both": "Both"}  # petri's tag -> Winoground's


@dataclass(frozen=True)
class Swap:
    """Two scenes and the caption of each, of the same words."""

    kind: str
    scenes: tuple[Scene, Scene]
    captions: tuple[str, str]


def pair_caption(scene: Scene) -> str:
    """Return "a red circle left of a blue square" for a scene of two things whose relation is clear."""
    a, b = scene.things
    return f"{phrase(a)} {relation(a, b)} {phrase(b)}"


def swaps(rules: SceneRules, seed: int, count: int) -> Iterator[Swap]:
    """Yield `count` swaps, their kinds taking turns; all four (colour, shape) pairs are allowed by `rules`.

    Both scenes belong to the test split: no training picture shows the same things on the same background.
    """
    for index in range(count):
        kind = list(KINDS)[index % len(KINDS)]
        for attempt in count_from():
            scene = draw_pair_scene(rules, seed, "compositional", kind, index, attempt)
            a, b = scene.things
            if a.colour == b.colour or a.shape == b.shape:
                continue
            if not {(a.colour, b.shape), (b.colour, a.shape)} <= rules.pairs:
                continue
            other = _swapped(scene, kind)
            if split_of(scene) == split_of(other) == "test":
                yield Swap(kind, (scene, other), (pair_caption(scene), pair_caption(other)))
                break


def _swapped(scene: Scene, kind: str) -> Scene:
    a, b = scene.things
    if kind != "relation swap":  # the colours change places
        a, b = replace(a, colour=b.colour), replace(b, colour=a.colour)
    if kind != "attribute swap":  # the things change sides: the second now stands where the first stood
        a, b = replace(b, x=a.x, y=a.y, radius=a.radius), replace(a, x=b.x, y=b.y, radius=b.radius)
    return replace(scene, things=(a, b))


def compositional_work(rules: SceneRules, seed: int, count: int, formats: tuple[str, ...]) -> list[tuple[str, Scene]]:
    """Return (file, scene) of the pictures that the formats "winoground" and "aro" need."""
    work = []
    for number, swap in enumerate(swaps(rules, seed, count)):
        for side, scene in enumerate(swap.scenes):
            if "winoground" in formats:
                work.append((f"winoground/images/ex_{number}_img_{side}.png", scene))
            if "aro" in formats and swap.kind != "both":
                work.append((f"aro/images/{number:06d}_{side}.png", scene))
    return work


def write_winoground(folder: Path, rules: SceneRules, seed: int, count: int) -> None:
    """Write examples.jsonl as Winoground's release has it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, swap in enumerate(swaps(rules, seed, count)):
        row = {"id": number, "image_0": f"ex_{number}_img_0", "image_1": f"ex_{number}_img_1"}
        row |= {"caption_0": swap.captions[0], "caption_1": swap.captions[1], "tag": swap.kind, "secondary_tag": ""}
        row |= {"num_main_preds": 1, "collapsed_tag": KINDS[swap.kind]}
        rows.append(json.dumps(row) + "\n")
    (folder / "examples.jsonl").write_text("".join(rows), encoding="utf-8")


def write_aro(folder: Path, rules: SceneRules, seed: int, count: int, size: int) -> None:
    """Write ARO's two files; the box is the whole picture, for its two things fill it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict[str, object]]] = {"relation": [], "attribution": []}
    for number, swap in enumerate(swaps(rules, seed, count)):
        if swap.kind == "both":
            continue
        for side, scene in enumerate(swap.scenes):
            a, b = scene.things
            row: dict[str, object] = {"image_id": f"{number}_{side}", "image_path": f"{number:06d}_{side}.png"}
            row |= {"bbox_x": 0, "bbox_y": 0, "bbox_w": size, "bbox_h": size}
            row |= {"true_caption": swap.captions[side], "false_caption": swap.captions[1 - side]}
            if swap.kind == "relation swap":
                parts["relation"].append(row | {"relation_name": relation(a, b)})
            else:
                parts["attribution"].append(row | {"attributes": [a.colour, b.colour]})
    for name, rows in parts.items():
        (folder / f"visual_genome_{name}.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")


def pair_captions(scene: Scene, count: int = 5) -> tuple[str, ...]:
    """Return `count` distinct captions that each state both colours, both shapes and how they lie; at most 16.

    Half of the possible ones say the relation ("left of"), half where each thing is ("at the left").
    """
    a, b = scene.things
    texts = []
    for opening in ("", "a picture of ", "there is ", "we see "):
        for x, y in ((a, b), (b, a)):
            texts.append(f"{opening}{phrase(x)} {relation(x, y)} {phrase(y)}")
            texts.append(f"{opening}{phrase(x)} {where(x)} and {phrase(y)} {where(y)}")
    order = Draws(stream("pair captions", scene.grain, scene.key())).order(len(texts))
    return tuple(texts[i] for i in order[:count])
