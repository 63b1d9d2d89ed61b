"""What every source is, and the table of rows that most of them come down to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from clipdistill.data.sample import ImageRef, Regions, Sample
from clipdistill.errors import UserError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2")
)

NOT_A_PICTURE = "not a picture by its suffix"
"""Reason of files that were left out and never were samples."""


@runtime_checkable
class Source(Protocol):
    """Random access to the samples of one data set.

    name: what mixtures and reports call it. classes: class names when samples carry labels, else None.
    A source may also have `ids` (all sample ids, in order), `blocks` (row ranges that lie together on disk, which the
    shuffle then keeps near each other), `pictures` (a key for each sample's picture, where samples share pictures; the
    same in every source of the same pictures) and `skipped` (what was left out when it was opened: (id, reason)).
    """

    name: str
    classes: tuple[str, ...] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """Hash of ids, captions and cheap facts of the files; the same wherever the data lies."""
        ...


@dataclass(slots=True)
class Row:
    """One sample of a `TableSource` before its image is turned into a reference. `image` is relative to the root."""

    id: str
    image: str
    captions: tuple[str, ...] = ()
    label: int | None = None
    regions: Regions | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class TableSource:
    """A source whose rows are all known when it is opened, with each picture in a file of its own under `root`."""

    blocks: list[range] | None = None

    def __init__(
        self,
        name: str,
        root: Path,
        rows: Sequence[Row],
        skipped: list[tuple[str, str]],
        classes: tuple[str, ...] | None = None,
    ) -> None:
        require_inside(root, (row.image for row in rows), name)
        self.name = name
        self.root = root
        self.classes = classes
        whole = [row for row in rows if is_text(row.id) and is_text(row.image)]
        if len(whole) < len(rows):
            lost = [row for row in rows if not (is_text(row.id) and is_text(row.image))]
            skipped = [*skipped, *((repr(row.id), "half of a character in its name or path") for row in lost)]
        self.skipped = skipped
        self.rows = whole
        self.ids = [row.id for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        return Sample(row.id, self.image(row), row.captions, row.label, row.regions, row.fields)

    def image(self, row: Row) -> ImageRef:
        """Return where the picture of `row` is."""
        return ImageRef(os.path.join(self.root, row.image))

    def fingerprint(self) -> str:
        """Hash of ids, captions, labels, class names and the sizes of up to 64 picture files."""
        return fingerprint_samples(self)


def fingerprint_samples(source: Source) -> str:
    """The fingerprint of any source, from its samples; see `Source.fingerprint`."""
    digest = hashlib.sha256(repr(source.classes).encode())
    probes = set(range(0, len(source), max(1, len(source) // 64)))
    for index in range(len(source)):
        sample = source[index]
        size = sample.image.byte_size() if index in probes else None
        digest.update(repr((sample.id, sample.captions, sample.label, size)).encode())
    return digest.hexdigest()[:16]


NO_TEXT = frozenset(("nan", "NaN", "None", "null", "<NA>"))
"""What programs write where there was no text."""


def clean_captions(found: Any) -> tuple[str, ...]:
    """Return the captions in a string, a list of strings or a list of {"raw" or "caption": ...}.

    Empty ones are dropped, words that a program wrote for a missing one (`NO_TEXT`), and what isn't text (`is_text`).
    """
    if found is None:
        return ()
    if isinstance(found, str):
        caption = " ".join(found.replace("\ufeff", "").split())
        return (caption,) if caption and caption not in NO_TEXT and is_text(caption) else ()
    if isinstance(found, Mapping):
        for key in ("raw", "caption", "text", "sentence"):
            if key in found:
                return clean_captions(found[key])
        return ()
    if isinstance(found, Iterable):
        return tuple(caption for item in found for caption in clean_captions(item))
    return ()  # a number, as from an empty cell that was read as NaN


def is_text(found: str) -> bool:
    """Whether it has no half of a character (a lone surrogate), which JSON may hold and nothing else takes."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def unique_ids(ids: Iterable[str]) -> list[str]:
    """Return `ids` with "#2", "#3", ... added to those that came before, so that each is unique."""
    seen: dict[str, int] = {}
    taken: set[str] = set()
    result = []
    for name in ids:
        unique = name
        while unique in taken:
            seen[name] = seen.get(name, 1) + 1
            unique = f"{name}#{seen[name]}"
        taken.add(unique)
        result.append(unique)
    return result


def existing(path: str | Path, what: str, get: str = "") -> Path:
    """Return `path` with ~ and $VARIABLES expanded. Raises `UserError` when nothing is there; `get` says what to do."""
    found = Path(os.path.expandvars(os.path.expanduser(str(path))))
    if not os.path.exists(found):  # also where no file could have that name
        raise UserError(f"{found}: no such {what}{'; ' + get if get else ''}")
    if not (os.path.isfile(found) or os.path.isdir(found)):
        raise UserError(f"{found}: a pipe or a device, not a {what}")
    return found


def require_inside(root: Path, images: Iterable[str], origin: str, option: str = "root") -> None:
    """Raise a UserError where a data set names pictures outside its folder: it may not be the user's own.

    Links are followed: they are the user's. `option` says what holds the pictures, so that / allows any.
    """
    base = os.path.abspath(root)
    within = base.rstrip(os.sep) + os.sep
    outside = [
        image
        for image in images
        if (".." in image or os.path.isabs(image))
        and not os.path.normpath(os.path.join(base, image)).startswith(within)
    ]
    if outside:
        whole = [os.path.dirname(image) for image in outside if os.path.isabs(image)]
        where = f", such as '{option}: {os.path.commonpath(whole)}'" if len(whole) == len(outside) else ""
        raise UserError(
            f"{origin}: {outside[0]} lies outside {base}, as do {len(outside) - 1:,} others; if that is right, set "
            f"'{option}' to a folder that holds them all{where}"
        )


def not_empty(rows: Sequence[Any], path: str | Path, skipped: Sequence[tuple[str, str]], what: str) -> None:
    """Raise `UserError` when no sample is left, with the first reason why."""
    if not rows:
        why = f" ({len(skipped)} left out, the first: {skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise UserError(f"{path}: no {what} in it{why}")


def find_root(candidates: Sequence[Path], images: Sequence[str], origin: Path, option: str = "root") -> Path:
    """Return the first of `candidates` under which one of the first few `images` exists.

    Raises:
        UserError: none of them is found anywhere; names the first picture and the option that says where they are.
    """
    probes = images[:16]
    for candidate in candidates:
        if any(os.path.isfile(candidate / image) for image in probes):
            return candidate
    places = ", ".join(str(candidate / probes[0]) for candidate in candidates[:3])
    alike = next((found for candidate in candidates for found in _but_for_case(candidate / probes[0])), None)
    hint = f"; there is {alike}, which is another name" if alike else ""
    raise UserError(f"{origin}: its pictures are not there (looked for {places}{hint}); set '{option}' to their folder")


def _but_for_case(path: Path) -> list[Path]:
    """Files beside `path` whose names are its own in other letters: a.JPG where a.jpg is named, a.jpeg, too."""
    if not os.path.isdir(path.parent):  # also where a name is longer than any file's
        return []
    return [one for one in sorted(path.parent.iterdir()) if _plain_name(one) == _plain_name(path) and one != path]


def _plain_name(path: Path) -> str:
    return path.name.lower().replace(".jpeg", ".jpg")


def class_captions(templates: str | Sequence[str] | None, name: str) -> tuple[str, ...]:
    """Return captions made from a class name: each template's {} is filled with it ("_" becomes a space)."""
    if templates is None:
        return ()
    plain = name.replace("_", " ")
    return tuple(t.replace("{}", plain) for t in ([templates] if isinstance(templates, str) else templates))
