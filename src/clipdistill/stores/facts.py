"""What a store says of itself, how two such descriptions are compared, and what a store weighs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.errors import UserError
from clipdistill.stores.arrays import AGAIN, digest

VERSION = 2

# Fact -> what it is called in an error. All of these decide what the numbers in a store are.
DECISIVE = {
    "version": "the store's format",
    "kind": "what the store holds",
    "teacher_fingerprint": "the teacher (weights, preprocessing or tokenizer)",
    "features": "the kind of features",
    "plan_fingerprint": "the augmentation plan",
    "views": "the number of views",
    "data_fingerprint": "the data (samples drawn, their captions or files)",
    "dtype": "the precision",
    "questions": "what is stored of questions",
    "answers": "the answers",
    "regions": "the regions",
    "provider_key": "the provider",
    "min_score": "min_score",
    "max_regions": "max_regions",
    "crop": "how boxes become features",
    "keys": "what a row is of",
}


def store_facts(
    model: Any,
    mixture: Mixture,
    plan: AugmentPlan,
    *,
    teacher_fingerprint: str,
    features: str,
    widths: tuple[int, int],
    dtype: str,
    world_size: int,
    fields: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the description that all shards of a store share; plain JSON values.

    Args:
        widths: of image and text rows. fields: names of the samples' fields that the targets depend on.
    """
    tower = features == "tower"
    bias = None if tower else model.logit_bias
    return {
        "version": VERSION,
        "kind": "targets",
        "teacher": model.name,
        "teacher_fingerprint": teacher_fingerprint,
        "features": features,
        "embed_dim": widths[0],
        "text_dim": widths[1],
        "logit_scale": 1.0 if tower else model.logit_scale.item(),
        "logit_bias": None if bias is None else bias.item(),
        "preprocess": {key: _plain(value) for key, value in model.preprocess.items()},
        "tokenizer_key": model.tokenizer_key,
        "data_fingerprint": mixture.fingerprint(),
        "sources": {source.name: source.fingerprint() for source in mixture.sources},
        "fields": mixture.fields_fingerprint(fields),
        "samples": len(mixture),
        "plan_fingerprint": plan.fingerprint(),
        "plan": {key: _plain(value) for key, value in asdict(plan).items()},
        "views": fixed_views(plan),
        "dtype": dtype,
        "world_size": world_size,
    }


def fixed_views(plan: AugmentPlan) -> int:
    """Return how many views of a sample a store of this plan holds.

    Raises:
        UserError: the plan makes a fresh view each epoch, so there is nothing that could be stored.
    """
    if plan.identity:
        return 1
    if plan.views is None:
        raise UserError(
            "`data.augment.views`: a store needs a fixed number of views of each picture, and this plan makes a fresh "
            "one each epoch; set it, to 4 say, or use the teacher live"
        )
    return plan.views


def require_same(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise a UserError that says which decisive facts of a store aren't those wanted (others don't count)."""
    different = [
        f"{words}: the store has {_short(stored.get(fact))}, now it is {_short(wanted[fact])}"
        for fact, words in DECISIVE.items()
        if fact in wanted and stored.get(fact) != wanted[fact]
    ]
    fields = wanted.get("fields", {})
    changed = [name for name, value in fields.items() if stored.get("fields", {}).get(name) != value]
    different += [f"the samples' field '{name}': its values aren't those of the store" for name in changed]
    if different:
        raise UserError(f"{path}: {'; '.join(different)}; choose another folder or delete this one")


def read_facts(path: Path) -> dict[str, Any] | None:
    """Return the content of a `store.json` or `shard.json` of whatever version; None when there is none.

    Raises:
        UserError: it is something else.
    """
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a store's file; {AGAIN}") from None
    return found


def facts_digest(facts: Mapping[str, Any]) -> str:
    """A hash of what a `store.json` says: logit scales and numbers of views have no other."""
    return digest(json.dumps(json.loads(json.dumps(facts)), sort_keys=True).encode())


@contextmanager
def not_as_written(file: Path) -> Iterator[None]:
    """Turn what is raised where facts lack something, or have another kind of it, into one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise UserError(f"{file}: isn't what was written ({type(error).__name__}: {error}); {AGAIN}") from error


def store_size_bytes(samples: int, views: int, captions: int, dim: int, dtype: str = "float16") -> int:
    """Return about how many bytes a store takes: `views` image rows a sample and one row a caption, `dim` wide."""
    number = {"float16": 2, "float32": 4}[dtype]
    return (samples * views + captions) * dim * number + samples * 64  # 64: id, caption offset, block records


def _plain(value: Any) -> Any:
    """Tuples become lists, as they would by way of JSON, so that facts compare equal when read back."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) > 40 else str(value)
