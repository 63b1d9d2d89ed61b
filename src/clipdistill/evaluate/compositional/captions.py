"""Benchmarks of one picture with one true caption and false ones: SugarCrepe, ARO's order tasks, CLEVR pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from clipdistill.evaluate.compositional.groups import Group, Matcher, Picture, need_pictures, read_json, wins
from clipdistill.evaluate.results import Progress, Result

SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
SUGARCREPE_HOW = "put SugarCrepe's seven JSON files there and COCO's val2017 pictures in val2017/"
CLEVR_HOW = "put CLEVR v1.0's scenes/CLEVR_val_scenes.json and images/val/ there"
ORDER_HOW = 'write a JSON list of {"image": ..., "caption_options": [true, false, ...]}, by the ARO authors\' code'


def by_tag(name: str, data: str, groups: Sequence[Group], scores: Sequence[Tensor]) -> Result:
    """Return the accuracy (strict: ties fail), its mean over tags (`macro`) and each tag's."""
    right = [wins(s) for s in scores]
    tags: dict[str, list[bool]] = {}
    for group, hit in zip(groups, right, strict=True):
        for tag in group.tags:
            tags.setdefault(tag, []).append(hit)
    each = {tag: sum(hits) / len(hits) for tag, hits in sorted(tags.items())}
    metrics = {"accuracy": sum(right) / max(1, len(right))}
    if each:
        metrics |= {"macro": sum(each.values()) / len(each)} | {f"accuracy/{t}": v for t, v in each.items()}
    return Result(name, data, len(groups), metrics, {"counts": {tag: len(hits) for tag, hits in tags.items()}})


def read_sugarcrepe(folder: str | Path) -> list[Group]:
    """Read the seven official files (filename, caption, negative_caption); pictures in val2017/ or images/."""
    folder = Path(folder)
    images = folder / "val2017" if (folder / "val2017").is_dir() else folder / "images"
    need_pictures(images, SUGARCREPE_HOW)
    groups = []
    for kind in SUGARCREPE:
        rows = read_json(folder / f"{kind}.json", SUGARCREPE_HOW)
        for key, row in rows.items() if isinstance(rows, dict) else enumerate(rows):
            picture = Picture(str(images / row["filename"]))
            groups.append(Group((picture,), (row["caption"], row["negative_caption"]), (kind,), f"{kind}/{key}"))
    return groups


def sugarcrepe(matcher: Matcher, folder: str | Path, progress: Progress | None = None) -> Result:
    """Score SugarCrepe (2023): accuracy a file, and their mean."""
    groups = read_sugarcrepe(folder)
    return by_tag("sugarcrepe", "sugarcrepe", groups, matcher.scores(groups, progress))


def read_order(file: str | Path, images: str | Path) -> list[Group]:
    """Read perturbed captions from a file: making them needs a part-of-speech tagger."""
    need_pictures(Path(images), ORDER_HOW)
    return [
        Group((Picture(str(Path(images) / row["image"])),), tuple(row["caption_options"]), (), str(number))
        for number, row in enumerate(read_json(Path(file), ORDER_HOW))
    ]


def clevr_pairs(scene: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (kind, true caption, false caption) of a CLEVR scene: at most one a kind.

    SDS-CLIP's appendix J doesn't say how captions are made. Ours: the first two objects whose colours and shapes differ
    and whose (colour, shape) occur once. "attribute" swaps the colours, where no object has either swapped pair;
    "relation" swaps the objects around "to the left of", "in front of" and so on, from the scene's relationships.
    """
    things = [(item["color"], item["shape"]) for item in scene["objects"]]
    said = {"left": "to the left of", "right": "to the right of", "front": "in front of", "behind": "behind"}
    found: dict[str, tuple[str, str, str]] = {}
    for i, j in combinations(range(len(things)), 2):
        (c, s), (d, t) = things[i], things[j]
        if c == d or s == t or things.count(things[i]) > 1 or things.count(things[j]) > 1:
            continue
        if (c, t) not in things and (d, s) not in things:
            pair = (f"a {c} {s} and a {d} {t}", f"a {d} {s} and a {c} {t}")
            found.setdefault("attribute", ("attribute", *pair))
        for word, text in said.items():
            # relationships[word][j] lists the objects that lie on that side of object j.
            if i in scene["relationships"][word][j]:
                pair = (f"a {c} {s} {text} a {d} {t}", f"a {d} {t} {text} a {c} {s}")
                found.setdefault(f"relation {word}", (f"relation {word}", *pair))
    return list(found.values())


def read_clevr(folder: str | Path) -> list[Group]:
    """Read scenes/CLEVR_val_scenes.json and images/val/ into pairs of captions."""
    folder = Path(folder)
    images = need_pictures(folder / "images" / "val", CLEVR_HOW)
    groups = []
    for scene in read_json(folder / "scenes" / "CLEVR_val_scenes.json", CLEVR_HOW)["scenes"]:
        picture = Picture(str(images / scene["image_filename"]))
        for kind, *texts in clevr_pairs(scene):
            groups.append(Group((picture,), tuple(texts), (kind,), f"{scene['image_filename']}/{kind}"))
    return groups


def clevr(matcher: Matcher, folder: str | Path, progress: Progress | None = None) -> Result:
    """Score CLEVR pairs: accuracy, by kind, and the mean over kinds."""
    groups = read_clevr(folder)
    return by_tag("clevr", "clevr", groups, matcher.scores(groups, progress))
