"""Synthetic compositional benchmarks and benchmarks of vision-language models, in the files of their releases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from clipdistill.petri import render
from clipdistill.petri.compositional import compositional_work, write_aro, write_winoground
from clipdistill.petri.question_writers import write_vqa
from clipdistill.petri.questions import questions
from clipdistill.petri.writers import Picture
from clipdistill.rehearsal.handful import Handful

SWAPS = 6
ITEMS = 3
"""Pictures that a benchmark asks about."""
SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")


def winoground(handful: Handful, folder: Path) -> None:
    """examples.jsonl and its pictures."""
    _drawn(handful, folder, "winoground")
    write_winoground(folder, handful.rules, 0, SWAPS)


def aro(handful: Handful, folder: Path) -> None:
    """VG-Relation and VG-Attribution."""
    _drawn(handful, folder, "aro")
    write_aro(folder, handful.rules, 0, SWAPS, handful.side)


def sugarcrepe(handful: Handful, folder: Path) -> None:
    """The seven files, pictures in val2017/."""
    pictures = handful.of("val", ITEMS)
    handful.save(folder / "val2017", pictures)
    rows = {
        str(place): {
            "filename": each.file_name,
            "caption": each.captions[0],
            "negative_caption": each.captions[0][::-1],
        }
        for place, each in enumerate(pictures)
    }
    for kind in SUGARCREPE:
        _write(folder / f"{kind}.json", rows)


def clevr(handful: Handful, folder: Path) -> None:
    """CLEVR v1.0's scenes of val and their pictures."""
    sides = {"left": [[], [0]], "right": [[1], []], "front": [[], []], "behind": [[], []]}
    things = [{"color": "red", "shape": "cube"}, {"color": "blue", "shape": "sphere"}]
    scenes = []
    for picture in handful.of("val", ITEMS):
        name = f"CLEVR_val_{picture.number:06d}.png"
        _save(folder / "images" / "val" / name, handful, picture)
        scenes.append({"image_filename": name, "split": "val", "objects": things, "relationships": sides})
    _write(folder / "scenes" / "CLEVR_val_scenes.json", {"info": {"split": "val"}, "scenes": scenes})


COMPOSITIONAL: dict[str, Callable[[Handful, Path], None]] = {
    "winoground": winoground, "aro": aro, "sugarcrepe": sugarcrepe, "clevr": clevr,
}  # fmt: skip


def _drawn(handful: Handful, folder: Path, name: str) -> None:
    for file, scene in compositional_work(handful.rules, 0, SWAPS, (name,)):
        place = folder / file.removeprefix(f"{name}/")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render([scene], handful.side)[0].permute(1, 2, 0).numpy()).save(place)


def vqa_v2(handful: Handful, place: Path, images: Path, split: str) -> None:
    """Questions and annotations, pictures by COCO's names."""
    pictures = handful.of(split, ITEMS)
    write_vqa(place, handful.rules, split, [(each, questions(handful.rules, each.scene)) for each in pictures])
    handful.save(images, pictures, "COCO_val2014_{:012d}.jpg")


def gqa(handful: Handful, place: Path, images: Path, split: str) -> None:
    """An object of id -> question."""
    rows = {
        str(each.number): {"question": "what is it?", "answer": "circle", "imageId": f"{each.number:06d}",
                           "isBalanced": True, "types": {"structural": "query", "semantic": "attr"}}
        for each in handful.of("test", ITEMS)
    }  # fmt: skip
    _write(place if place.suffix == ".json" else place / f"{split}_questions.json", rows)
    handful.save(images, handful.of("test", ITEMS))


def textvqa(handful: Handful, place: Path, images: Path, split: str) -> None:
    """The val JSON, ten answers a question."""
    rows = [
        {"question": "what does it say?", "question_id": each.number, "image_id": f"{each.number:06d}",
         "answers": ["nothing"] * 10}
        for each in handful.of("test", ITEMS)
    ]  # fmt: skip
    _write(place if place.suffix == ".json" else place / f"TextVQA_0.5.1_{split}.json", {"data": rows})
    handful.save(images, handful.of("test", ITEMS))


def scienceqa(handful: Handful, place: Path, images: Path, split: str) -> None:
    """problems.json and pid_splits.json, a folder a picture."""
    pictures = handful.of("test", ITEMS)
    problem = {"question": "which one is it?", "choices": ["this", "that"], "answer": 0, "hint": "", "grade": "grade2",
               "subject": "natural science", "image": "image.png"}  # fmt: skip
    _write(place / "problems.json", {str(each.number): problem for each in pictures})
    _write(place / "pid_splits.json", {split: [str(each.number) for each in pictures]})
    for each in pictures:
        _save(images / str(each.number) / "image.png", handful, each)


def pope(handful: Handful, place: Path, images: Path, split: str) -> None:  # noqa: ARG001 - all three files are written
    """The three files of JSON lines."""
    pictures = handful.of("test", ITEMS)
    handful.save(images, pictures)
    for category in ("random", "popular", "adversarial"):
        rows = [
            {"question_id": each.number, "image": each.file_name, "text": "is there a circle?", "label": label}
            for each, label in zip(pictures, ("yes", "no", "yes"), strict=False)
        ]
        file = place / f"coco_pope_{category}.json" if place.suffix != ".json" else place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def mme(handful: Handful, place: Path, images: Path, split: str) -> None:  # noqa: ARG001 - it has none
    """Two categories: pictures, and a text of two questions beside each."""
    for category in ("existence", "code_reasoning"):
        for each in handful.of("test", ITEMS):
            handful.save(place / category, [each])
            lines = "Is there a circle? Please answer yes or no.\tYes\nIs there a car? Please answer yes or no.\tNo\n"
            (place / category / f"{each.number:06d}.txt").write_text(lines, encoding="utf-8")
            if images != place:
                handful.save(images / category, [each])


VLM: dict[str, tuple[Callable[[Handful, Path, Path, str], None], str]] = {
    "vqa_v2": (vqa_v2, "val"), "gqa": (gqa, "testdev_balanced"), "textvqa": (textvqa, "val"),
    "scienceqa": (scienceqa, "test"), "pope": (pope, ""), "mme": (mme, ""),
}  # fmt: skip
"""A benchmark -> what writes it, and its usual split."""


def _save(path: Path, handful: Handful, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(handful.pixels(picture, handful.side)).save(path)


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
