"""Pictures apart from samples: several questions may be asked about one, and what is found in it is found once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sample import BadImage, ImageRef, Sample

PROBES = 64
"""Pictures that are looked at to see that they are the same as before."""
SHARED_PROBES = 16


def picture_keys(files: Iterable[tuple[Path, str]]) -> list[str]:
    """A key for each (folder, file name): the name, and its folders too where another folder had a file of that name.

    The same picture has the same key however often it comes, wherever the data lies.
    """
    folders: dict[str, Path] = {}
    return [
        name if folders.setdefault(name, folder) == folder else f"{folder.parent.name}/{folder.name}/{name}"
        for folder, name in files
    ]


def picture_ids(sources: Sequence[Any], rows: Sequence[np.ndarray], ids: list[str]) -> list[str]:
    """The picture of each sample of a mixture: equal ids, equal pictures.

    A source that has `pictures`, the keys of its samples' pictures, shares pictures among its samples and with other
    sources; of another source each sample is its own picture. Two sources that have the same keys for different
    pictures (every petri world has a 000000.png) are told apart: the later one's are put behind its name.

    Args:
        rows: which rows of each source were drawn. ids: of all samples, which are returned where no source has keys.
    """
    if all(getattr(source, "pictures", None) is None for source in sources):
        return ids
    found: list[str] = []
    seen: dict[str, tuple[Any, int]] = {}
    for source, drawn in zip(sources, rows, strict=True):
        keys = getattr(source, "pictures", None)
        if keys is None:
            found += ids[len(found) : len(found) + len(drawn)]
            continue
        own = {keys[row]: (source, int(row)) for row in reversed(drawn)}
        shared = [key for key in own if key in seen]
        probes = shared[:: max(1, len(shared) // SHARED_PROBES)]
        apart = any(not same_picture(_image(seen[key]), _image(own[key])) for key in probes)
        lead = f"{source.name}/" if apart else ""
        found += [lead + keys[row] for row in drawn]
        seen |= {lead + key: place for key, place in own.items()}
    return found


def same_picture(one: ImageRef, other: ImageRef) -> bool:
    """Whether two references lead to the same bytes."""
    if one == other:
        return True
    try:
        return one.byte_size() == other.byte_size() and one.read() == other.read()
    except (BadImage, TypeError):
        return False


class Pictures:
    """The distinct pictures of a mixture, each as the first sample that shows it, under the picture's id.

    Attributes:
        ids: of the pictures. shared: whether samples of the mixture may share them; else a picture is a sample.
    """

    def __init__(self, mixture: Any) -> None:
        self._mixture = mixture
        self.shared = mixture.picture_ids is not mixture.ids
        first: dict[str, int] = {}
        for position, key in enumerate(mixture.picture_ids):
            first.setdefault(key, position)
        self.ids, self._positions = list(first), list(first.values())

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self._mixture[self._positions[index]]
        return dataclasses.replace(sample, id=self.ids[index])

    def probes(self) -> range:
        """Up to about 64 of them, from everywhere."""
        return range(0, len(self), max(1, len(self) // PROBES))

    def fingerprint(self) -> str:
        """Hash of ids, and of the stamps of some pictures; the mixture's own where a picture is a sample.

        What is asked about a picture changes nothing in it.
        """
        if not self.shared:
            found: str = self._mixture.fingerprint()
            return found
        digest = hashlib.sha256("\0".join(self.ids).encode())
        for row in self.probes():
            digest.update(stamp(self[row]).encode())
        return digest.hexdigest()[:16]


def stamp(sample: Sample) -> str:
    """What tells a picture from another under the same id: its size in bytes and the boxes that the data has for it."""
    digest = hashlib.blake2b(str(sample.image.byte_size()).encode(), digest_size=6)
    if sample.regions is not None:
        digest.update(np.ascontiguousarray(sample.regions.boxes, dtype=np.float32).tobytes())
        digest.update("\n".join(sample.regions.labels).encode())
    return digest.hexdigest()


def _image(place: tuple[Any, int]) -> ImageRef:
    source, row = place
    found: ImageRef = source[row].image
    return found
