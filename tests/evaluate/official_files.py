"""Benchmarks as their releases lay them out, with pictures of a few pixels, written by the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")


def picture(path: Path, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.stem) % 256, 80, 160)).save(path)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def winoground(folder: Path, items: int = 2) -> Path:
    rows = []
    for n in range(items):
        for side in (0, 1):
            picture(folder / "images" / f"ex_{n}_img_{side}.png")
        rows.append(
            {
                "id": n, "image_0": f"ex_{n}_img_0", "image_1": f"ex_{n}_img_1", "caption_0": "a cup in some grass",
                "caption_1": "some grass in a cup", "tag": "Noun Phrase", "secondary_tag": "", "num_main_preds": n + 1,
                "collapsed_tag": ("Object", "Relation")[n % 2],
            }
        )  # fmt: skip
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def aro(folder: Path) -> Path:
    row = {"image_id": "7", "image_path": "7.jpg", "bbox_x": 2, "bbox_y": 3, "bbox_w": 10, "bbox_h": 8}
    row |= {"true_caption": "the cup is on the table", "false_caption": "the table is on the cup"}
    picture(folder / "images" / "7.jpg")
    write(folder / "visual_genome_relation.json", [row | {"relation_name": "on"}])
    write(folder / "visual_genome_attribution.json", [row | {"attributes": ["white", "wooden"]}])
    return folder


def order(folder: Path) -> Path:
    picture(folder / "coco" / "val2014" / "COCO_val2014_000000000009.jpg")
    named = {"image": "val2014/COCO_val2014_000000000009.jpg"}
    write(folder / "coco" / "coco_karpathy_test.json", [named | {"caption": ["A dog's ball, on the grass.", "A dog"]}])
    picture(folder / "flickr30k" / "flickr30k-images" / "1.jpg")
    options = {"caption_options": ["a man on a bike", "a bike on a man", "on a a bike man", "a", "b"]}
    write(folder / "flickr30k" / "flickr30k_order.json", [{"image": "flickr30k-images/1.jpg"} | options])
    return folder


def sugarcrepe(folder: Path) -> Path:
    picture(folder / "val2017" / "000000000139.jpg")
    row = {"filename": "000000000139.jpg", "caption": "a red cup", "negative_caption": "a blue cup"}
    for kind in SUGARCREPE:
        write(folder / f"{kind}.json", {"0": row, "1": row})
    return folder


def clevr(folder: Path) -> Path:
    thing = {"size": "large", "material": "rubber", "3d_coords": [0, 0, 0], "rotation": 0, "pixel_coords": [1, 2, 3]}
    objects = [thing | {"color": "red", "shape": "cube"}, thing | {"color": "blue", "shape": "sphere"}]
    sides = {"left": [[], [0]], "right": [[1], []], "front": [[], []], "behind": [[], []]}
    scene = {"image_index": 0, "image_filename": "CLEVR_val_000000.png", "split": "val", "directions": {}}
    picture(folder / "images" / "val" / "CLEVR_val_000000.png")
    scenes = [scene | {"objects": objects, "relationships": sides}]
    write(folder / "scenes" / "CLEVR_val_scenes.json", {"info": {"split": "val"}, "scenes": scenes})
    return folder
