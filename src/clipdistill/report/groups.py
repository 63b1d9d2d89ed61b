"""Runs that differ only by seed belong together: their recipes tell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from clipdistill.report.records import RunRecord

NOT_COMPARED = ("seed", "store", "about")
"""Recipe keys that don't make another experiment: the seed, where a teacher's outputs are cached, and words."""


def group_by_recipe(runs: Sequence[RunRecord]) -> list[tuple[str, list[RunRecord]]]:
    """Return (title, runs) for each set of runs whose recipes agree in all but the seed, in the order given.

    A run without a recipe stands alone. Groups of one name are told apart by the recipe entries in which they differ.
    """
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        key = json.dumps(_without(run.recipe), sort_keys=True, default=str) if run.recipe else f"path {run.path}"
        groups.setdefault(key, []).append(run)
    members = [sorted(group, key=lambda run: str(run.seed)) for group in groups.values()]
    titles = [group[0].name for group in members]
    for name in {title for title in titles if titles.count(title) > 1}:
        same = [number for number, title in enumerate(titles) if title == name]
        flat = {number: dict(_flat(_without(members[number][0].recipe))) for number in same}
        differing = differing_keys([members[number][0] for number in same])
        for number in same:
            parts = [f"{key}={flat[number][key]}" for key in differing if key in flat[number]]
            parts = parts or [f"no {key}" for key in differing]
            titles[number] = f"{name} ({', '.join(parts[:3])})" if parts else name
    for number, title in enumerate(titles):
        if title in titles[:number]:
            titles[number] = f"{title} (variant {titles[: number + 1].count(title)})"
    return list(zip(titles, members, strict=True))


def differing_keys(runs: Sequence[RunRecord]) -> list[str]:
    """Keys of recipes (`task.weights.fd`) that runs differ in, but for what makes no other experiment."""
    flat = [dict(_flat(_without(run.recipe))) for run in runs]
    keys = sorted({key for entries in flat for key in entries})
    return [key for key in keys if len({json.dumps(entries.get(key)) for entries in flat}) > 1]


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(entry) for key, entry in value.items() if key not in NOT_COMPARED}
    return [_without(entry) for entry in value] if isinstance(value, list) else value


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    entries: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        yield prefix, value
    else:
        for key, entry in entries:
            yield from _flat(entry, f"{prefix}.{key}" if prefix else str(key))
