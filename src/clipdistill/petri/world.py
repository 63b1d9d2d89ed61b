"""Write a petri world to disk: pictures first, then every format over them; whole or not at all."""

from __future__ import annotations

import errno
import glob
import io
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import UNWRITABLE, alive, write_json
from clipdistill.petri.captions import captions
from clipdistill.petri.choices import SHORTCUT
from clipdistill.petri.compositional import compositional_work, pair_captions, write_aro, write_winoground
from clipdistill.petri.entities import write_entities
from clipdistill.petri.question_writers import write_questions
from clipdistill.petri.render import render
from clipdistill.petri.scenes import Scene
from clipdistill.petri.settings import (
    COMPOSITIONAL,
    DEFAULT_FORMATS,
    HELD_OUT,
    WorldSettings,
    describe,
    make_settings,
    world_settings,
)
from clipdistill.petri.splits import split_scenes, zero_shot_work
from clipdistill.petri.vocabulary import SPLITS
from clipdistill.petri.writers import Picture, write_coco, write_csv, write_karpathy, write_shards

_CHUNK = 256  # pictures drawn and saved at a time at 64 x 64
Progress = Callable[[int, int], None]


def write_world(
    path: str | Path,
    images: int = 6000,
    seed: int = 0,
    formats: Iterable[str] = DEFAULT_FORMATS,
    image_size: int = 64,
    skew: str = "even",
    held_out: int | Iterable[str] = HELD_OUT,
    progress: Progress | None = None,
    *,
    val: int = 500,
    test: int = 1000,
    domain: str = "plain",
    zero_shot: int = 10,
    scenes: str = "full",
    compositional: int = COMPOSITIONAL,
    shortcut: tuple[float, float] = SHORTCUT,
    device: str = "cpu",
) -> dict[str, Any]:
    """Write a petri world into folder `path` and return what its world.json says, plus "path" and "reused".

    Args:
        path: the folder; made with its parents. It appears whole, by a rename, or not at all.
        images, val, test: pictures in each split. More of them never changes the earlier ones.
        seed: the world's seed. Splits stay apart across seeds too: no test scene of one is a training scene of another.
        formats: any of "karpathy", "coco", "csv", "imagefolder" (zero_shot/), "webdataset", "winoground", "aro",
            "vcr", "snli_ve", "vqa", "entities", "vcr_reversed" (VCR's questions of val and test once more, where wrong
            answers repeat as often as right ones did, and the other way round: what has learnt the shortcut fails),
            "llava" (captions and questions as LLaVA's JSON; those of val and test also as VQA v2's).
        image_size: pixels a side, 16 to 1024.
        skew: "even", or "natural": each shape has preferred colours, with Zipf frequencies.
        held_out: how many (colour, shape) pairs are never in the splits, or their names such as "red circle".
        progress: called as progress(pictures done, pictures in all).
        domain: the style: "plain", "sketch" or "night".
        zero_shot: pictures of each zero-shot class.
        scenes: "full", or "pairs": two large plain things a picture, captions that state colours, shapes and relation.
        compositional: swaps in the formats "winoground" and "aro".
        shortcut: how often the right answer, and a wrong one, repeats the tag and words of its question ("vcr").
        device: where to render; pictures from other devices may differ in the last bit of a pixel.

    A folder that already holds a world with the same options, in these formats or more, is left as it is and described.

    Raises:
        UserError: a bad option; `path` holds another world or other files, or can't be written; the disk is full.
    """
    settings = make_settings(
        images=images,
        val=val,
        test=test,
        seed=seed,
        formats=formats,
        image_size=image_size,
        skew=skew,
        domain=domain,
        held_out=held_out,
        zero_shot=zero_shot,
        scenes=scenes,
        compositional=compositional,
        shortcut=shortcut,
    )
    folder = Path(path)
    there = _already_there(folder, settings)
    if there is not None:
        return {**describe(there), "path": str(folder), "reused": True}
    try:
        with _whole_folder(folder) as target:
            _write(target, settings, progress or (lambda _done, _total: None), device)
            write_json(target / "world.json", describe(settings))
    except UserError:
        there = _already_there(folder, settings)
        if there is None:
            raise
        # Another process wrote the same world meanwhile (every rank of a run may ask for it): use that one.
        return {**describe(there), "path": str(folder), "reused": True}
    return {**describe(settings), "path": str(folder), "reused": False}


def world_pictures(settings: WorldSettings) -> Iterator[Picture]:
    """Yield every picture of the splits of a world, in the order of their numbers, without drawing them."""
    number = 0
    for split in SPLITS:
        for scene in split_scenes(settings.rules(), settings.seed, split, settings.counts[split]):
            texts = pair_captions(scene) if settings.scenes == "pairs" else captions(scene)
            yield Picture(number, split, scene, texts)
            number += 1


def _already_there(folder: Path, settings: WorldSettings) -> WorldSettings | None:
    """The settings of the world that lies there, when it is the one wanted, perhaps in more formats."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file, not a folder; choose another folder for the petri world")
    if (folder / "world.json").exists():
        found = world_settings(folder)
        if set(settings.formats) <= set(found.formats):
            settings = replace(settings, formats=found.formats)
        if found == settings:
            return found
        names = [name for name in settings.__dataclass_fields__ if getattr(found, name) != getattr(settings, name)]
        differs = ", ".join(f"{n} is {getattr(found, n)!r}, not {getattr(settings, n)!r}" for n in names)
        raise UserError(f"{folder}: holds another petri world ({differs}); delete it or choose another folder")
    if any(folder.iterdir()):
        raise UserError(f"{folder}: holds files that are no petri world; choose an empty or new folder")
    return None


def _write(target: Path, settings: WorldSettings, progress: Progress, device: str) -> None:
    pictures = list(world_pictures(settings))
    work = [(f"images/{picture.file_name}", picture.scene) for picture in pictures]
    if "imagefolder" in settings.formats:
        work += zero_shot_work(settings.rules(), settings.seed, settings.held_out_pairs, settings.zero_shot)
    swapped = (settings.rules(), settings.seed, settings.compositional)
    if {"winoground", "aro"} & set(settings.formats):
        work += compositional_work(*swapped, settings.formats)
    _draw(target, work, settings.image_size, progress, device)
    size = settings.image_size
    if "karpathy" in settings.formats:
        write_karpathy(target / "dataset_petri.json", pictures)
    if "winoground" in settings.formats:
        write_winoground(target / "winoground", *swapped)
    if "aro" in settings.formats:
        write_aro(target / "aro", *swapped, size)
    for split in SPLITS:
        part = [picture for picture in pictures if picture.split == split]
        if "coco" in settings.formats:
            write_coco(target / "annotations", split, part, size)
        if "csv" in settings.formats:
            write_csv(target / f"captions_{split}.csv", part)
        if "webdataset" in settings.formats:
            write_shards(target / "shards", split, part, target / "images", size)
        if "entities" in settings.formats:
            write_entities(target / "entities", split, part, size)
        write_questions(target, settings.formats, settings.rules(), split, part, size, settings.shortcut)


def _draw(target: Path, work: Sequence[tuple[str, Scene]], size: int, progress: Progress, device: str) -> None:
    for parent in sorted({(target / name).parent for name, _ in work}):
        parent.mkdir(parents=True, exist_ok=True)
    step = max(1, min(_CHUNK, _CHUNK * 64**2 // size**2))
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool, _one_torch_thread():
        for start in range(0, len(work), step):
            part = work[start : start + step]
            drawn = render([scene for _, scene in part], size, device).permute(0, 2, 3, 1).cpu().numpy()
            list(pool.map(_save, (target / name for name, _ in part), drawn))
            progress(start + len(part), len(work))


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Draw with one thread: a chunk is small, and on a busy machine threads spend longer waiting for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    path.write_bytes(buffer.getvalue())


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place when the block ends well, else goes away."""
    prefix = f".{folder.name}.{socket.gethostname()}-"
    target = folder.parent / f"{prefix}{os.getpid()}.petri-tmp"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f"{glob.escape(prefix)}*.petri-tmp"):
            if not alive(left.name[len(prefix) : -len(".petri-tmp")]):
                shutil.rmtree(left, ignore_errors=True)  # a killed run's; it can't be told how far it got
        target.mkdir()
        yield target
        os.replace(target, folder)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{folder}: the disk is full; free some space or choose another folder") from error
        if error.errno in UNWRITABLE or error.errno in (errno.ENOENT, errno.ENOTEMPTY):
            raise UserError(f"{folder}: can't be written ({error.strerror}); choose another folder") from error
        raise
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
