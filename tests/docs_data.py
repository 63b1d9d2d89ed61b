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
        "caltech101/pizza/image_0001.jpg", "described/a.jpg", "photos/trip/b.jpg",
    ):  # fmt: skip
        picture(root / name)
    rows = [
        "photo,text",
        "photos/0.jpg,a cat asleep on a chair",
        "photos/0.jpg,our neighbour's cat",
        "photos/1.jpg,a dog",
    ]
    write(root / "pets/train.csv", "\n".join(rows))
    write(root / "described.csv", "image,caption\ndescribed/a.jpg,a red wall\n")
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
    _questions(root)
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


def _questions(root: Path) -> None:
    for name in ("vcr1/vcr1images/m/s@0.jpg", "snli_ve/flickr30k-images/1.jpg", "vqa/train2014/COCO_train2014_9.jpg"):
        picture(root / name)
    for name in ("vqa/val2014/COCO_val2014_7.jpg", "easy_vqa/train/images/0.png"):
        picture(root / name)
    metadata = {"boxes": [[1, 2, 30, 20, 0.9]], "segms": [[]], "names": ["person"], "width": 40, "height": 30}
    write(root / "vcr1/vcr1images/m/s@0.json", metadata)
    four = [[[0], "is", word, "."] for word in ("here", "there", "gone", "back")]
    item = {"annot_id": "train-0", "objects": ["person"], "img_fn": "m/s@0.jpg", "metadata_fn": "m/s@0.json"}
    item |= {"question": ["Where", "is", [0], "?"], "answer_choices": four, "rationale_choices": four}
    for split in ("train", "val"):
        write(root / f"vcr1/{split}.jsonl", json.dumps(item | {"answer_label": 0, "rationale_label": 1}))
    pairs = [
        {"pairID": str(k), "Flikr30kID": "1.jpg", "sentence1": "a dog", "sentence2": "a cat", "gold_label": label}
        for k, label in enumerate(("entailment", "neutral", "contradiction", "neutral"))
    ]
    for split in ("train", "dev"):
        write(root / f"snli_ve/snli_ve_{split}.jsonl", "\n".join(json.dumps(each) for each in pairs))
    write(root / "snli_ve_3.json", ["0", "1", "2"])
    for split, image in (("train2014", 9), ("val2014", 7)):
        about = {"data_subtype": split, "questions": [{"question_id": image, "image_id": image, "question": "What?"}]}
        write(root / f"vqa/v2_OpenEnded_mscoco_{split}_questions.json", about)
        answers = [{"answer": "red"}] * 10
        found = {"question_id": image, "image_id": image, "answers": answers, "multiple_choice_answer": "red"}
        write(root / f"vqa/v2_mscoco_{split}_annotations.json", {"annotations": [found]})
    write(root / "easy_vqa/answers.txt", "red\n")
    write(root / "easy_vqa/train/questions.json", [["what colour?", "red", 0]])
