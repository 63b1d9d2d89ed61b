"""Small files in the layouts that docs/bring-your-data.md shows, for test_docs.py."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def make(root: Path) -> None:
    for name in (
        "pets/photos/0.jpg", "pets/photos/1.jpg", "shop/pictures/a.png", "notes/a.jpg", "notes/b.jpg",
        "flickr30k/images/1.jpg", "flickr30k/images/2.jpg", "coco/train2017/9.jpg", "caltech101/panda/image_0001.jpg",
        "caltech101/pizza/image_0001.jpg",
    ):  # fmt: skip
        picture(root / name)
    rows = [
        "photo,text",
        "photos/0.jpg,a cat asleep on a chair",
        "photos/0.jpg,our neighbour's cat",
        "photos/1.jpg,a dog",
    ]
    write(root / "pets/train.csv", "\n".join(rows))
    write(root / "shop/items.tsv", "picture\ttitle_en\ttitle_de\tsplit\na.png\ta cup\teine Tasse\ttrain\n")
    lines = [
        {"image": "a.jpg", "captions": ["a red boat", "a boat at anchor"]},
        {"image": "b.jpg", "captions": "two gulls"},
    ]
    write(root / "notes/pairs.jsonl", "\n".join(json.dumps(line) for line in lines))
    images = [
        {"filename": f"{n}.jpg", "split": split, "sentences": [{"raw": "a dog runs"}]}
        for n, split in ((1, "train"), (2, "test"))
    ]
    write(root / "flickr30k/dataset_flickr30k.json", {"images": images})
    seen = {"images": [{"id": 9, "file_name": "9.jpg"}]}
    write(root / "coco/annotations/captions_train2017.json", {**seen, "annotations": [{"image_id": 9, "caption": "a"}]})
    box = {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}
    instances = {**seen, "annotations": [box], "categories": [{"id": 1, "name": "dog"}]}
    write(root / "coco/annotations/instances_train2017.json", instances)
    for shard in range(2):
        _tar(root / f"cc3m/{shard:05d}.tar", {f"{shard:09d}.txt": b"a boat", f"{shard:09d}.jpg": b"not read here"})
    _cifar(root / "data/cifar10/cifar-10-batches-py", [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], "")
    _cifar(root / "data/cifar100/cifar-100-python", ["train", "test"], "fine_")
    write(root / "data/digits/classes.json", ["one"])
    np.save(root / "data/digits/train_images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    np.save(root / "data/digits/train_labels.npy", np.zeros(2, np.int64))
    _mnist(root / "data/torchvision/MNIST/raw")
    _hugging_face(root / "hf/flowers", root / "notes/a.jpg")


def _tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _cifar(folder: Path, batches: list[str], fine: str) -> None:
    folder.mkdir(parents=True)
    for name in batches:
        content = {"data": np.zeros((2, 3072), np.uint8), f"{fine}labels": [0, 0]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / ("meta" if fine else "batches.meta")).write_bytes(pickle.dumps({f"{fine}label_names": ["cat"]}))


def _mnist(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        pixels, labels = np.zeros((2, 28, 28), np.uint8), np.array([0, 7], np.uint8)
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{split}-{name}-ubyte").write_bytes(head + array.tobytes())


def _hugging_face(folder: Path, image: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"image": [str(image)], "text": ["a rose"]})
    rows = rows.cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": rows}).save_to_disk(str(folder))
