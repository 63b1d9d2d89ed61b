"""The official file formats: Karpathy JSON, COCO captions / instances / results, CSV, WebDataset shards."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.petri.captions import tokens_of
from clipdistill.petri.detector import detect
from clipdistill.petri.render import boxes
from clipdistill.petri.scenes import Scene
from clipdistill.petri.shapes import area
from clipdistill.petri.vocabulary import SHAPES

SAMPLES_A_SHARD = 1000


@dataclass(frozen=True, slots=True)
class Picture:
    """One written picture: number in the world, split, scene and captions."""

    number: int
    split: str
    scene: Scene
    captions: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Its name inside DIR/images."""
        return f"{self.number:06d}.png"


def sentence_id(picture: Picture, which: int) -> int:
    """Return the id of caption `which` of `picture`, the same in every format."""
    return picture.number * len(picture.captions) + which


def write_karpathy(path: Path, pictures: Iterable[Picture]) -> None:
    """Write Karpathy's JSON (as dataset_coco.json): every picture of every split with tokenised sentences."""
    images = []
    for picture in pictures:
        ids = [sentence_id(picture, k) for k in range(len(picture.captions))]
        sentences = [
            {"tokens": tokens_of(text), "raw": text, "imgid": picture.number, "sentid": k}
            for k, text in zip(ids, picture.captions, strict=True)
        ]
        images.append(
            {
                "filepath": "images",
                "filename": picture.file_name,
                "imgid": picture.number,
                "cocoid": picture.number,
                "split": picture.split,
                "sentids": ids,
                "sentences": sentences,
            }
        )
    _write_compact(path, {"images": images, "dataset": "petri"})


def write_coco(folder: Path, split: str, pictures: Sequence[Picture], size: int) -> None:
    """Write captions_{split}.json, instances_{split}.json (true boxes) and detections_{split}.json (simulated).

    Boxes are COCO's [x, y, width, height] in pixels. Categories are the shapes; an instance also lists its other
    attributes. Detections are in COCO's results format: a list of image_id, category_id, bbox, score.
    """
    head: dict[str, Any] = {
        "info": {"description": "clipdistill petri world", "version": "1.0"},
        "licenses": [],
        "images": [{"id": p.number, "file_name": p.file_name, "width": size, "height": size} for p in pictures],
    }
    captions = [
        {"image_id": p.number, "id": sentence_id(p, k), "caption": text}
        for p in pictures
        for k, text in enumerate(p.captions)
    ]
    _write_compact(folder / f"captions_{split}.json", {**head, "annotations": captions})
    instances: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for picture in pictures:
        for k, (thing, box) in enumerate(zip(picture.scene.things, boxes(picture.scene, size), strict=True)):
            instances.append(
                {
                    "id": picture.number * 8 + k + 1,
                    "image_id": picture.number,
                    "category_id": SHAPES.index(thing.shape) + 1,
                    "bbox": _xywh(box),
                    "area": round(area(thing.shape) * (thing.radius * size) ** 2, 2),
                    "iscrowd": 0,
                    "segmentation": [],
                    "attributes": {"color": thing.colour, "size": thing.size, "pattern": thing.pattern},
                }
            )
        detections += [
            {
                "image_id": picture.number,
                "category_id": SHAPES.index(found.label) + 1,
                "bbox": _xywh(found.box),
                "score": found.score,
            }
            for found in detect(picture.scene, size)
        ]
    categories = [{"id": k + 1, "name": shape, "supercategory": "shape"} for k, shape in enumerate(SHAPES)]
    _write_compact(folder / f"instances_{split}.json", {**head, "annotations": instances, "categories": categories})
    _write_compact(folder / f"detections_{split}.json", detections)


def write_csv(path: Path, pictures: Iterable[Picture]) -> None:
    """Write `filepath,caption`: one row a caption, paths relative to the CSV's folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["filepath", "caption"])
        writer.writerows([f"images/{p.file_name}", text] for p in pictures for text in p.captions)


def write_shards(folder: Path, split: str, pictures: Sequence[Picture], images: Path, size: int) -> int:
    """Write img2dataset's WebDataset layout, {split}-000000.tar on: KEY.png, KEY.txt and KEY.json a sample.

    KEY.txt is the first caption; KEY.json has all of them under "captions". Tar headers carry no times or owners,
    so the same world gives the same bytes. Returns the number of shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(pictures), SAMPLES_A_SHARD)
    for shard, start in enumerate(starts):
        with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for picture in pictures[start : start + SAMPLES_A_SHARD]:
                data = (images / picture.file_name).read_bytes()
                key = f"{picture.number:09d}"
                about = {
                    "key": key,
                    "status": "success",
                    "error_message": None,
                    "url": None,
                    "caption": picture.captions[0],
                    "captions": list(picture.captions),
                    "width": size,
                    "height": size,
                    "original_width": size,
                    "original_height": size,
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
                _add(tar, f"{key}.png", data)
                _add(tar, f"{key}.txt", picture.captions[0].encode())
                _add(tar, f"{key}.json", json.dumps(about).encode())
    return len(starts)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))


def _xywh(box: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)]


def _write_compact(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
