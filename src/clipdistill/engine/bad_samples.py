"""The samples that a training could not read: listed in a file, each once, until there are too many of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from clipdistill.errors import UserError
from clipdistill.files import write_text


class BadSamples:
    """Notes unreadable samples in `bad_samples.jsonl`.

    Args:
        path: of the file. samples: size of the data set, 0 = unknown. limit: the share of it that may be bad.

    Attributes:
        found: id -> reason.
    """

    def __init__(self, path: Path, samples: int, limit: float) -> None:
        self.path, self.samples, self.limit = path, samples, limit
        self.found: dict[str, str] = {}

    def note(self, found: Iterable[Mapping[str, str]]) -> None:
        """List samples, each with its `id` and `reason`; those that are known already don't count again.

        Raises:
            UserError: they are more than the limit.
        """
        new = {item["id"]: item["reason"] for item in found if item["id"] not in self.found}
        if not new:
            return
        self.found.update(new)
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(_lines(new))
            handle.flush()
            os.fsync(handle.fileno())
        if self.samples and len(self.found) > self.limit * self.samples:
            raise UserError(
                f"{self.path}: {len(self.found)} of {self.samples} samples can't be read, more than data.max_bad_share "
                f"= {self.limit:g}; mend them (the file lists each with its reason) or raise the share"
            )

    def restore(self, found: Mapping[str, str]) -> None:
        """Go back to what was known at a checkpoint; the file may hold more, met after it."""
        self.found = dict(found)
        write_text(self.path, _lines(self.found))


def _lines(found: Mapping[str, str]) -> str:
    return "".join(json.dumps({"id": one, "reason": why}, ensure_ascii=False) + "\n" for one, why in found.items())
