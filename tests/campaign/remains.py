"""What a run left, file by file, so that two runs can be compared bit for bit: all but what a clock says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

CLOCK = ("seconds", "samples_per_second", "mfu", "peak_memory_mb", "images_per_second", "texts_per_second")
PAGES = (".md", ".html")
MEASURED = re.compile(rb"[0-9][0-9.,]*|less than a second|[a-z]+ seconds?")
"""Numbers and times of a page, which shows how long the training took; the numbers themselves stand in JSON beside."""


def remains(folder: Path) -> dict[str, str]:
    """Each file below a folder, by its path there -> a digest of what it says. Locks are left out."""
    return {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and not path.name.endswith(".lock")
    }


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What is missing, what is there besides, what differs."""
    return [
        *(f"missing: {name}" for name in sorted(expected.keys() - found.keys())),
        *(f"left over: {name}" for name in sorted(found.keys() - expected.keys())),
        *(f"differs: {name}" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]),
    ]


def _digest(path: Path) -> str:
    if path.suffix == ".pt":
        return _hash(_plain(torch.load(path, map_location="cpu", weights_only=True)))
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        try:
            values = [json.loads(line) for line in content.decode().splitlines()] if path.suffix == ".jsonl" else [
                json.loads(content)
            ]  # fmt: skip
        except ValueError:
            return "unreadable " + hashlib.sha256(content).hexdigest()
        return _hash([_without_clock(value) for value in values])
    if path.suffix in PAGES:
        content = MEASURED.sub(b"#", content)
    return hashlib.sha256(content).hexdigest()


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clock(one) for key, one in value.items() if key not in CLOCK}
    return [_without_clock(one) for one in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()]
    if isinstance(value, dict):
        return [[str(key), _plain(one)] for key, one in value.items()]
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
