"""Synthetic data of pictures with captions or classes, in each format's own files.

Every writer takes the source's options as the recipe has them, writes below the current folder at `path`, and returns
the options with which the format's reader opens what was written.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.petri.writers import write_coco, write_karpathy
from clipdistill.rehearsal.handful import Handful

Options = dict[str, Any]
CLASSES = 8
"""Classes of a data set to classify, at most: every class costs a prompt or more for each model."""
KARPATHY = ("train", "restval", "val", "test")


def karpathy(handful: Handful, path: Path, options: Options) -> Options:
    """Karpathy's JSON, pictures in images/ beside it."""
    wanted = str(options.get("split", "test")).split("+")
    pictures = [each for split in dict.fromkeys([*KARPATHY, *wanted]) for each in handful.of(split.strip())]
    write_karpathy(path, pictures)
    handful.save(path.parent / "images", pictures)
    return without(options, "root", "boxes", "categories")


def coco(handful: Handful, path: Path, options: Options) -> Options:
    """Captions JSON with pictures in images/ beside it, and the boxes where the recipe reads them."""
    split = path.stem.rpartition("_")[2] or "train"
    pictures = handful.of(split)
    write_coco(path.parent, split, pictures, handful.side)
    if path.name != f"captions_{split}.json":
        (path.parent / f"captions_{split}.json").rename(path)
    handful.save(path.parent / "images", pictures)
    found = without(options, "root", "boxes", "categories")
    return found | ({"boxes": str(path.parent / f"instances_{split}.json")} if options.get("boxes") else {})


def webdataset(handful: Handful, path: Path, options: Options) -> Options:
    """Two shards as img2dataset writes them: a picture, its caption as text and as JSON; `.cls` with `classes`."""
    folder = path.parent / path.name.partition("{")[0].partition("*")[0].removesuffix(".tar").strip("-_.") if (
        path.suffix == ".tar"
    ) else path  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    prefix, key = str(options.get("split") or ""), str(options.get("caption", "caption"))
    pictures = handful.of(prefix or "train")
    for shard in range(2):
        with tarfile.open(folder / f"{prefix}{shard:05d}.tar", "w") as tar:
            for picture in pictures[shard::2]:
                parts = {"jpg": handful.jpeg(picture), "txt": picture.captions[0].encode()}
                parts["json"] = json.dumps({key: picture.captions[0], "status": "success"}).encode()
                if options.get("classes"):
                    parts["cls"] = str(picture.number % min(CLASSES, len(options["classes"]))).encode()
                for suffix, content in parts.items():
                    member = tarfile.TarInfo(f"{picture.number:09d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    found = options | {"path": str(folder)}
    return found if "name" in options else found | {"name": path.parent.name}


def table(handful: Handful, path: Path, options: Options) -> Options:
    """A CSV, TSV or JSON-lines table with the columns that the recipe names, pictures in images/ beside it."""
    image = str(options.get("image") or "image")
    named = options.get("caption") or ("caption" if options.get("label") is None else [])
    captions = [named] if isinstance(named, str) else list(named)
    rows = []
    for picture in handful.of(str(options.get("split") or "train")):
        row: dict[str, Any] = {image: f"images/{picture.file_name}"}
        row |= {column: picture.captions[place % 5] for place, column in enumerate(captions)}
        row |= {str(options[key]): f"{picture.number}" for key in ("id",) if options.get(key)}
        row |= {str(options["label"]): f"class {picture.number % CLASSES}"} if options.get("label") else {}
        row |= {str(column): "1" for column in options.get("fields") or () if column not in row}
        rows.append(row | ({"split": options["split"]} if options.get("split") else {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as handle:
        if path.suffix in (".jsonl", ".ndjson", ".json"):
            handle.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            usual = "\t" if path.suffix in (".tsv", ".tab") else ","
            writer = csv.DictWriter(handle, list(rows[0]), delimiter=options.get("separator") or usual)
            writer.writeheader()
            writer.writerows(rows)
    handful.save(path.parent / "images", handful.of(str(options.get("split") or "train")))
    return without(options, "root", "encoding")


def imagefolder(handful: Handful, path: Path, options: Options) -> Options:
    """A folder a class, of those that the recipe names or some."""
    given = options.get("classes")
    names = [f"class_{number}" for number in range(CLASSES)] if given is None or isinstance(given, str) else given
    pictures = handful.of(str(options.get("split") or "test"))
    folder = path / options["split"] if options.get("split") else path
    for number, name in enumerate(names[:CLASSES]):
        handful.save(folder / str(name), pictures[number :: len(names[:CLASSES])])
    return without(options, "files", "classes")


def cifar10(handful: Handful, path: Path, options: Options) -> Options:
    """The Python version's batches."""
    return _cifar(handful, path / "cifar-10-batches-py", options, "labels", "batches.meta", "label_names")


def cifar100(handful: Handful, path: Path, options: Options) -> Options:
    """The Python version's train and test."""
    return _cifar(handful, path / "cifar-100-python", options, "fine_labels", "meta", "fine_label_names")


def _cifar(handful: Handful, folder: Path, options: Options, labels: str, meta: str, names: str) -> Options:
    folder.mkdir(parents=True, exist_ok=True)
    files = ["test_batch", *(f"data_batch_{k}" for k in range(1, 6))] if labels == "labels" else ["test", "train"]
    for file in files:
        pictures = handful.of("test" if "test" in file else "train")
        pixels = np.stack([handful.pixels(each, 32).transpose(2, 0, 1).reshape(-1) for each in pictures])
        content = {"data": pixels, labels: [each.number % CLASSES for each in pictures]}
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    (folder / meta).write_bytes(pickle.dumps({names: [f"class {k}" for k in range(CLASSES)]}, protocol=2))
    return without(options, "download")


def huggingface(handful: Handful, path: Path, options: Options) -> Options:
    """A parquet file, in a folder where the recipe names one or a data set of the hub."""
    import datasets

    split = str(options.get("split") or "train")
    pictures = handful.of(split)
    image, named, label = str(options.get("image") or "image"), options.get("caption"), options.get("label")
    captions = [named] if isinstance(named, str) else list(named or ())
    columns: dict[str, list[Any]] = {image: [{"bytes": handful.jpeg(each), "path": None} for each in pictures]}
    kinds: dict[str, Any] = {image: datasets.Image()}
    for place, column in enumerate(captions or ([] if label or options.get("templates") else ["caption"])):
        columns[column], kinds[column] = [each.captions[place % 5] for each in pictures], datasets.Value("string")
    if label or not captions:
        column = str(label or "label")
        columns[column] = [each.number % CLASSES for each in pictures]
        kinds[column] = datasets.ClassLabel(names=[str(number) for number in range(CLASSES)])
    if options.get("id"):
        columns[str(options["id"])] = [f"{each.number}" for each in pictures]
        kinds[str(options["id"])] = datasets.Value("string")
    file = path if path.suffix == ".parquet" else path / f"{split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).to_parquet(str(file))
    return without(options, "config") | {"path": str(file if path.suffix == ".parquet" else path)}


def without(options: Options, *keys: str) -> Options:
    return {key: value for key, value in options.items() if key not in keys}
