#!/usr/bin/env python3
"""Turn public pictures and weights into the folder that the recipes `real/...` read.

usage: prepare.py DATA OUT [--unseen 20] [--cap 60] [--test-cap 30] [--tuxpaint-test 200] [--seed 0]

DATA holds (README.md beside this file says where each comes from):
    caltech101/101_ObjectCategories/<class>/*.jpg, caltech101/train.txt, caltech101/test.txt
    tuxpaint/captions.csv (filename, caption, category), tuxpaint/images/*.png
    timm/tf_efficientnet_lite{0,1,2}.safetensors
    minilm/ (a transformers folder: config.json, model.safetensors, tokenizer.json, ...)
    yolo/*.pt (for real/dclip alone: ultralytics weights)
    easy_vqa/ (for real/easy_vqa alone: answers.txt, train/, test/)

OUT gets, with every picture and weight linked (or copied, where the disk can't link):
    caltech101/train.csv          filepath, caption, class: pictures of the seen classes, three captions each
    caltech101/test.csv           filepath, class: seen classes from test.txt; unseen classes from both lists
    caltech101/seen.txt, unseen.txt     the class names, one a line
    tuxpaint/train.csv, test.csv  filepath, caption
    towers/, yolo/                the weights
    easy_vqa/                     as it is, and fit.json, val.json: a split of its training questions by picture
    sizes/uniter.json, bert.json  sizes of the fusion students
    split.json                    counts, options and the names of the unseen classes

Everything drawn is drawn by hash from --seed and the name of what is drawn, so it is the same on every machine.
Unseen classes never occur in a training file. Classes that share their head noun with another class (crocodile,
crocodile_head; chair, windsor_chair) stay seen, so that no unseen class is nearly a seen one; Faces_easy (the pictures
of Faces, cropped) and BACKGROUND_Google (no class) are left out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

LEFT_OUT = ("BACKGROUND_Google", "Faces_easy")
NEARLY_ALIKE = (
    "chair", "windsor_chair", "cougar_body", "cougar_face", "crocodile", "crocodile_head", "flamingo", "flamingo_head",
    "lotus", "water_lilly", "crab", "crayfish", "lobster", "ketch", "schooner",
)  # fmt: skip
READABLE = {
    "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike", "airplanes": "airplane", "car_side": "car",
    "water_lilly": "water lily", "sea_horse": "seahorse", "headphone": "headphones", "yin_yang": "yin yang symbol",
}  # fmt: skip
TEMPLATES = (
    "a photo of a {}.", "a picture of a {}.", "an image showing a {}.", "a {}.", "this is a {}.", "a close-up of a {}.",
    "a cropped photo of a {}.", "a good photo of the {}.",
)  # fmt: skip
CAPTIONS_EACH = 3
_SMALL = {"vocabulary": 30522, "width": 384, "layers": 2, "attention_heads": 12, "hidden": 1536}  # MiniLM's, two layers
SIZES = {"uniter": {**_SMALL, "region_width": 448, "standardised": True}, "bert": _SMALL}


def drawn(items: Iterable[str], seed: int, what: str) -> list[str]:
    """`items` in an order that depends on nothing but the seed, `what`, and the items themselves."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{what}/{item}".encode()).hexdigest())


def readable(folder: str) -> str:
    """Class name as a caption says it: `grand_piano` -> `grand piano`."""
    return READABLE.get(folder, folder.replace("_", " ").lower())


def link(source: Path, target: Path) -> None:
    """Give `source` a second name, or copy it where the disk can't."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a CSV and return how many rows it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        count = 0
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def captions(picture: str, name: str, seed: int) -> list[str]:
    """Three captions of a picture of class `name`, each from another template."""
    return [template.format(name) for template in drawn(TEMPLATES, seed, picture)[:CAPTIONS_EACH]]


def caltech(data: Path, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Write the Caltech-101 tables."""
    root, target, seed = data / "101_ObjectCategories", out / "caltech101", options.seed
    splits: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for split, classes in splits.items():
        for line in (data / f"{split}.txt").read_text(encoding="utf-8").split():
            folder = line.split("/")[0]
            if folder not in LEFT_OUT and (root / line).is_file():
                classes.setdefault(folder, []).append(line)
    folders = sorted(splits["train"])
    unseen = sorted(drawn((f for f in folders if f not in NEARLY_ALIKE), seed, "unseen")[: options.unseen])
    seen = [folder for folder in folders if folder not in unseen]

    train, test = [], []
    for folder in seen:
        train += drawn(splits["train"][folder], seed, "train")[: options.cap]
        test += drawn(splits["test"].get(folder, []), seed, "test")[: options.test_cap]
    for folder in unseen:  # no picture of them was trained on, so both lists may test
        both = splits["train"][folder] + splits["test"].get(folder, [])
        test += drawn(both, seed, "test")[: options.test_cap]
    for picture in (*train, *test):
        link(root / picture, target / picture)

    rows = (
        (p, c, readable(p.split("/")[0])) for p in sorted(train) for c in captions(p, readable(p.split("/")[0]), seed)
    )
    lines = write_table(target / "train.csv", ("filepath", "caption", "class"), rows)
    write_table(target / "test.csv", ("filepath", "class"), ((p, readable(p.split("/")[0])) for p in sorted(test)))
    for name, group in (("seen", seen), ("unseen", unseen)):
        (target / f"{name}.txt").write_text("".join(f"{readable(f)}\n" for f in group), encoding="utf-8")
    unseen_test = sum(picture.split("/")[0] in unseen for picture in test)
    return {
        "train_pictures": len(train), "train_captions": lines, "seen_classes": len(seen),
        "test_pictures_seen": len(test) - unseen_test, "test_pictures_unseen": unseen_test,
        "unseen_classes": [readable(folder) for folder in unseen],
    }  # fmt: skip


def tuxpaint(data: Path, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Write the Tux Paint tables.

    The test pictures' sentences are all different and none is a sentence of the training pictures: two pictures of one
    sentence can't be told apart by it, so they only train.
    """
    target = out / "tuxpaint"
    with (data / "captions.csv").open(newline="", encoding="utf-8") as file:
        by_caption: dict[str, list[str]] = {}
        for row in csv.DictReader(file):
            caption = " ".join(row["caption"].split())
            if caption and (data / "images" / row["filename"]).is_file():
                by_caption.setdefault(caption, []).append(f"images/{row['filename']}")
    alone = drawn((caption for caption, pictures in by_caption.items() if len(pictures) == 1), options.seed, "tuxpaint")
    held_out = set(alone[: options.tuxpaint_test])
    rows = sorted((picture, caption) for caption, pictures in by_caption.items() for picture in pictures)
    for picture, _ in rows:
        link(data / picture, target / picture)
    header = ("filepath", "caption")
    return {
        "train_pictures": write_table(target / "train.csv", header, (row for row in rows if row[1] not in held_out)),
        "test_pictures": write_table(target / "test.csv", header, (row for row in rows if row[1] in held_out)),
    }


def towers(data: Path, out: Path) -> None:
    """Put the weights beside the pictures."""
    for size in (0, 1, 2):
        link(
            data / "timm" / f"tf_efficientnet_lite{size}.safetensors",
            out / f"towers/tf_efficientnet_lite{size}.safetensors",
        )
    folder = data / "minilm"
    for file in folder.iterdir():
        if file.is_file() and not file.name.startswith(".") and file.suffix in (".json", ".txt", ".safetensors"):
            link(file, out / "towers/all-MiniLM-L6-v2" / file.name)
    for file in sorted((data / "yolo").glob("*.pt")):
        link(file, out / "yolo" / file.name)


def easy_vqa(data: Path, out: Path, seed: int) -> dict[str, object]:
    """Link easy-VQA, split its training questions by picture (15 % to choose settings on), write sizes of students."""
    for file in sorted(data.rglob("*")):
        if file.is_file():
            link(file, out / "easy_vqa" / file.relative_to(data))
    questions = json.loads((data / "train" / "questions.json").read_text(encoding="utf-8"))
    pictures = sorted({str(picture) for _, _, picture in questions})
    held = set(drawn(pictures, seed, "easy_vqa")[: len(pictures) * 15 // 100])
    parts: dict[str, list[str]] = {"fit": [], "val": []}
    for number, (_, _, picture) in enumerate(questions):
        parts["val" if str(picture) in held else "fit"].append(f"train-{number}")
    for name, ids in parts.items():
        (out / "easy_vqa" / f"{name}.json").write_text(json.dumps(ids) + "\n", encoding="utf-8")
    (out / "sizes").mkdir(parents=True, exist_ok=True)
    for name, fields in SIZES.items():
        (out / "sizes" / f"{name}.json").write_text(
            json.dumps({"architecture": name, **fields}) + "\n", encoding="utf-8"
        )
    return {name: len(ids) for name, ids in parts.items()}


def main() -> None:
    """Parse, write, say what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with caltech101, tuxpaint, timm and minilm")
    parser.add_argument("out", type=Path, help="folder to write, such as real-data")
    parser.add_argument("--unseen", type=int, default=20, help="Caltech classes held out")
    parser.add_argument("--cap", type=int, default=60, help="most training pictures of a Caltech class")
    parser.add_argument("--test-cap", type=int, default=30, help="most test pictures of a Caltech class")
    parser.add_argument("--tuxpaint-test", type=int, default=200, help="Tux Paint pictures held out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for needed in ("caltech101/train.txt", "tuxpaint/captions.csv", "timm", "minilm/config.json"):
        if not (options.data / needed).exists():
            parser.error(f"{options.data / needed} isn't there; see README.md beside this script")
    settings = {name: getattr(options, name) for name in ("unseen", "cap", "test_cap", "tuxpaint_test", "seed")}
    found = {
        "options": settings,
        "caltech101": caltech(options.data / "caltech101", options.out, options),
        "tuxpaint": tuxpaint(options.data / "tuxpaint", options.out, options),
    }
    if (options.data / "easy_vqa").is_dir():
        found["easy_vqa"] = easy_vqa(options.data / "easy_vqa", options.out, options.seed)
    towers(options.data, options.out)
    (options.out / "split.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
