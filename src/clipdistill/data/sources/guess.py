"""Saying what lies at a path, for the command line: a spec for `open_source` without the user naming a format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from clipdistill.data.sources.base import IMAGE_SUFFIXES, existing
from clipdistill.errors import UserError
from clipdistill.yaml_files import parse_yaml

KNOWN = (
    "csv", "tsv", "jsonl", "karpathy", "coco", "webdataset", "huggingface", "imagefolder", "pictures", "cifar10",
    "cifar100", "torchvision", "flickr30k_entities", "vcr", "snli_ve", "vqa_v2", "easy_vqa", "llava",
)  # fmt: skip


def parse_shorthand(text: str) -> dict[str, Any]:
    """Read "format:path@split"; format and split may be left out. A path that exists as it stands is never cut.

    "torchvision:FOLDER/NAME@split" names the folder and torchvision's class. "{format: vcr, path: DIR, ...}" is a
    source as recipes have it, with any option of its format.

    Raises:
        UserError: it begins with a brace and isn't such a mapping, or nothing lies at its path.
    """
    if text.startswith("{") and not os.path.exists(text):
        return _mapping(text)
    spec: dict[str, Any] = {}
    head, colon, rest = text.partition(":")
    if colon and (head in KNOWN or head == "arrays") and not os.path.exists(text):
        spec["format"], text = head, rest
    path, at, split = text.rpartition("@")
    if at and "/" not in split and not os.path.exists(os.path.expanduser(text)):
        spec["split"], text = split, path
    spec["path"] = text
    if spec.get("format") == "torchvision":
        folder, _, spec["dataset"] = text.rpartition("/")
        spec["path"] = folder or "."
    return spec if "format" in spec else {**guess_format(text), **spec}


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = parse_yaml(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("path"), str):
        raise UserError(f"'{text}' is no source; write it as in a recipe: '{{format: vcr, path: DIR, split: val}}'")
    return found if "format" in found else {**guess_format(found["path"]), **found}


def guess_format(path: str | Path) -> dict[str, Any]:
    """Return {"format": ..., "path": ...} for a file, a folder or a pattern of shards.

    Raises:
        UserError: nothing is there, or it is nothing that is known.
    """
    text = str(path)
    name = os.path.basename(text)
    if name.endswith((".tar", ".tgz", ".tar.gz")) or ("{" in text and ".tar" in text):
        return {"format": "webdataset", "path": text}
    if any(sign in text for sign in "*?[") and not os.path.exists(text):
        return {"format": "huggingface" if name.endswith(".parquet") else "webdataset", "path": text}
    place = existing(path, "file or folder", "a data set on the hub is written huggingface:NAME@SPLIT")
    kind = _folder(place) if place.is_dir() else _file(place)
    if kind is None:
        raise UserError(f"{place}: what format is this? Write FORMAT:PATH, with FORMAT one of {', '.join(KNOWN)}")
    return {"format": kind, "path": text}


def _file(place: Path) -> str | None:
    suffix = place.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _lines(place)
    if suffix in (".csv", ".tsv", ".tab", ".txt"):
        return "csv"
    if suffix in (".parquet", ".arrow"):
        return "huggingface"
    if suffix == ".json":
        return _json(place)
    return None


def _lines(place: Path) -> str:
    with open(place, "rb") as handle:
        first = handle.readline()
    if b'"rationale_choices"' in first and b'"metadata_fn"' in first:
        return "vcr"
    return "snli_ve" if b'"gold_label"' in first and b'"sentence2"' in first else "csv"


def _json(place: Path) -> str | None:
    try:
        content = json.loads(place.read_bytes().decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return "csv" if place.read_bytes()[:1] == b"{" else None  # lines of JSON under the wrong suffix
    if isinstance(content, list) and content and isinstance(content[0], dict) and "conversations" in content[0]:
        return "llava"
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("questions"), list) and "annotations" not in content:
        return "vqa_v2"
    images = content.get("images")
    if isinstance(images, list) and images and isinstance(images[0], dict) and "sentences" in images[0]:
        return "karpathy"
    return "coco" if isinstance(images, list) and "annotations" in content else None


def _folder(place: Path) -> str | None:
    names = {entry.name for entry in os.scandir(place)}
    if {"cifar-10-batches-py", "data_batch_1"} & names:
        return "cifar10"
    if "cifar-100-python" in names or {"train", "test", "meta"} <= names and (place / "train").is_file():
        return "cifar100"
    if {"answers.txt", "train", "test"} <= names and (place / "train" / "questions.json").is_file():
        return "easy_vqa"
    if {"Sentences", "Annotations"} <= names:
        return "flickr30k_entities"
    if {"dataset_dict.json", "dataset_info.json", "state.json"} & names:
        return "huggingface"
    if any(name.endswith(".parquet") for name in names):
        return "huggingface"
    if any(name.endswith(".tar") for name in names):
        return "webdataset"
    if any(name.endswith("_images.npy") for name in names):
        return "arrays"
    for name in sorted(names):
        if (place / name).is_dir() and _has_pictures(place / name):
            return "imagefolder"
    return "pictures" if _has_pictures(place) else None


def _has_pictures(folder: Path, depth: int = 2) -> bool:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if entry.is_file() and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                return True
            if entry.is_dir() and depth > 1 and _has_pictures(Path(entry.path), depth - 1):
                return True
            if number > 100:
                return False
    return False
