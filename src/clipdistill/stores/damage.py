"""Damage to a store: which blocks aren't what the log says, and taking them out so that just they are written again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import write_json, write_text
from clipdistill.locks import hold
from clipdistill.stores.arrays import AGAIN, ArraySpec, digest
from clipdistill.stores.facts import read_facts
from clipdistill.stores.log import Line, read_lines

MOST_SAMPLED = 2**26
"""Bytes of an array that are looked at when a store is opened, but for the first block, which always is."""


class Damage(NamedTuple):
    """Rows of an array that aren't what was written; without an array, all of a file."""

    path: Path
    line: int | None = None
    rows: tuple[int, int] | None = None

    def __str__(self) -> str:
        """One line for the user."""
        rows = "" if self.rows is None else f"rows {self.rows[0]} to {self.rows[1]} are "
        return f"{self.path}: {rows}damaged"


def broken_blocks(
    folder: Path, specs: Mapping[str, ArraySpec], lines: Sequence[Line], *, sample: bool = False
) -> Iterator[Damage]:
    """Blocks whose digest isn't the log's, or that hold NaN or infinity.

    Args:
        folder: of the shard. lines: of its log.
        sample: of each array look at the first block, the one in the middle and the last alone, as far as they are
            small: what costs milliseconds at every opening, and finds a file of zeros.
    """
    for name, spec in specs.items():
        places = [number for number, line in enumerate(lines) if name in line["arrays"]]
        if sample and places:
            places = _few(places, lines, name, spec)
        path = folder / spec.file
        if not path.is_file():
            yield from (Damage(path, number, _rows(lines[number], name)) for number in places)
            continue
        with open(path, "rb") as file:
            for number in places:
                start, count, expected = lines[number]["arrays"][name]
                file.seek(start * spec.row_bytes)
                content = file.read(count * spec.row_bytes)
                if digest(content) != expected or not np.isfinite(np.frombuffer(content, spec.kind)).all():
                    yield Damage(path, number, (start, start + count))


def look_over(path: Path, *, mend: bool = False) -> list[Damage]:
    """Read all of a store, and find everything that is damaged in it.

    Args:
        mend: take it out of the logs. The store is unfinished then: whoever writes it goes on with it, and writes just
            the blocks that are missing, where they were.

    Returns:
        What is damaged, files and blocks; of an unfinished part nothing, which is read when it is finished.

    Raises:
        UserError: no store there, or one whose `shard.json` can't be read.
    """
    folders = sorted(path.glob("shard-*-of-*"))
    if not folders:
        raise UserError(f"{path}: there is no store")
    found: list[Damage] = []
    for folder in folders:
        with hold(folder / ".lock", f"{path}: another process is writing this store", wait=True):
            found += _of_shard(folder, mend)
    if found and mend:
        (path / "store.json").unlink(missing_ok=True)
    return found


def _of_shard(folder: Path, mend: bool) -> list[Damage]:
    facts = read_facts(folder / "shard.json")
    if facts is None:
        raise UserError(f"{folder / 'shard.json'}: missing; {AGAIN}")
    own, log, ids = facts["shard"], folder / "blocks.jsonl", folder / "ids.json"
    if not own["finished"]:
        return []
    content = log.read_bytes() if log.is_file() else b""
    whole = digest(content) == own["log"]
    found = [] if whole else [Damage(log)]
    if not ids.is_file() or digest(ids.read_bytes()) != own.get("ids", digest(ids.read_bytes())):
        found.append(Damage(ids))
    lines = read_lines(content) if whole else []  # a log that is wrong says nothing of where rows are
    specs = {spec["name"]: ArraySpec(**spec) for spec in facts["arrays"]}
    found += broken_blocks(folder, specs, lines)
    if found and mend:
        for damage in found:
            if damage.line is not None:
                lines[damage.line]["again"] = True
        write_json(folder / "shard.json", facts | {"shard": own | {"finished": False}})
        write_text(log, "".join(json.dumps(line) + "\n" for line in lines))
    return found


def _few(places: list[int], lines: Sequence[Line], name: str, spec: ArraySpec) -> list[int]:
    chosen: list[int] = []
    size = 0
    for number in dict.fromkeys((places[0], places[len(places) // 2], places[-1])):
        size += lines[number]["arrays"][name][1] * spec.row_bytes
        if not chosen or size <= MOST_SAMPLED:
            chosen.append(number)
    return chosen


def _rows(line: Mapping[str, Any], name: str) -> tuple[int, int]:
    start, count, _ = line["arrays"][name]
    return start, start + count
