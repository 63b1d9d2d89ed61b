"""Looking all of a store, or of a run and its stores, over for damage; what is broken in a store can be taken out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipdistill.engine.checkpoint import require_whole
from clipdistill.errors import UserError
from clipdistill.recipe_files import load_recipe
from clipdistill.stores.damage import look_over


def verify(path: Path, *, mend: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Read everything that has a digest, one thing after the other.

    Args:
        path: a store; or a run, of which the checkpoints are read, and the stores that its recipe names and that are
            there.
        mend: take damaged blocks out of stores, so that whoever writes the store writes those again.

    Yields:
        (store or checkpoint, what is damaged in it).

    Raises:
        UserError: neither a store nor a run.
    """
    if any(path.glob("shard-*-of-*")):
        yield str(path), [str(one) for one in look_over(path, mend=mend)]
        return
    if not (path / "recipe.yaml").is_file():
        raise UserError(f"{path}: neither a store nor a run")
    for checkpoint in sorted(path.rglob("step-*.pt")):
        try:
            require_whole(checkpoint)
        except UserError as error:
            yield str(checkpoint), [str(error)]
        else:
            yield str(checkpoint), []
    named = {*_stores(load_recipe(path / "recipe.yaml").model_dump(mode="json"))}
    named |= {str(file.parent) for file in path.rglob("store.json")}
    for store in sorted(named):
        if any(Path(store).glob("shard-*-of-*")):
            yield store, [str(one) for one in look_over(Path(store), mend=mend)]


def _stores(values: Any) -> Iterator[str]:
    """What stands under the keys `store` of a recipe."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key == "store" and isinstance(value, str):
                yield value
            else:
                yield from _stores(value)
    elif isinstance(values, list):
        for value in values:
            yield from _stores(value)
