"""ARO (2023): VG-Relation and VG-Attribution, each case a box of a picture; its order tasks are in order.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from clipdistill.evaluate.compositional.groups import Group, Measure, Part, Picture, wins
from clipdistill.evaluate.compositional.order import order_parts
from clipdistill.evaluate.compositional.pictures import WHO, need_pictures
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.rows import json_rows

HOW = "put visual_genome_relation.json, visual_genome_attribution.json and the unpacked vgr_vga_images.zip there"
MIN_CASES = 25  # attribute pairs with fewer are dropped, as in the authors' scorer
# Relations that the authors' notebook leaves out of VG-Relation's mean: swapping their sides is no test.
SYMMETRIC = frozenset(
    name.strip()
    for name in """
adjusting, around, attached to, beside, between, bigger than, biting, boarding, brushing, by, chewing, cleaning,
climbing, close to, coming from, coming out of, contain, crossing, dragging, draped over, drinking, drinking from,
driving, driving down, driving on, eating from, eating in, enclosing, exiting, facing, filled with, floating in,
floating on, flying, flying above, flying in, flying over, flying through, full of, going down, going into, going
through, grazing in, growing in, growing on, guiding, hanging from, hanging in, hanging off, hanging over, higher
than, holding onto, hugging, in between, jumping off, jumping on, jumping over, kept in, larger than, leading, leaning
over, leaving, licking, longer than, looking in, looking into, looking out, looking over, looking through, lying next
to, lying on top of, making, mixed with, mounted on, moving, near, next to, of, on the back of, on the edge of, on the
front of, on the other side of, on the side of, opening, painted on, parked at, parked beside, parked by, parked in,
parked in front of, parked near, parked next to, perched on, petting, piled on, playing, playing in, playing on,
playing with, pouring, reaching for, reading, reflected on, riding on, running in, running on, running through, seen
through, sitting behind, sitting beside, sitting by, sitting in front of, sitting near, sitting next to, sitting
under, skiing down, skiing on, sleeping in, sleeping on, smiling at, sniffing, splashing, sprinkled on, stacked on,
standing against, standing around, standing behind, standing beside, standing in front of, standing near, standing
next to, staring at, stuck in, surrounding, swimming in, swinging, talking to, topped with, touching, traveling down,
traveling on, tying, typing on, underneath, wading in, waiting for, walking across, walking by, walking down, walking
next to, walking through, with, working in, working on, worn on, wrapped around, wrapped in
""".replace("\n", " ").split(",")
)


def read_aro(folder: str | Path, part: str) -> list[Group]:
    """Read visual_genome_{relation|attribution}.json; pictures are cut to the case's box. Caption 0 is the true one.

    Raises:
        UserError: a file, the pictures, or a row's field is missing or wrong.
    """
    folder = Path(folder)
    groups = []
    for number, row in enumerate(json_rows(folder / f"visual_genome_{part}.json", HOW, WHO)):
        x, y, w, h = (row.number(f"bbox_{name}") for name in "xywh")
        tag = row.text("relation_name") if part == "relation" else "_".join(row.texts("attributes", 2)[:2])
        path = folder / "images" / row.text("image_path")
        picture = Picture(str(path), (x, y, x + w, y + h), row.where("image_path"))
        captions = (row.text("true_caption"), row.text("false_caption"))
        groups.append(Group((picture,), captions, (tag,), f"{part}/{number}"))
    need_pictures(folder / "images", HOW)
    return groups


def aro_metrics(groups: Sequence[Group], scores: Sequence[Tensor], min_cases: int = 1) -> dict[str, float]:
    """Return `macro`, the mean over classes of their accuracy, and `accuracy` over all cases; ties fail.

    Symmetric relations and classes with fewer than `min_cases` cases don't count in `macro`; without any class left
    it's absent.
    """
    classes: dict[str, list[bool]] = {}
    for group, s in zip(groups, scores, strict=True):
        classes.setdefault(group.tags[0], []).append(wins(s))
    hits = [hit for part in classes.values() for hit in part]
    metrics = {"accuracy": sum(hits) / max(1, len(hits))}
    kept = {k: sum(v) / len(v) for k, v in sorted(classes.items()) if k not in SYMMETRIC and len(v) >= min_cases}
    if kept:
        metrics["macro"] = sum(kept.values()) / len(kept)
    return metrics | {f"accuracy/{name}": value for name, value in kept.items()}


def _measure(least: int) -> Measure:
    def measure(groups: Sequence[Group], scores: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
        return aro_metrics(groups, scores, least), {}

    return measure


def overall(results: Sequence[Result]) -> list[Result]:
    """The plain mean of VG-Relation's and VG-Attribution's `macro` (SDS-CLIP's "ARO-Overall"), where both are there."""
    parts = [one for one in results if one.data in ("aro/relation", "aro/attribution") and "macro" in one.metrics]
    if len(parts) < 2:
        return []
    mean = sum(one.metrics["macro"] for one in parts) / 2
    return [Result("aro", "aro", sum(one.n for one in parts), {"macro": mean})]


def aro(folder: str | Path) -> list[Part]:
    """Those of ARO's four parts that lie in `folder`; the two of Visual Genome come together."""
    folder = Path(folder)
    parts = order_parts(folder)
    if not parts or any((folder / f"visual_genome_{part}.json").exists() for part in ("relation", "attribution")):
        visual_genome = [
            Part("aro", f"aro/{part}", read_aro(folder, part), HOW, _measure(least))
            for part, least in (("relation", 1), ("attribution", MIN_CASES))
        ]
        parts = visual_genome + parts
    return parts
