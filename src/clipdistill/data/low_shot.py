"""Low-shot draws: so many samples a class, by seed, kept as a list of ids in a small JSON file that others can use.

CLIP-TD draws 700 and 7,000 questions of VCR (100 and 1,000 a question type), 3,000 and 30,000 pairs of SNLI-VE (1,000
and 10,000 a class), and 100 and 1,000 questions of VQA. Ids are ranked by a hash of (seed, id), so a draw is the same
on every machine and for every order of the file, and the smaller draw is a part of the larger.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.draws import integer
from clipdistill.data.sources.base import existing
from clipdistill.errors import UserError
from clipdistill.files import write_json

SIZES: dict[str, tuple[int, int]] = {"vcr": (700, 7_000), "snli_ve": (3_000, 30_000), "vqa_v2": (100, 1_000)}
"""CLIP-TD's draws, section 4."""

_FORMAT = 1


@dataclass(frozen=True)
class LowShot:
    """What was drawn: the ids, in the data's order; how many of each class; and classes that had fewer than asked."""

    total: int
    seed: int
    data: str
    ids: tuple[str, ...]
    classes: dict[str, int] = field(default_factory=dict)
    shortfalls: dict[str, int] = field(default_factory=dict)


def draw_low_shot(source: Any, total: int, seed: int = 0) -> LowShot:
    """Draw `total` samples of a source, the same number of each class where it has classes.

    A source's classes are its `strata` (VCR: the first question type of each; questions of no type are never drawn),
    else its labels; without either the draw is of the whole. A class that has fewer gives all it has, and is named in
    `shortfalls` with what it lacks; others don't make up for it.

    Raises:
        UserError: `total` isn't a multiple of the number of classes, or the source is smaller, and has no classes.
    """
    groups, names = _strata(source)
    ids: Sequence[str] = source.ids
    share, rest = divmod(total, len(names))
    if total < 1 or rest:
        raise UserError(
            f"{total} samples can't be drawn evenly from the {len(names)} classes of '{source.name}' "
            f"({', '.join(names)}); ask for a multiple of {len(names)}"
        )
    members: dict[str, list[tuple[int, str, int]]] = {name: [] for name in names}
    for row, one in enumerate(ids):
        group = groups[row] if groups is not None else names[0]
        if group in members:
            members[group].append((integer(2**64, seed, "low shot", one), one, row))
    if groups is None and share > len(ids):
        raise UserError(f"{total:,} samples asked of '{source.name}', which has {len(ids):,}; ask for fewer")
    rows: list[int] = []
    drawn: dict[str, int] = {}
    for name, found in members.items():
        rows += [row for _, _, row in sorted(found)[:share]]
        drawn[name] = min(share, len(found))
    lacking = {name: share - count for name, count in drawn.items() if count < share}
    classes = drawn if groups is not None else {}
    return LowShot(total, seed, source.name, tuple(ids[row] for row in sorted(rows)), classes, lacking)


def write_low_shot(path: str | Path, drawn: LowShot) -> None:
    """Write the draw as JSON: "ids" is what matters to a reader, the rest says how they were drawn."""
    write_json(path, {"low_shot": _FORMAT, **dataclasses.asdict(drawn)})


def read_low_shot(path: str | Path) -> LowShot:
    """Read a draw; also a plain JSON list of ids, or any object with "ids", as others may write it.

    Raises:
        UserError: no such file, or no list of ids in it, or one of them twice.
    """
    file = existing(path, "file of drawn ids", "write one with clipdistill.data.low_shot")
    try:
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON ({str(error).splitlines()[0]})") from None
    content = {"ids": content} if isinstance(content, list) else content
    ids = content.get("ids") if isinstance(content, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str | int) for one in ids):
        raise UserError(f"{file}: no list 'ids' of sample ids in it")
    names = tuple(str(one) for one in ids)
    if len(set(names)) != len(names):
        twice = next(one for place, one in enumerate(names) if one in names[:place])
        raise UserError(f"{file}: id '{twice}' stands in it twice; remove one")
    known = {one.name for one in dataclasses.fields(LowShot)} - {"ids"}
    about = {"total": len(names), "seed": 0, "data": "", **{k: v for k, v in content.items() if k in known}}
    return LowShot(ids=names, **about)


def chosen_rows(ids: Sequence[str], subset: str | Path | LowShot | None, unlabelled: bool) -> np.ndarray:
    """Rows that a source keeps, int64 ascending: those of the file or draw `subset`, or with `unlabelled` the others.

    Raises:
        UserError: it names ids that the data doesn't have, or nothing is left.
    """
    if subset is None:
        return np.arange(len(ids), dtype=np.int64)
    wanted = set((subset if isinstance(subset, LowShot) else read_low_shot(subset)).ids)
    subset = "low_shot" if isinstance(subset, LowShot) else subset
    strangers = wanted - set(ids)
    if strangers:
        raise UserError(
            f"{subset}: {len(strangers)} of its {len(wanted)} ids aren't in the data, such as '{min(strangers)}'; "
            "it was drawn from other data"
        )
    kept = np.array([(one in wanted) != unlabelled for one in ids], dtype=bool)
    if not kept.any():
        raise UserError(f"{subset}: names all of the data, so no unlabelled rest is left")
    return np.flatnonzero(kept).astype(np.int64)


def _strata(source: Any) -> tuple[Sequence[str | None] | None, tuple[str, ...]]:
    """The class of each row, None = all are one; and the names of the classes."""
    if getattr(source, "strata", None) is not None:
        return source.strata, tuple(source.strata_names)
    if source.classes is not None:
        labels = [source[row].label for row in range(len(source))]
        return [None if one is None else source.classes[one] for one in labels], tuple(source.classes)
    return None, ("all",)
