"""Pictures without captions: a source that says so, a source whose captions are left out, and a plain folder."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

from clipdistill.data.sample import Sample
from clipdistill.data.sources.base import Row, Source, TableSource, existing, not_empty
from clipdistill.data.sources.imagefolder import pictures_below
from clipdistill.errors import UserError

NONE = "none"
"""The one value of a source's option `captions`."""


class WithoutCaptions:
    """A source of pictures alone: those of another one, whose captions, if it has any, are left out.

    `bare` is what tells it from a source whose captions are missing: those are a mistake, these are meant.
    """

    bare = True

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> Sample:
        return dataclasses.replace(self.source[row], captions=())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)  # ids, blocks, pictures, skipped

    def fingerprint(self) -> str:
        """The source's, and that its captions don't count."""
        return hashlib.sha256(f"{self.source.fingerprint()} without captions".encode()).hexdigest()[:16]


def without_captions(source: Source, said: str) -> WithoutCaptions:
    """What `captions: none` of a source means; UserError for another word."""
    if said != NONE:
        raise UserError(
            f"'{source.name}': `captions` is '{said}', and the one thing to say is none: train without them"
        )
    return WithoutCaptions(source)


def is_bare(source: Any) -> bool:
    """Whether a source says that its pictures have no captions."""
    return bool(getattr(source, "bare", False))


def open_pictures(path: str, *, name: str | None = None) -> WithoutCaptions:
    """Open all pictures of a folder and of the folders in it, without captions or classes.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    root = existing(path, "folder")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder of pictures")
    skipped: list[tuple[str, str]] = []
    found = pictures_below(root, root, skipped, {os.path.realpath(root)})
    rows = [Row(image, image) for image in found]
    not_empty(rows, root, skipped, "pictures")
    return WithoutCaptions(TableSource(name or root.resolve().name, root, rows, skipped))
