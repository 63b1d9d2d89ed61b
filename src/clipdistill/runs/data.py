"""The training data of a run: its petri world, its mixture, and the samples that turn out to be unreadable."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdistill.data import AugmentPlan, Mixture, open_source
from clipdistill.data.low_shot import LowShot
from clipdistill.data.sources.base import NOT_A_PICTURE
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.locks import hold
from clipdistill.recipe import Recipe, SourceSpec
from clipdistill.runs.low_shot import open_drawn


@dataclass
class Data:
    """What the stages of a run share: the whole mixture, and what of it nobody can train on.

    whole: the mixture before low-shot draws (`draws`): regions are found for all of it, once for all seeds and sizes.
    bad: id -> reason of samples left out by their sources or by a stage; `kept` is the mixture without the latter.
    """

    mixture: Mixture
    whole: Mixture
    draws: list[LowShot] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    kept: Mixture = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.mixture
        self.bad |= {one: why for one, why in self.mixture.skipped if why != NOT_A_PICTURE}

    def leave_out(self, unread: Mapping[str, str]) -> None:
        """Take samples out that a stage could not read: there are no targets for them."""
        ids = set(self.kept.ids)
        found = {one: why for one, why in unread.items() if one in ids}
        if found:
            self.kept = self.kept.without(found)
            self.bad |= found

    def give_regions(self, store: Any) -> None:
        """Let batches hold the regions of a store."""
        self.mixture.regions = self.kept.regions = self.whole.regions = store


def ensure_petri_world(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the recipe's petri world, or make sure that the one in its folder is the one it wants."""
    spec = recipe.petri
    if spec is None:
        return
    from clipdistill.petri import write_world

    with _alone(spec.path):
        write_world(
            spec.path, images=spec.images, val=spec.val, test=spec.test, seed=spec.seed, image_size=spec.image_size,
            skew=spec.skew, scenes=spec.scenes, zero_shot=spec.zero_shot, compositional=spec.compositional,
            shortcut=spec.shortcut, formats=tuple(spec.formats), progress=progress,
        )  # fmt: skip


@contextmanager
def _alone(world: Path) -> Iterator[None]:
    """Wait for a process that writes this world. A world is there whole or not at all; this saves writing it twice."""
    if world.exists() or not world.parent.is_dir():
        yield
        return
    path = world.with_name(f".{world.name}.lock")
    try:
        lock = hold(path, f"{world}: another process is writing this petri world", wait=True)
    except UserError:  # a folder that can't be written: the world's own message says more
        yield
        return
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def worlds_for_plans() -> Iterator[Callable[[Recipe], Recipe]]:
    """Yield what gives recipes their petri world for a plan: in a temporary folder where it isn't written yet.

    Recipes with the same world share it; nothing is left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        known: dict[str, str] = {}

        def borrowed(recipe: Recipe) -> Recipe:
            if recipe.petri is None or recipe.petri.path.exists():
                return recipe
            values = recipe.model_dump(mode="json")
            old = values["petri"]["path"]
            new = known.setdefault(str(values["petri"]), str(Path(folder) / str(len(known)) / Path(old).name))
            values["petri"]["path"] = new
            for key in ("data", "evaluate", "stages"):
                values[key] = _moved(values[key], old, new)
            found = Recipe.model_validate(values)
            if not Path(new).exists():
                with Meter("petri world, for the plan", 1) as meter:
                    ensure_petri_world(found, meter.reach)
            return found

        yield borrowed


@contextmanager
def world_for_plan(recipe: Recipe) -> Iterator[Recipe]:
    """Yield the recipe, with its petri world in a temporary folder when it isn't written yet: a plan leaves nothing."""
    with worlds_for_plans() as borrowed:
        yield borrowed(recipe)


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return new + value.removeprefix(old) if value == old or value.startswith(f"{old}/") else value
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    return value


def open_data(recipe: Recipe, ranks: Ranks) -> Data:
    """Write the petri world where one is asked for, and open the training sources.

    Raises:
        UserError: anything missing, or too much of a source that can't be used.
    """
    if ranks.is_main:
        with Meter("petri world", 1, quiet=recipe.petri is None) as meter:
            ensure_petri_world(recipe, meter.reach)
    ranks.barrier()
    data = open_mixture(recipe)
    check_left_out(data.mixture, recipe.data.max_bad_share)
    return data


def source_spec(spec: SourceSpec) -> dict[str, Any]:
    """A source as the data layer takes it."""
    values = {"format": spec.format, "captions": spec.captions, **spec.options()}
    return values if spec.path is None else {**values, "path": spec.path}


def open_mixture(recipe: Recipe) -> Data:
    """Open the training sources, and draw from those with `low_shot`.

    Raises:
        UserError: missing or empty data, a column that isn't there, more samples asked than there are.
    """
    seed = recipe.seed if recipe.data.seed is None else recipe.data.seed
    parts, wholes, draws = [], [], []
    for index, spec in enumerate(recipe.data.train):
        field = f"`data.train.{index}" + (".low_shot`" if spec.low_shot is not None else "`")
        try:
            if spec.low_shot is None:
                source = whole = open_source(source_spec(spec))
            else:
                source, whole, drawn = open_drawn(source_spec(spec), spec.low_shot, seed)
                draws += [] if drawn in draws else [drawn]
        except UserError as error:
            raise UserError(f"{field}: {error}") from error
        if spec.count is not None and spec.count > len(source):
            raise UserError(
                f"`data.train.{index}.count`: {spec.count:,} asked of '{source.name}', which has {len(source):,} "
                "samples; lower it"
            )
        parts.append((source, spec.count))
        wholes.append((whole, spec.count))
    mixture = Mixture(parts, seed=seed, repeat=[spec.repeat for spec in recipe.data.train])
    if not draws:
        return Data(mixture, mixture)
    everything = Mixture(wholes, seed=seed)
    if everything.picture_ids is not everything.ids:  # names of pictures depend on what else there is
        names = dict(zip(everything.ids, everything.picture_ids, strict=True))
        mixture.picture_ids = [names[one] for one in mixture.ids]
    return Data(mixture, everything, draws)


def augment_plan(recipe: Recipe) -> AugmentPlan:
    """The augmentation plan; with stored teachers and nothing said about views there is one view."""
    values = recipe.data.augment.model_dump()
    if values["views"] is None and any(teacher.store for teacher in recipe.teachers):
        values["views"] = 1
    seed = values.pop("seed")
    return AugmentPlan(**values, seed=recipe.seed if seed is None else seed)


def check_left_out(mixture: Mixture, limit: float) -> None:
    """Stop when a source had to leave out too many of its samples when it was opened.

    Raises:
        UserError: more than the share `limit` of a source; names the first few with their reasons.
    """
    for source in mixture.sources:
        lost = [(one, why) for one, why in getattr(source, "skipped", ()) if why != NOT_A_PICTURE]
        if len(lost) > limit * (len(source) + len(lost)):
            some = "; ".join(f"{one}: {why}" for one, why in lost[:5]) + ("; ..." if len(lost) > 5 else "")
            raise UserError(
                f"data source '{source.name}': {len(lost)} of {len(source) + len(lost)} samples can't be used, more "
                f"than data.max_bad_share = {limit:g} ({some}); mend them or raise the share"
            )
