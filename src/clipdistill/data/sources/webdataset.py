"""WebDataset shards on local disk, in img2dataset's layout, with random access: each tar is indexed once.

The members that share a name up to its first dot are one sample: an image (jpg, png, webp, ...), its caption (txt, or
"caption" in json) and, in classification sets, cls. The index (where each image lies in the tar, and the captions) is
kept beside the tar as a hidden file when that folder can be written; it is made again when the tar changes.
"""

from __future__ import annotations

import glob
import json
import os
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.base import (
    IMAGE_SUFFIXES,
    clean_captions,
    existing,
    fingerprint_samples,
    not_empty,
    unique_ids,
)
from clipdistill.errors import UserError
from clipdistill.files import write_text

INDEX_VERSION = 2
Entry = tuple[str, int, int, list[str], str | None]  # key, offset, size, captions, class (text of .cls)


class WebDatasetSource:
    """Samples of several shards in order; `blocks` says which rows are one shard. Labels come from .cls members."""

    def __init__(
        self,
        name: str,
        shards: list[tuple[str, list[Entry]]],
        skipped: list[tuple[str, str]],
        classes: tuple[str, ...] | None,
        numbers: dict[str, int],
    ) -> None:
        self.name = name
        self.skipped = skipped
        self.classes = classes
        self.blocks: list[range] = []
        self._shards = shards
        self._entries: list[tuple[int, Entry]] = []
        self._numbers = numbers
        for shard, (_, entries) in enumerate(shards):
            self.blocks.append(range(len(self._entries), len(self._entries) + len(entries)))
            self._entries += [(shard, entry) for entry in entries]
        self.ids = unique_ids(entry[0] for _, entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        shard, (_, offset, size, captions, label) = self._entries[index]
        image = ImageRef.from_range(self._shards[shard][0], offset, size)
        number = None if self.classes is None or label is None else self._numbers[label]
        return Sample(self.ids[index], image, tuple(captions), number)

    def fingerprint(self) -> str:
        """Hash of keys, captions, labels and the sizes of up to 64 pictures."""
        return fingerprint_samples(self)


def open_webdataset(
    path: str | Sequence[str],
    *,
    name: str | None = None,
    split: str | None = None,
    caption: str = "caption",
    classes: Sequence[str] | None = None,
    captions: str | None = None,
) -> WebDatasetSource:
    """Open shards: one tar, a folder of them, a glob ("cc3m/*.tar"), a brace pattern ("{00000..00331}.tar") or a list.

    split: of a folder, take the shards whose name starts with it. caption: the key in .json members, used where there
    is no .txt. classes: names for the numbers in .cls members, which otherwise name themselves. captions: "none" = a
    picture needs no .txt.

    Raises:
        UserError: no such shard, one that is compressed or no tar, or no usable sample.
    """
    files = _shard_files(path, split)
    skipped: list[tuple[str, str]] = []
    shards = []
    labelled: set[str] = set()
    unlabelled = 0
    for file in files:
        entries = []
        for key, offset, size, texts, label in _index(file, caption, skipped):
            if label is None and not texts and not captions:
                skipped.append((key, "no caption that isn't empty"))
                continue
            entries.append((key, offset, size, texts, label))
            unlabelled += label is None
            if label is not None:
                labelled.add(label)
        shards.append((str(file), entries))
    not_empty([entry for _, entries in shards for entry in entries], files[0], skipped, "usable samples")
    names: tuple[str, ...] | None = None
    numbers: dict[str, int] = {}
    if labelled and not unlabelled:
        order = sorted(labelled, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label))
        names, numbers = tuple(order), {label: number for number, label in enumerate(order)}
        if classes is not None:
            if not all(label.isdigit() and int(label) < len(classes) for label in labelled):
                raise UserError(f"{path}: 'classes' names {len(classes)}, but its labels go up to {order[-1]}")
            names, numbers = tuple(classes), {label: int(label) for label in labelled}
    return WebDatasetSource(name or _name(path), shards, skipped, names, numbers)


def _shard_files(path: str | Sequence[str], split: str | None) -> list[Path]:
    from braceexpand import braceexpand

    files: list[Path] = []
    for pattern in [path] if isinstance(path, str) else path:
        if "://" in pattern or pattern.startswith("pipe:"):
            raise UserError(f"{pattern}: shards are read from local disk; copy them there first")
        text = os.path.expandvars(os.path.expanduser(pattern))
        if os.path.isdir(text):
            found = sorted(file for file in Path(text).glob(f"{split or ''}*.tar"))
            if not found:
                raise UserError(f"{text}: no shards ({split or ''}*.tar) in this folder")
            files += found
            continue
        try:
            expanded = [text] if os.path.exists(text) else list(braceexpand(text))
        except ValueError:
            raise UserError(f"{text}: its braces don't match; write them as in shard-{{000000..000009}}.tar") from None
        for one in expanded:
            matches = [one] if os.path.exists(one) else sorted(glob.glob(one))
            files += [Path(match) for match in matches] or [existing(one, "shard")]
    return files


def _index(file: Path, caption_key: str, skipped: list[tuple[str, str]]) -> list[Entry]:
    """The entries of one tar, from the index beside it if that is still true."""
    facts = file.stat()
    stamp = [INDEX_VERSION, facts.st_size, facts.st_mtime_ns, caption_key]
    beside = file.with_name(f".{file.name}.index.json")
    try:
        kept = json.loads(beside.read_text(encoding="utf-8"))
        if kept["stamp"] == stamp:
            skipped += [(str(one), str(why)) for one, why in kept["skipped"]]
            return [
                (key, int(offset), int(size), captions, label) for key, offset, size, captions, label in kept["rows"]
            ]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or not ours: it is only a shortcut
    left_out: list[tuple[str, str]] = []
    rows = _scan(file, caption_key, left_out)
    skipped += left_out
    with suppress(UserError, OSError, UnicodeEncodeError):  # a read-only data folder costs a scan each time, no more
        write_text(beside, json.dumps({"stamp": stamp, "skipped": left_out, "rows": rows}, ensure_ascii=False))
    return rows


def _scan(file: Path, caption_key: str, skipped: list[tuple[str, str]]) -> list[Entry]:
    groups: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            try:
                for member in tar:
                    if member.isreg():
                        _member(tar, member, groups)
                # tarfile takes a damaged header for the end; a real end is marked by zeros.
                tar.fileobj.seek(tar.offset)
                if tar.fileobj.read(512) != bytes(512):
                    raise tarfile.ReadError(f"no end mark at byte {tar.offset}")
                _nothing_behind(file, tar)
            except tarfile.ReadError as error:
                skipped.append((file.name, f"cut short or damaged: {error}"))
    except tarfile.ReadError:
        with open(file, "rb") as handle:
            packed = handle.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5")
        how = "compressed, so its samples can't be read at random; unpack it to a plain .tar" if packed else "not a tar"
        raise UserError(f"{file}: {how}") from None
    rows = []
    for key, parts in groups.items():
        if "image" not in parts:
            skipped.append((key, "no image"))
            continue
        if "undecoded" in parts:
            skipped.append((key, f"its .{parts['undecoded']} isn't UTF-8"))
            continue
        captions = clean_captions(parts.get("txt")) or clean_captions(_json_caption(parts.get("json"), caption_key))
        rows.append((key, *parts["image"], list(captions), parts.get("cls")))
    return rows


def _nothing_behind(file: Path, tar: tarfile.TarFile) -> None:
    """Raise a UserError where a second tar follows the end mark of the first: it wouldn't be read."""
    end = tar.offset
    while block := tar.fileobj.read(2**20):
        if block.count(0) != len(block):
            raise UserError(
                f"{file}: behind its end, at byte {end:,}, there is more, as of a second tar that was put behind the "
                "first; write them as two shards"
            )


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, groups: dict[str, dict[str, Any]]) -> None:
    folder, _, base = member.name.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    if not stem or not suffix:
        return
    parts = groups.setdefault(f"{folder}/{stem}" if folder else stem, {})
    suffix = suffix.lower()
    if f".{suffix}" in IMAGE_SUFFIXES:
        parts["image"] = (member.offset_data, member.size)
    elif suffix in ("txt", "json", "cls"):
        handle = tar.extractfile(member)
        try:
            text = handle.read().decode("utf-8-sig") if handle else ""
        except UnicodeDecodeError:
            parts["undecoded"] = suffix
            return
        parts[suffix] = text.strip() if suffix == "cls" else text


def _json_caption(text: str | None, key: str) -> Any:
    try:
        content = json.loads(text or "null")
    except (json.JSONDecodeError, RecursionError):
        return None
    return content.get(key) if isinstance(content, dict) else None


def _name(path: str | Sequence[str]) -> str:
    first = path if isinstance(path, str) else path[0]
    if os.path.isdir(first):
        return Path(first).name
    stem = os.path.basename(first).partition(".tar")[0].partition("{")[0].partition("*")[0].rstrip("-_ .0123456789")
    return stem or Path(first).absolute().parent.name
