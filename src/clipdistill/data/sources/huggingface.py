"""Hugging Face `datasets`: a folder written by `save_to_disk`, parquet files, or a name on the hub."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.base import class_captions, clean_captions, fingerprint_samples, not_empty, unique_ids
from clipdistill.data.sources.csv import CAPTION_COLUMNS
from clipdistill.errors import UserError, nearest

MOST_CLASSES = 1_000_000


class HuggingFaceSource:
    """Rows of one `datasets.Dataset` that have what is needed; pictures stay encoded until they are opened."""

    blocks: list[range] | None = None

    def __init__(
        self,
        name: str,
        rows: Any,
        kept: np.ndarray,
        ids: list[str],
        captions: list[tuple[str, ...]],
        labels: list[int] | None,
        classes: tuple[str, ...] | None,
        skipped: list[tuple[str, str]],
    ) -> None:
        self.name = name
        self.ids = ids
        self.classes = classes
        self.skipped = skipped
        self._rows = rows  # the image column alone, undecoded
        self._kept = kept
        self._captions = captions
        self._labels = labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        cell = next(iter(self._rows[int(self._kept[index])].values()))
        label = None if self._labels is None else self._labels[index]
        return Sample(self.ids[index], _image(cell), self._captions[index], label)

    def fingerprint(self) -> str:
        """Hash of ids, captions, labels, class names and the sizes of up to 64 pictures."""
        return fingerprint_samples(self)


def open_huggingface(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    image: str | None = None,
    caption: str | Sequence[str] | None = None,
    label: str | None = None,
    id: str | None = None,
    templates: str | Sequence[str] | None = None,
    captions: str | None = None,
) -> HuggingFaceSource:
    """Open a data set of the `datasets` library.

    path: a `save_to_disk` folder, a parquet file, glob or folder of them, or a name on the hub (`config` picks one of
    its configurations). image, caption, label, id: columns; left out, image and caption are found by type
    or by their usual names, and label by type where there is no caption.
    templates: caption templates with {} for the class name, where there is no caption column.
    captions: "none" = no column of captions is looked for.

    Raises:
        UserError: nothing there, offline and not cached, no such split or column, or no usable row.
    """
    data = _load(path, split, config)
    columns = list(data.column_names)
    for given in (image, label, id, *([caption] if isinstance(caption, str) else caption or ())):
        if given is not None and given not in columns:
            raise UserError(f"{path}: no column '{given}'; it has {', '.join(columns)}.{nearest(given, columns)}")
    image = image or _by_type(data, "Image") or _by_name(columns, ("image", "img", "jpg", "png"))
    if image is None:
        raise UserError(f"{path}: which column is the image? It has {', '.join(columns)}; set 'image' to one of them")
    if captions:
        texts = []
    elif caption is None:
        found = _by_name(columns, CAPTION_COLUMNS)
        texts = [found] if found else []
    else:
        texts = [caption] if isinstance(caption, str) else list(caption)
    if label is None and not texts:
        label = _by_type(data, "ClassLabel")
    if not texts and label is None and not captions:
        raise UserError(f"{path}: which column is the caption? It has {', '.join(columns)}; set 'caption' or 'label'")
    return _source(name or Path(path).name, path, data, image, texts, label, id, templates)


def _source(
    name: str,
    path: str,
    data: Any,
    image: str,
    texts: list[str],
    label: str | None,
    id: str | None,
    templates: str | Sequence[str] | None,
) -> HuggingFaceSource:
    skipped: list[tuple[str, str]] = []
    kept, ids, captions, labels = [], [], [], []
    class_names = _class_names(data, label) if label else None
    number_of = {one: number for number, one in enumerate(class_names or ())}
    wanted = list(dict.fromkeys([*texts, *filter(None, (label, id))]))
    # Only the small columns are read here, never the pictures.
    small = data.select_columns(wanted) if wanted and len(data) else [{}] * len(data)
    for number, row in enumerate(small):
        row_id = str(row[id]) if id else f"{number:08d}"
        found = tuple(caption for text in texts for caption in clean_captions(row[text]))
        value = row[label] if label else None
        known = value if isinstance(value, int) and 0 <= value < len(class_names or ()) else number_of.get(str(value))
        if label and known is None:
            skipped.append((row_id, f"label {value!r} is no class"))
        elif texts and not found:
            skipped.append((row_id, "no caption that isn't empty"))
        else:
            kept.append(number)
            ids.append(row_id)
            captions.append(found or class_captions(templates, (class_names or ())[known] if known is not None else ""))
            labels.append(known if known is not None else -1)
    not_empty(kept, path, skipped, "usable rows")
    import datasets

    pictures = data.select_columns([image])
    if type(pictures.features[image]).__name__ == "Image":
        pictures = pictures.cast_column(image, datasets.Image(decode=False))
    return HuggingFaceSource(
        name, pictures, np.array(kept), unique_ids(ids), captions, labels if label else None, class_names, skipped
    )


def _image(cell: Any) -> ImageRef:
    if isinstance(cell, dict) and cell.get("bytes"):
        return ImageRef.from_bytes(cell["bytes"])
    if isinstance(cell, dict) and cell.get("path"):
        return ImageRef.from_path(cell["path"])
    if isinstance(cell, bytes):
        return ImageRef.from_bytes(cell)
    if isinstance(cell, str) and cell:
        return ImageRef.from_path(cell)
    return ImageRef.from_bytes(b"")  # opens as BadImage: the file is empty


def _load(path: str, split: str | None, config: str | None) -> Any:
    import datasets

    place = os.path.expandvars(os.path.expanduser(path))
    if "*" in place or place.endswith(".parquet") or (os.path.isdir(place) and glob.glob(f"{place}/*.parquet")):
        pattern = f"{place}/*.parquet" if os.path.isdir(place) else place
        files = sorted(glob.glob(pattern))
        if split and os.path.isdir(place):  # the hub's file names: train-00000-of-00003.parquet
            splits = sorted({os.path.basename(file).partition("-")[0].partition(".")[0] for file in files})
            files = [file for file in files if os.path.basename(file).startswith(split)]
            if not files:
                raise UserError(f"{path}: no split '{split}'; it has {', '.join(splits)}.{nearest(split, splits)}")
        if not files:
            raise UserError(f"{path}: no such parquet file")
        _require_parquet(files)
        return datasets.concatenate_datasets([_parquet(file) for file in files])
    try:
        if os.path.isdir(place) and {"state.json", "dataset_dict.json"} & set(os.listdir(place)):
            loaded = datasets.load_from_disk(place)
        else:
            if place.startswith(("/", ".", "~")) and not os.path.exists(place):
                raise UserError(f"{path}: no such folder; give a save_to_disk folder, parquet files or a hub name")
            loaded = datasets.load_dataset(place, config)
    except UserError:
        raise
    except Exception as error:  # what the library raises offline differs by version and by what is cached
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path}: not a local data set, and the hub gave none ({reason}); fetch it where there is a network with "
            f"`hf download --repo-type dataset {path}` and give the folder"
        ) from None
    if isinstance(loaded, dict):
        splits = sorted(loaded)
        pick = split or ("train" if "train" in loaded else splits[0] if len(splits) == 1 else None)
        if pick is None or pick not in loaded:
            raise UserError(f"{path}: no split '{pick}'; it has {', '.join(splits)}.{nearest(str(pick), splits)}")
        return loaded[pick]
    if split is not None and str(loaded.split) not in (split, "None"):
        raise UserError(f"{path}: no split '{split}'; it holds '{loaded.split}' alone")
    return loaded


def _parquet(file: str) -> Any:
    """The rows of one file; UserError for one that is damaged behind a head and a foot that look well."""
    import datasets

    try:
        return datasets.Dataset.from_parquet(file)
    except Exception as error:  # the library's own, around Arrow's, or Python's for what its metadata says
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(f"{file}: can't be read as parquet ({reason}); copy it again") from None


def _require_parquet(files: Sequence[str]) -> None:
    """Raise a UserError that names the first file that is cut short or is something else, and where columns differ."""
    import pyarrow
    import pyarrow.parquet as parquet

    names: list[str] | None = None
    for file in files:
        try:
            found = parquet.read_schema(file).names
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{file}: no whole parquet file ({str(error).splitlines()[0]}); fetch it again") from None
        if names is not None and found != names:
            raise UserError(f"{file}: has the columns {', '.join(found)}, and {files[0]} {', '.join(names)}")
        names = found


def _by_type(data: Any, type_name: str) -> str | None:
    return next((column for column, feature in data.features.items() if type(feature).__name__ == type_name), None)


def _by_name(columns: list[str], usual: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def _class_names(data: Any, label: str) -> tuple[str, ...]:
    feature = data.features[label]
    if type(feature).__name__ == "ClassLabel":
        return tuple(feature.names)
    values = data.unique(label)
    if all(isinstance(value, int) for value in values):
        if max(values) >= MOST_CLASSES:
            raise UserError(f"column '{label}' has the label {max(values):,}; numbers of classes begin at 0")
        return tuple(str(number) for number in range(max(values) + 1))
    return tuple(sorted(str(value) for value in values if value is not None))
