"""ARO (2023): VG-Relation, VG-Attribution and the order tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from clipdistill.evaluate.compositional.captions import by_tag, read_order
from clipdistill.evaluate.compositional.groups import Group, Matcher, Picture, need_pictures, read_json, wins
from clipdistill.evaluate.results import Progress, Result

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
    """Read visual_genome_{relation|attribution}.json; pictures are cut to the case's box. Caption 0 is the true one."""
    folder = Path(folder)
    images = need_pictures(folder / "images", HOW)
    groups = []
    for number, row in enumerate(read_json(folder / f"visual_genome_{part}.json", HOW)):
        x, y, w, h = (int(row[f"bbox_{name}"]) for name in "xywh")
        tag = row["relation_name"] if part == "relation" else "_".join(row["attributes"][:2])
        picture = Picture(str(images / row["image_path"]), (x, y, x + w, y + h))
        groups.append(Group((picture,), (row["true_caption"], row["false_caption"]), (tag,), f"{part}/{number}"))
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


def aro(matcher: Matcher, folder: str | Path, progress: Progress | None = None, name: str = "aro") -> list[Result]:
    """Score those of ARO's four parts that lie in `folder`; the two of Visual Genome must.

    The first result, called `name`, is those two together: `macro` is the plain mean of theirs (SDS-CLIP's "overall").
    """
    folder, results = Path(folder), []
    for part, least in (("relation", 1), ("attribution", MIN_CASES)):
        groups = read_aro(folder, part)
        metrics = aro_metrics(groups, matcher.scores(groups, progress), least)
        results.append(Result("aro", f"{name}/{part}", len(groups), metrics))
    both = [result.metrics["macro"] for result in results if "macro" in result.metrics]
    if len(both) == 2:
        results.insert(0, Result("aro", name, sum(result.n for result in results), {"macro": sum(both) / 2}))
    for order in ("coco_order", "flickr30k_order"):
        if (folder / f"{order}.json").is_file():
            groups = read_order(folder / f"{order}.json", folder / f"{order}_images")
            results.append(by_tag("aro", f"{name}/{order}", groups, matcher.scores(groups, progress)))
    return results
