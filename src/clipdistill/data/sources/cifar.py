"""CIFAR-10 and CIFAR-100 from their official Python files, as torchvision lays them out.

Read here rather than through torchvision: the files are pickles, and these are opened by an unpickler that knows
arrays, dicts, lists and text and nothing that could run code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sources.arrays import ArraySource
from clipdistill.data.sources.base import existing
from clipdistill.errors import UserError
from clipdistill.waits import network_limit

_SAFE = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


def open_cifar10(
    path: str,
    *,
    name: str | None = None,
    split: str = "test",
    templates: str | Sequence[str] | None = None,
    download: bool = False,
) -> ArraySource:
    """Open CIFAR-10: `path` holds cifar-10-batches-py or is it.

    split: "train" or "test". templates: caption templates with {} for the class name. download: fetch it into `path`
    first if it isn't there.

    Raises:
        UserError: it isn't there (says what to get), or isn't what it should be.
    """
    train = [f"data_batch_{number}" for number in range(1, 6)]
    return _open(
        "CIFAR10", "cifar-10-batches-py", path, name, split, templates, download, train, "test_batch", "batches.meta"
    )


def open_cifar100(
    path: str,
    *,
    name: str | None = None,
    split: str = "test",
    templates: str | Sequence[str] | None = None,
    download: bool = False,
) -> ArraySource:
    """Open CIFAR-100 (its 100 fine classes): `path` holds cifar-100-python or is it. Options as for CIFAR-10."""
    return _open("CIFAR100", "cifar-100-python", path, name, split, templates, download, ["train"], "test", "meta")


def _open(
    kind: str,
    folder_name: str,
    path: str,
    name: str | None,
    split: str,
    templates: str | Sequence[str] | None,
    download: bool,
    train: list[str],
    test: str,
    meta: str,
) -> ArraySource:
    if split not in ("train", "test"):
        raise UserError(f"{path}: no split '{split}'; {kind} has train and test")
    if download:
        _download(kind, path)
    folder = existing(path, "folder", _get(kind, folder_name))
    if (folder / folder_name).is_dir():
        folder = folder / folder_name
    pixels, labels = [], []
    for file_name in train if split == "train" else [test]:
        content = _unpickle(existing(folder / file_name, "file", _get(kind, folder_name)))
        pixels.append(np.asarray(content.get("data"), dtype=np.uint8))
        labels.append(np.asarray(content.get("fine_labels", content.get("labels")), dtype=np.int64))
        if pixels[-1].ndim != 2 or pixels[-1].shape[1] != 3072 or labels[-1].shape != (len(pixels[-1]),):
            raise UserError(f"{folder / file_name}: not a {kind} batch; {_get(kind, folder_name)}")
    names = _unpickle(existing(folder / meta, "file", _get(kind, folder_name)))
    classes = tuple(map(str, names.get("fine_label_names") or names.get("label_names") or ()))
    images = np.concatenate(pixels).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    numbers = np.concatenate(labels)
    if len(images) == 0 or np.min(numbers) < 0 or np.max(numbers) >= len(classes):
        raise UserError(f"{folder}: labels don't fit the {len(classes)} class names of '{meta}'")
    return ArraySource(
        name or f"{kind.lower()}-{split}", split, np.ascontiguousarray(images), numbers, classes, templates
    )


def _get(kind: str, folder_name: str) -> str:
    archive = "cifar-10-python.tar.gz" if kind == "CIFAR10" else "cifar-100-python.tar.gz"
    return (
        f"unpack {archive} (the Python version, from the CIFAR page) there to get {folder_name}/, or set download: true"
    )


def _download(kind: str, path: str) -> None:
    import torchvision

    try:
        with network_limit():
            getattr(torchvision.datasets, kind)(path, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: {kind} can't be downloaded ({reason}); fetch it elsewhere and copy it there"
        ) from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # The official files were written by an old NumPy; the new one warns at its old names.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(file: Path) -> dict[str, Any]:
    try:
        content = _Unpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except Exception as error:  # broken pickles raise nearly anything
        raise UserError(f"{file}: can't be read ({str(error) or type(error).__name__})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a CIFAR file")
    return content
