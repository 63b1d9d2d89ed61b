"""Writing a RegionStore: find regions, embed their crops, block by block; a killed run goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipdistill.data import ImageView, Mixture
from clipdistill.data.sample import BadImage
from clipdistill.data.transforms import apply
from clipdistill.errors import UserError
from clipdistill.files import atomic_path, require_space, write_json
from clipdistill.stores.arrays import ArraySpec, RowsWriter
from clipdistill.stores.encoder import Encoder, evaluating
from clipdistill.stores.regions import VERSION, RegionStore

BLOCK = 256
"""Pictures a block: what a kill can cost."""
WORDS = {
    "teacher_fingerprint": "the model", "provider_key": "the provider", "min_score": "min_score",
    "max_regions": "max_regions", "data_fingerprint": "the data or which samples are drawn (data.seed)",
}  # fmt: skip


def cache_regions(
    model: Any,
    mixture: Mixture,
    provider: Any | None,
    path: str | Path,
    *,
    min_score: float = 0.25,
    max_regions: int = 10,
    batch_size: int = 64,
    detect_batch: int = 8,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    max_bad_share: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
) -> RegionStore | None:
    """Write (or go on writing) the regions of every picture of a mixture.

    The surest `max_regions` boxes of at least `min_score` are kept; a picture without any has itself as its region,
    with confidence 1. Crops of many pictures are encoded together, through the model's own preprocessing.

    Args:
        model: a DualEncoder. provider: see `models.regions`; None = the boxes of the data set (`Sample.regions`).
        batch_size: crops the model encodes at once. detect_batch: pictures the provider sees at once.

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds other regions (says what differs), too many bad pictures, data without boxes.
    """
    from clipdistill.models import fingerprint

    path, device = Path(path), torch.device(device)
    facts = {
        "version": VERSION, "kind": "regions", "teacher": model.name, "teacher_fingerprint": fingerprint(model),
        "embed_dim": int(model.embed_dim), "provider": "annotations" if provider is None else provider.name,
        "provider_key": _annotations_key(mixture) if provider is None else provider.key, "min_score": min_score,
        "max_regions": max_regions, "data_fingerprint": mixture.fingerprint(), "samples": len(mixture),
    }  # fmt: skip
    if (path / "store.json").is_file():
        store = RegionStore.open(path)
        _same(path, store.meta, facts)
        return store
    _begin(path, facts, len(mixture) * 4 * (int(model.embed_dim) * 2 + 24))
    model.to(device)
    encoder, view = Encoder(model, "embedding", device), ImageView.from_preprocess(model.preprocess)
    blocks = [range(at, min(at + BLOCK, len(mixture))) for at in range(0, len(mixture), BLOCK)]
    bad = 0
    mine = sum(len(blocks[number]) for number in range(rank, len(blocks), world_size))
    with _held(path, rank, world_size), evaluating(model):
        if (path / "store.json").is_file():  # another run wrote it while this one waited
            return RegionStore.open(path)
        for number in range(rank, len(blocks), world_size):
            file = path / "blocks" / f"{number:06d}.npz"
            if file.is_file() and _bad_of(file):
                file.unlink()  # tried again: the pictures may have been mended
            if not file.is_file():
                bad += write_block(
                    encoder, view, mixture, provider, blocks[number], file,
                    int(facts["embed_dim"]), facts["min_score"], facts["max_regions"], batch_size, detect_batch,
                )  # fmt: skip
                if bad > max_bad_share * mine:
                    raise UserError(
                        f"{path}: {bad} of {mine} pictures can't be read, more than data.max_bad_share = "
                        f"{max_bad_share:g}; mend them or raise the share"
                    )
            if progress is not None:
                progress(blocks[number].stop, len(mixture))
    return _finish(path, facts, mixture, len(blocks))


@contextmanager
def _held(path: Path, rank: int, world_size: int) -> Iterator[None]:
    """Keep other runs from doing the same work: regions are shared, so a second run waits and finds them done.

    The lock lives as long as the process, however it ends. Some network file systems have no locks: then there is none.
    """
    with open(path / f".lock-{rank}-of-{world_size}", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: another run is finding these regions; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def write_block(
    encoder: Encoder, view: ImageView, mixture: Mixture, provider: Any | None, rows: range, file: Path, width: int,
    min_score: float, max_regions: int, batch_size: int, detect_batch: int,
) -> int:  # fmt: skip
    """Find and embed the regions of one block into `file`; returns how many of its pictures can't be read."""
    counts, labels = np.zeros(len(rows), np.int64), []
    bad: list[dict[str, str]] = []
    geometry: list[list[float]] = []
    crops: list[torch.Tensor] = []
    features: list[np.ndarray] = []
    for place, image, found in _found(mixture, provider, rows, detect_batch, bad):
        boxes, scores, names = _chosen(found, image.size, min_score, max_regions)
        counts[place] = len(boxes)
        for box, score, name in zip(boxes, scores, names, strict=True):
            share = (box[2] - box[0]) * (box[3] - box[1]) / (image.width * image.height)
            geometry.append([*box, score, min(1.0, share)])
            labels.append(name)
            left, top, right, bottom = (round(side) for side in box)
            crop = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
            crops.append(apply(crop, None, view))
        while len(crops) >= batch_size:
            features.append(encoder.image(torch.stack(crops[:batch_size]))[0])
            crops = crops[batch_size:]
    if crops:
        features.append(encoder.image(torch.stack(crops))[0])
    if any(not np.isfinite(part).all() for part in features):
        raise UserError(f"{file.parent.parent}: the model gives NaN or infinity for a crop; check its weights")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary, open(temporary, "wb") as handle:
        np.savez(
            handle,
            counts=counts,
            features=np.concatenate(features).astype(np.float16) if features else np.zeros((0, width), np.float16),
            geometry=np.array(geometry, np.float32).reshape(-1, 6),
            text=np.frombuffer(json.dumps({"labels": labels, "bad": bad}).encode(), np.uint8),
        )
    return len(bad)


def _bad_of(file: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(np.load(file)["text"].tobytes())["bad"]
    return found


def _found(
    mixture: Mixture, provider: Any | None, rows: range, detect_batch: int, bad: list[dict[str, str]]
) -> Iterator[tuple[int, Image.Image, Any]]:
    """Yield (place in the block, picture, what was found), provider batch by provider batch."""
    waiting: list[tuple[int, Image.Image, Any]] = []
    for place, row in enumerate(rows):
        sample = mixture[row]
        try:
            waiting.append((place, sample.image.open(), sample.regions))
        except BadImage as error:
            bad.append({"id": sample.id, "reason": str(error)})
        if waiting and (len(waiting) == detect_batch or row == rows[-1]):
            images = [image for _, image, _ in waiting]
            found = [own for *_, own in waiting] if provider is None else provider.find(images)
            for (where, image, _), one in zip(waiting, found, strict=True):
                yield where, image, one
            waiting = []


def _chosen(
    found: Any | None, size: tuple[int, int], min_score: float, max_regions: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The surest boxes inside the picture, best first; the whole picture when there is none."""
    if found is not None and len(found.boxes):
        width, height = size
        boxes = np.clip(np.asarray(found.boxes, np.float64), 0, [width, height, width, height])
        scores = np.asarray(found.scores, np.float64)
        keep = (scores >= min_score) & (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
        order = [int(k) for k in np.argsort(-scores, kind="stable") if keep[k]][:max_regions]
        if order:
            return boxes[order], scores[order], [found.labels[k] for k in order]
    return np.array([[0.0, 0.0, *size]]), np.ones(1), ["picture"]


def _annotations_key(mixture: Mixture) -> str:
    digest, some = hashlib.sha256(), False
    for row in range(len(mixture)):
        regions = mixture[row].regions
        if regions is not None:
            some = some or len(regions.boxes) > 0
            digest.update(
                np.ascontiguousarray(regions.boxes).tobytes() + np.ascontiguousarray(regions.scores).tobytes()
            )
            digest.update("\n".join(regions.labels).encode())
        digest.update(b"|")
    if not some:
        raise UserError("provider annotations: the data has no boxes; give its source `boxes`, or use another provider")
    return f"annotations-{digest.hexdigest()[:16]}"


def _begin(path: Path, facts: dict[str, Any], need: int) -> None:
    begun = path / "begun.json"
    if begun.is_file():
        _same(path, json.loads(begun.read_text(encoding="utf-8")), facts)
        return
    require_space(path, need, "the region store")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_json(begun, facts)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror}); choose another folder") from error


def _same(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [words for fact, words in WORDS.items() if stored.get(fact) != wanted[fact]]
    if different:
        raise UserError(f"{path}: regions of something else ({', '.join(different)} differ); delete or move it")


def _finish(path: Path, facts: dict[str, Any], mixture: Mixture, blocks: int) -> RegionStore | None:
    """Join the blocks, when all are there; the last rank does it."""
    files = [path / "blocks" / f"{number:06d}.npz" for number in range(blocks)]
    with open(path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (path / "store.json").is_file():
            if not all(file.is_file() for file in files):
                return None
            counts: list[np.ndarray] = []
            labels: list[str] = []
            bad: list[dict[str, str]] = []
            total = sum(len(np.load(file)["geometry"]) for file in files)
            writers = {
                "features": RowsWriter(path, ArraySpec("features", total, int(facts["embed_dim"]))),
                "geometry": RowsWriter(path, ArraySpec("geometry", total, 6, "float32")),
            }
            for file in files:
                block = np.load(file)
                for name, writer in writers.items():
                    writer.write(len(labels), block[name])
                text = json.loads(block["text"].tobytes())
                counts.append(block["counts"])
                labels += text["labels"]
                bad += text["bad"]
            for writer in writers.values():
                writer.close()
            with atomic_path(path / "offsets.npy") as temporary, open(temporary, "wb") as handle:
                np.save(handle, np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64))
            write_json(path / "ids.json", list(mixture.ids))
            write_json(path / "labels.json", labels)
            write_json(path / "store.json", {**facts, "bad": bad})
        for file in files:
            file.unlink(missing_ok=True)
    return RegionStore.open(path)
