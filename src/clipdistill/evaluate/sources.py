"""The sources that an evaluation is asked for, and what it reads from them beside the pictures."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError


class Subset:
    """Some samples of a source, by position."""

    def __init__(self, source: Any, positions: Sequence[int]) -> None:
        self.source, self.positions = source, positions
        self.name: str = getattr(source, "name", "data")
        self.classes: tuple[str, ...] | None = getattr(source, "classes", None)
        self.skipped: list[tuple[str, str]] = getattr(source, "skipped", [])

    @property
    def ids(self) -> list[str]:
        """Of its samples."""
        known = getattr(self.source, "ids", None)
        return [str(self.source[row].id if known is None else known[row]) for row in self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, row: int) -> Any:
        return self.source[self.positions[row]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)  # such as the vocabulary of answers

    def fingerprint(self) -> str:
        """The source's, and which of its samples."""
        which = ",".join(map(str, self.positions))
        return hashlib.sha256(f"{self.source.fingerprint()} {which}".encode()).hexdigest()[:16]


def some_of(source: Any, most: int) -> Subset:
    """At most `most` samples, evenly over a source."""
    step = max(1, len(source) // most)
    return Subset(source, range(len(source))[::step][:most])


def open_sources(data: Mapping[str, Any] | str | Path, name: str | None = None) -> dict[str, Any]:
    """Open one source (a spec, a path, "format:path@split") or several by name, and return them by name.

    A spec may hold `count`: that many samples are then drawn, the same ones every time. A Karpathy file without a split
    means its test split here.

    Raises:
        UserError: neither of these, or what `open_source` raises.
    """
    from clipdistill.data.sources import open_source, parse_shorthand

    if not isinstance(data, Mapping):
        data = parse_shorthand(str(data))
    if "format" in data or "path" in data:
        spec = dict(data)
        count = spec.pop("count", None)
        if spec.get("format") == "karpathy":
            spec.setdefault("split", "test")  # a model is measured on what it wasn't trained on
        source = open_source(spec)
        if count is not None:
            if count > len(source):
                raise UserError(f"data: count is {count}, but {source.name} has {len(source)} samples")
            source = Subset(source, sorted(random.Random("evaluation").sample(range(len(source)), count)))
        return {name or source.name: source}
    if not data or not all(isinstance(spec, Mapping | str | Path) for spec in data.values()):
        raise UserError("data: give one source (format: ..., path: ...), or several by name (coco: {format: ...})")
    if name is not None:
        raise UserError(f"name: '{name}' is for one source; several are named by their keys, here {', '.join(data)}")
    return {title: source for key, spec in data.items() for title, source in open_sources(spec, str(key)).items()}


def captions_of(source: Any, positions: torch.Tensor) -> tuple[list[str], torch.Tensor]:
    """Return all captions of the samples at `positions`, and int64 [M]: which of `positions` each belongs to."""
    texts: list[str] = []
    owner: list[int] = []
    for row, position in enumerate(positions.tolist()):
        for caption in source[position].captions:
            if caption.strip():
                texts.append(caption)
                owner.append(row)
    return texts, torch.tensor(owner, dtype=torch.int64)


def labels_of(source: Any, positions: torch.Tensor, name: str) -> torch.Tensor:
    """Return int64 [n] class indices of the samples at `positions`; UserError when one has none."""
    labels = [source[position].label for position in positions.tolist()]
    if None in labels:
        raise UserError(f"zero_shot: {name}: sample '{source[int(positions[labels.index(None)])].id}' has no label")
    return torch.tensor(labels, dtype=torch.int64)


def left_out(source: Any, bad: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return `{"id", "reason"}` of everything missing from an evaluation: skipped at opening, or not decoded."""
    return [{"id": str(key), "reason": str(why)} for key, why in getattr(source, "skipped", ())] + bad
