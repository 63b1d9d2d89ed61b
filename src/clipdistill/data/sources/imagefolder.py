"""ImageFolder: one folder of pictures a class, as ImageNet's validation set and Caltech-101 are usually laid out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clipdistill.data.sources.base import (
    IMAGE_SUFFIXES,
    NOT_A_PICTURE,
    Row,
    TableSource,
    class_captions,
    existing,
    not_empty,
)
from clipdistill.data.sources.csv import read_text
from clipdistill.errors import UserError, nearest


def open_imagefolder(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    classes: Sequence[str] | str | None = None,
    files: str | None = None,
    templates: str | Sequence[str] | None = None,
) -> TableSource:
    """Open FOLDER/<class>/**/<picture>; with `split`, FOLDER/<split>/<class>/**.

    classes: keep these classes only, in this order (a list, or a text file with one a line); by default all, sorted.
    files: a text file with one picture path a line, relative to the folder; only those are kept ("train.txt").
    templates: caption templates with {} for the class name ("a photo of a {}."), for training on image-text pairs.

    Raises:
        UserError: no such folder, split or class, or no pictures in it.
    """
    root = existing(path, "folder")
    if split is not None:
        splits = sorted(child.name for child in root.iterdir() if child.is_dir()) if root.is_dir() else []
        if split not in splits:
            raise UserError(
                f"{root}: no split folder '{split}'; it has {', '.join(splits[:8])}.{nearest(split, splits)}"
            )
        root = root / split
    if not root.is_dir():
        raise UserError(f"{root}: not a folder of class folders")
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    names = _classes(root, folders, classes)
    seen = _real_folders(root, names)
    keep = None if files is None else _kept(existing(files, "file"))
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    for label, class_name in enumerate(names):
        captions = class_captions(templates, class_name)
        for image in pictures_below(root, root / class_name, skipped, seen):
            if keep is None or image in keep:
                rows.append(Row(image, image, captions, label))
    not_empty(rows, root, skipped, "pictures in class folders")
    default = f"{Path(path).resolve().name}-{split}" if split else root.resolve().name
    return TableSource(name or default, root, rows, skipped, tuple(names))


def _classes(root: Path, folders: list[str], wanted: Sequence[str] | str | None) -> list[str]:
    if wanted is None:
        not_empty(folders, root, (), "class folders")
        return folders
    if isinstance(wanted, str):
        wanted = [line.strip() for line in read_text(existing(wanted, "file")).splitlines() if line.strip()]
    for name in wanted:
        if name not in folders:
            raise UserError(f"{root}: no class folder '{name}'.{nearest(name, folders)}")
    return list(wanted)


def _kept(file: Path) -> set[str]:
    """Paths listed in a file; a label or anything else behind a picture's suffix and a space is let go."""
    kept = set()
    for line in read_text(file).splitlines():
        words = line.strip().replace("\\", "/").split(" ")
        end = next((i for i, word in enumerate(words) if Path(word).suffix.lower() in IMAGE_SUFFIXES), len(words) - 1)
        if line.strip():
            kept.add(" ".join(words[: end + 1]).removeprefix("./"))
    return kept


def _real_folders(root: Path, names: Sequence[str]) -> set[str]:
    """Where the class folders really are, and all above the first; UserError where two are one, or one holds all."""
    seen = {str(place) for place in (root.resolve(), *root.resolve().parents)}
    whose: dict[str, str] = {}
    for name in names:
        real = os.path.realpath(root / name)
        if real in seen:
            raise UserError(f"{root / name}: a link to a folder that holds the whole data set; remove it")
        if real in whose:
            raise UserError(f"{root}: the class folders '{whose[real]}' and '{name}' are one folder; keep one")
        whose[real] = name
    return seen | set(whose)


def pictures_below(root: Path, folder: Path, skipped: list[tuple[str, str]], seen: set[str]) -> list[str]:
    """Pictures below a folder, as paths from the root; `seen`: real folders that a link may not lead to again."""
    found = []
    for place, below, file_names in os.walk(folder, followlinks=True):
        for one in list(below):
            real = os.path.realpath(os.path.join(place, one))
            if real in seen:
                below.remove(one)
                skipped.append(
                    (os.path.relpath(os.path.join(place, one), root), "the same folder as one that is read already")
                )
            seen.add(real)
        for file_name in file_names:
            relative = os.path.relpath(os.path.join(place, file_name), root).replace(os.sep, "/")
            if os.path.splitext(file_name)[1].lower() in IMAGE_SUFFIXES:
                found.append(relative)
            elif not file_name.startswith("."):
                skipped.append((relative, NOT_A_PICTURE))
    return sorted(found)
