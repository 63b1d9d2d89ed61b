"""The pictures of a benchmark, looked at before anything is scored.

One bad picture refuses the benchmark: without its item the number would be of another benchmark, and a score that
takes hours must not find out at its end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clipdistill.data.decode import ORIGINAL_SIZE, BadImage
from clipdistill.data.sample import ImageRef
from clipdistill.errors import UserError
from clipdistill.evaluate.compositional.groups import Group, Picture
from clipdistill.evaluate.results import Progress

WHO = "compositional"
"""What the errors of these benchmarks begin with."""


def need_pictures(folder: Path, how: str) -> Path:
    """Return the folder; UserError with `how` to get its pictures when it's missing or empty."""
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"compositional: {folder} has no pictures; {how}")
    return folder


def check_pictures(groups: Sequence[Group], how: str, progress: Progress | None = None) -> int:
    """See that every picture is there, can be decoded to its end, and holds its box; return how many boxes stick out.

    Each file is decoded once, JPEGs at an eighth of their size. A box that sticks out is cut as the official code cuts
    it (black beyond the edge); one that lies outside of the picture, or is empty, is an error.

    Raises:
        UserError: the first bad picture with the file, row and field that name it, and how many there are.
    """
    files: dict[str, dict[Picture, None]] = {}
    for group in groups:
        for picture in group.images:
            if isinstance(picture, Picture):  # what isn't a file can't be missing or cut
                files.setdefault(picture.path, {}).setdefault(picture)
    missing = [(next(iter(named)), "no such file") for path, named in files.items() if not os.path.isfile(path)]
    _refuse(missing, len(files), how)
    bad: list[tuple[Picture, str]] = []
    past = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (named, found) in enumerate(zip(files.values(), pool.map(_size, files), strict=True), 1):
            if isinstance(found, str):
                bad.append((next(iter(named)), found))
            else:
                for picture in named:
                    outside, sticks_out = _box(picture, *found)
                    past += sticks_out
                    if outside:
                        bad.append((picture, f"the box {picture.box} holds nothing of its {found[0]} x {found[1]}"))
            if progress:
                progress("checking pictures", done, len(files))
    _refuse(bad, len(files), how)
    return past


def _size(path: str) -> tuple[int, int] | str:
    """Width and height of the upright picture, or why it can't be read."""
    try:
        image = ImageRef.from_path(path).open(min_size=1)
    except BadImage as error:
        return str(error).removeprefix(f"{path}: ")
    width, height = image.info.get(ORIGINAL_SIZE, image.size)
    return width, height


def _box(picture: Picture, width: int, height: int) -> tuple[bool, bool]:
    """Whether a box is outside of the picture or empty, and whether it sticks out."""
    if picture.box is None:
        return False, False
    left, top, right, bottom = picture.box
    outside = right <= left or bottom <= top or left >= width or top >= height or right <= 0 or bottom <= 0
    return outside, not outside and (left < 0 or top < 0 or right > width or bottom > height)


def _refuse(bad: list[tuple[Picture, str]], total: int, how: str) -> None:
    if bad:
        picture, why = bad[0]
        count = f"{len(bad)} bad, {total:,} picture files in all"
        named = f"{picture.where}: " if picture.where else ""
        raise UserError(f"compositional: {named}{picture.path}: {why} ({count}); {how}")
