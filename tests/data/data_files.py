"""Writers of small data sets in their official formats, for the tests beside this file."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """A noisy RGB picture; `size` is (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def smooth(width: int, height: int) -> Image.Image:
    """A picture without noise: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / name)


def write_csv(folder: Path, count: int, captions: int = 1) -> Path:
    """`count` pictures and captions.csv, with rows "{i:03d}.png,picture i caption c"."""
    names = [f"{number:03d}.png" for number in range(count)]
    write_pictures(folder, names)
    rows = [f"{name},picture {i} caption {c}" for i, name in enumerate(names) for c in range(captions)]
    (folder / "captions.csv").write_text("\n".join(["filepath,caption", *rows]) + "\n")
    return folder / "captions.csv"


def write_karpathy(folder: Path, splits: dict[str, int], **extra: Any) -> Path:
    """Pictures under coco/{split}/ and dataset_tiny.json with two sentences an image."""
    images = []
    for split, count in splits.items():
        for number in range(count):
            name = f"{split}_{number}.png"
            write_pictures(folder / "coco" / split, [name])
            sentences = [{"raw": f"{split} {number} sentence {c}", "tokens": []} for c in range(2)]
            images.append(
                {"filename": name, "filepath": f"coco/{split}", "split": split, "imgid": len(images)}
                | {"cocoid": 100 + len(images), "sentences": sentences} | extra
            )  # fmt: skip
    path = folder / "dataset_tiny.json"
    path.write_text(json.dumps({"images": images, "dataset": "tiny"}))
    return path


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_shard(path: Path, first: int, count: int, kind: str = "png") -> Path:
    """One shard as img2dataset writes it: {key}.png, {key}.txt, {key}.json."""
    members: list[tuple[str, bytes]] = []
    for number in range(first, first + count):
        key, caption = f"{number:09d}", f"shard picture {number}"
        members.append((f"{key}.{kind}", encoded(picture(number), "JPEG" if kind == "jpg" else "PNG")))
        members.append((f"{key}.txt", caption.encode()))
        members.append((f"{key}.json", json.dumps({"caption": caption, "key": key, "status": "success"}).encode()))
    return write_tar(path, members)


def write_cifar(folder: Path, kind: int) -> np.ndarray:
    """CIFAR-10 or CIFAR-100 in the official layout, a few pictures a batch; returns the test pictures NHWC."""
    rng = np.random.default_rng(0)
    label_key = "labels" if kind == 10 else "fine_labels"

    def batch(count: int) -> dict[str, Any]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": pixels, label_key: [number % kind for number in range(count)]}

    names = {"label_names" if kind == 10 else "fine_label_names": [f"class_{i}" for i in range(kind)]}
    if kind == 10:
        place, test = folder / "cifar-10-batches-py", "test_batch"
        contents = {f"data_batch_{i}": batch(3) for i in range(1, 6)} | {"batches.meta": names}
    else:
        place, test, contents = folder / "cifar-100-python", "test", {"train": batch(4), "meta": names}
    contents[test] = batch(7)
    place.mkdir(parents=True)
    for name, content in contents.items():
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    return contents[test]["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
