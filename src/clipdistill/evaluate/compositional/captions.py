"""Benchmarks of one picture with one true caption and a false one: SugarCrepe and CLEVR pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.compositional.groups import Group, Part, Picture, wins
from clipdistill.evaluate.compositional.pictures import WHO, need_pictures
from clipdistill.evaluate.rows import Row, json_rows, read_json

SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
SUGARCREPE_HOW = (
    "put the seven files of data/ in github.com/RAIVNLab/sugar-crepe there and COCO's val2017 pictures in val2017/"
)
CLEVR_HOW = "put CLEVR v1.0's scenes/CLEVR_val_scenes.json and images/val/ there"
SIDES = {"left": "to the left of", "right": "to the right of", "front": "in front of", "behind": "behind"}


def by_tag(groups: Sequence[Group], scores: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the accuracy (strict: ties fail), its mean over tags (`macro`) and each tag's; how many cases each has."""
    right = [wins(s) for s in scores]
    tags: dict[str, list[bool]] = {}
    for group, hit in zip(groups, right, strict=True):
        for tag in group.tags:
            tags.setdefault(tag, []).append(hit)
    each = {tag: sum(hits) / len(hits) for tag, hits in sorted(tags.items())}
    metrics = {"accuracy": sum(right) / max(1, len(right)), "macro": sum(each.values()) / max(1, len(each))}
    return metrics | {f"accuracy/{t}": v for t, v in each.items()}, {"counts": {t: len(h) for t, h in tags.items()}}


def read_sugarcrepe(folder: str | Path) -> list[Group]:
    """Read the seven official files (filename, caption, negative_caption), there or in data/; pictures in val2017/.

    Raises:
        UserError: a file, the pictures, or a row's field is missing or wrong.
    """
    folder = Path(folder)
    files = folder / "data" if (folder / "data" / "swap_obj.json").is_file() else folder
    groups = []
    for kind in SUGARCREPE:
        for number, row in enumerate(json_rows(files / f"{kind}.json", SUGARCREPE_HOW, WHO, keyed=True)):
            picture = Picture(str(folder / "val2017" / row.text("filename")), where=row.where("filename"))
            captions = (row.text("caption"), row.text("negative_caption"))
            groups.append(Group((picture,), captions, (kind,), f"{kind}/{number}"))
    need_pictures(folder / "val2017", SUGARCREPE_HOW)
    return groups


def sugarcrepe(folder: str | Path) -> list[Part]:
    """SugarCrepe (2023): accuracy a file, and their mean."""
    return [Part("sugarcrepe", "sugarcrepe", read_sugarcrepe(folder), SUGARCREPE_HOW, by_tag)]


def clevr_pairs(scene: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (kind, true caption, false caption) of a CLEVR scene: at most one a kind.

    SDS-CLIP's appendix J doesn't say how captions are made. Ours: the first two objects whose colours and shapes differ
    and whose (colour, shape) occur once. "attribute" swaps the colours, where no object has either swapped pair;
    "relation" swaps the objects around "to the left of", "in front of" and so on, from the scene's relationships.
    """
    things = [(item["color"], item["shape"]) for item in scene["objects"]]
    found: dict[str, tuple[str, str, str]] = {}
    for i, j in combinations(range(len(things)), 2):
        (c, s), (d, t) = things[i], things[j]
        if c == d or s == t or things.count(things[i]) > 1 or things.count(things[j]) > 1:
            continue
        if (c, t) not in things and (d, s) not in things:
            pair = (f"a {c} {s} and a {d} {t}", f"a {d} {s} and a {c} {t}")
            found.setdefault("attribute", ("attribute", *pair))
        for word, text in SIDES.items():
            # relationships[word][j] lists the objects that lie on that side of object j.
            if i in scene["relationships"][word][j]:
                pair = (f"a {c} {s} {text} a {d} {t}", f"a {d} {t} {text} a {c} {s}")
                found.setdefault(f"relation {word}", (f"relation {word}", *pair))
    return list(found.values())


def read_clevr(folder: str | Path) -> list[Group]:
    """Read scenes/CLEVR_val_scenes.json and images/val/ into pairs of captions.

    Raises:
        UserError: a file, the pictures, or a scene's field is missing or wrong.
    """
    folder = Path(folder)
    file = folder / "scenes" / "CLEVR_val_scenes.json"
    groups = []
    content = read_json(file, CLEVR_HOW, WHO)
    for scene in Row(file, "the object", content, CLEVR_HOW, WHO).rows("scenes"):
        name = scene.text("image_filename")
        picture = Picture(str(folder / "images" / "val" / name), where=scene.where("image_filename"))
        objects = [{field: item.text(field) for field in ("color", "shape")} for item in scene.rows("objects")]
        checked = {"objects": objects, "relationships": _relationships(scene, len(objects))}
        for kind, *texts in clevr_pairs(checked):
            groups.append(Group((picture,), tuple(texts), (kind,), f"{name}/{kind}"))
    if not groups:
        raise UserError(f"compositional: {file} gives no pair of captions; {CLEVR_HOW}")
    need_pictures(folder / "images" / "val", CLEVR_HOW)
    return groups


def _relationships(scene: Row, count: int) -> dict[str, list[list[int]]]:
    """The four sides of a scene, each a list of object numbers for each object."""
    sides = Row(scene.file, f"{scene.place}, relationships", scene.get("relationships"), scene.how, WHO)
    found = {word: sides.entries(word, count) for word in SIDES}
    for word, lists in found.items():
        if len(lists) != count or not all(isinstance(each, list) for each in lists):
            raise sides.bad(word, f"isn't one list for each of the {count} objects")
    return found


def clevr(folder: str | Path) -> list[Part]:
    """CLEVR pairs: accuracy, by kind, and the mean over kinds."""
    return [Part("clevr", "clevr", read_clevr(folder), CLEVR_HOW, by_tag)]
