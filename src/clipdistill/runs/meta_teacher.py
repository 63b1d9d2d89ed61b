"""A meta-teacher's share of a run: regions cached, the teacher trained epoch by epoch, its targets stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.data import Loader
from clipdistill.engine.checkpoint import list_checkpoints
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.rng import seed_everything
from clipdistill.engine.tracking import Meter
from clipdistill.engine.trainer import Trainer
from clipdistill.errors import UserError
from clipdistill.evaluate.leakage import caption_from_target, chance_of_own_caption
from clipdistill.files import write_json
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.regions import check_provider, open_provider
from clipdistill.recipe import MetaSpec, Recipe
from clipdistill.report.region_pictures import region_sheet
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.models import open_model, require_weights
from clipdistill.runs.wiring import Parts, check_recipe
from clipdistill.stores import TeacherStore
from clipdistill.stores.pairs import cache_pairs
from clipdistill.stores.region_cache import cache_regions
from clipdistill.stores.regions import RegionStore
from clipdistill.tasks import TASKS, Task
from clipdistill.tasks.region_teacher import RegionInputs

ANNOTATIONS = "annotations"


def meta_recipe(recipe: Recipe, meta: MetaSpec) -> Recipe:
    """The teacher's training as a recipe of its own: same data and seed, its own task and settings.

    There is a checkpoint at the end of every epoch, and all of them are kept: each is a teacher. None goes, however
    often a run is stopped, which leaves further ones.
    """
    values = recipe.model_dump()
    values |= {
        "name": f"{recipe.name} (teacher)",
        "teachers": [],
        "task": meta.task.model_dump(),
        "train": meta.train.model_dump() | {"keep_checkpoints": 10**6},
        "evaluate": [],
        "compare": [],
        "paper": None,
    }
    return Recipe.model_validate(values)


def check_meta(recipe: Recipe, world_size: int = 1) -> None:
    """Everything about regions and meta-teachers that can be checked before a file is opened.

    Raises:
        UserError: no regions, two meta-teachers, an unknown method or option, a batch that doesn't divide, an epoch
            that the training doesn't have.
    """
    if recipe.regions is not None:
        try:
            check_provider({"provider": recipe.regions.provider, **recipe.regions.options()})
        except UserError as error:
            raise UserError(f"`regions`: {error}") from error
    if sum(spec.meta is not None for spec in recipe.teachers) > 1:
        raise UserError("`teachers`: two of them are meta-teachers, and a run makes one; give each a run of its own")
    for index, spec in enumerate(recipe.teachers):
        if spec.meta is None:
            continue
        where = f"`teachers.{index}.meta"
        if recipe.regions is None:
            raise UserError("`regions` is missing: a meta-teacher sees regions; add {provider: ..., store: FOLDER}")
        if recipe.student.model is None:
            raise UserError("`student.model` is missing: the meta-teacher stands on a pretrained model; name one")
        method = spec.meta.task.method
        if method not in TASKS or not hasattr(TASKS[method], "make_student"):
            raise UserError(f"{where}.task.method`: {method!r} trains no meta-teacher; use dclip_teacher")
        try:
            check_recipe(meta_recipe(recipe, spec.meta), world_size)
        except UserError as error:
            raise UserError(f"`teachers.{index}.meta`: {error}") from error
        if spec.meta.epoch is not None and spec.meta.run is None and spec.meta.epoch > spec.meta.train.epochs:
            raise UserError(
                f"{where}.epoch` is {spec.meta.epoch}, and it trains for {spec.meta.train.epochs}; lower it"
            )
        if spec.meta.run is not None:
            trained_epoch(spec.meta.run, spec.meta.epoch)


def open_base(recipe: Recipe, device: torch.device) -> Any:
    """The pretrained model that a meta-teacher stands on, frozen: the student before its training."""
    require_weights(str(recipe.student.model))
    base = open_model(recipe.student, device)
    base.requires_grad_(False).eval()
    return base


def write_regions(parts: Parts, base: Any, batch_size: int = 128) -> RegionStore:
    """Find the regions of every training picture and embed their crops; a store that is there is opened."""
    spec, ranks = parts.recipe.regions, parts.ranks
    if spec is None:
        raise UserError("`regions` is missing: say where they come from, such as {provider: detector, store: FOLDER}")
    try:
        provider = None
        if spec.provider != ANNOTATIONS:
            provider = open_provider({"provider": spec.provider, **spec.options()}, str(ranks.device))
        with Meter(f"regions ({spec.provider})", len(parts.mixture), quiet=not ranks.is_main) as meter:
            cache_regions(
                base, parts.mixture, provider, spec.store,
                min_score=spec.min_score, max_regions=spec.max_regions, crop=spec.crop, batch_size=batch_size,
                device=ranks.device, rank=ranks.rank, world_size=ranks.world_size,
                max_bad_share=parts.recipe.data.max_bad_share, progress=meter.reach,
            )  # fmt: skip
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error
    ranks.barrier()
    return RegionStore.open(spec.store)


def prepare_meta_teacher(parts: Parts, run: RunFolder, resume: bool) -> None:
    """Cache regions, train the recipe's meta-teacher and store its targets: whatever of it isn't there yet."""
    found = [state for state in parts.teachers if state.spec.meta is not None]
    if not found:
        return
    (state,) = found
    spec, base, folder = state.spec.meta, open_base(parts.recipe, parts.ranks.device), run.path / "teacher"
    assert spec is not None
    meta = taken_teacher(spec, base)
    regions = write_regions(parts, base)
    if parts.ranks.is_main:
        if not run.recipe.is_file():
            run.start(parts.recipe)  # from now on the folder is this recipe's, whatever stage the run stops in
        draw_regions(parts, regions, run.path / "regions.png")
    ids = set(parts.mixture.ids)
    unread = {one: why for one, why in regions.bad.items() if one in ids}
    if unread:
        parts.mixture = parts.mixture.without(unread)
        parts.bad |= unread
    if meta is None:
        _train(parts, spec, base, regions, RunFolder(folder), resume)
        parts.ranks.barrier()
        meta = MetaTeacher.load(trained_epoch(folder, spec.epoch))
    # The targets lie with the student, whoever made the teacher: they belong to this run's data and regions.
    state.store = _store_targets(parts, meta, folder / "targets", base, regions)
    if parts.ranks.is_main:
        write_json(folder / "targets.json", leakage(parts, state.store, regions))


def taken_teacher(meta: MetaSpec, base: Any) -> MetaTeacher | None:
    """The teacher of another run; None where the run trains its own.

    Raises:
        UserError: it was trained on another base than this recipe's.
    """
    if meta.run is None:
        return None
    from clipdistill.models import fingerprint

    teacher = MetaTeacher.load(trained_epoch(meta.run, meta.epoch))
    if teacher.config["width"] != int(base.embed_dim) or teacher.base not in (None, fingerprint(base)):
        raise UserError(
            f"{meta.run}: its teacher stands on another model than {base.name}; give `student.model` as that run had it"
        )
    return teacher


def draw_regions(parts: Parts, regions: RegionStore, file: Path, pictures: int = 12) -> None:
    """Draw the regions of pictures from all over the data into `regions.png`, for the report."""
    some: list[tuple[Any, Any]] = []
    mixture = parts.mixture
    positions = range(0, len(mixture), max(1, len(mixture) // pictures))
    rows = regions.rows([mixture.ids[position] for position in positions])
    for position, row in list(zip(positions, rows.tolist(), strict=True))[:pictures]:
        if mixture.ids[position] not in regions.bad:
            some.append((mixture[position].image.open(), regions.regions(row)))
    if some:
        file.write_bytes(region_sheet(some))


def meta_task(parts: Parts, meta: MetaSpec, inputs: Any) -> Task:
    """The teacher's task on its device, its weights drawn from the recipe's seed."""
    kind: Any = TASKS[meta.task.method]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parts.recipe.seed + 2)
        student = kind.make_student(inputs.embed_dim, meta.task.options(), meta.task.weights)
        task: Task = kind(student, [inputs], meta.task.weights, meta.task.options())
    task.to(parts.ranks.device)
    parts.ranks.broadcast_module(task)
    return task


def meta_loader(parts: Parts, base: Any, batch_size: int) -> Loader:
    """Captions alone: the pictures' share is in the region store."""
    return Loader(
        parts.mixture,
        images={},
        tokenizers={"teacher0": base.tokenizer},
        batch_size=batch_size // parts.ranks.world_size,
        plan=parts.plan,
        seed=parts.recipe.seed,
        rank=parts.ranks.rank,
        world_size=parts.ranks.world_size,
        workers=parts.recipe.data.workers,
    )


def _train(parts: Parts, meta: MetaSpec, base: Any, regions: RegionStore, run: RunFolder, resume: bool) -> None:
    from clipdistill.models import fingerprint

    ranks: Ranks = parts.ranks
    epochs = run.path / "epochs"
    if (epochs / str(meta.train.epochs) / "meta_teacher.json").is_file():
        return
    recipe = meta_recipe(parts.recipe, meta)
    resume = resume and run.has_checkpoint
    if ranks.is_main:
        print("teacher: trained on regions and captions")
        run.start(recipe) if not resume else None
    ranks.barrier()
    seed_everything(recipe.seed, ranks.rank)
    inputs = RegionInputs(base, regions, parts.mixture.ids, max_regions(recipe))
    task, loader = meta_task(parts, meta, inputs), meta_loader(parts, base, recipe.train.batch_size)
    recipe.train.checkpoint_every = loader.steps_per_epoch
    trainer = Trainer(task, loader, recipe, run.path, samples=len(parts.mixture), bad=parts.bad, ranks=ranks)
    trainer.fit(resume)
    if ranks.is_main:
        task.student.base = fingerprint(base)
        _keep_epochs(run, task.student, epochs, loader.steps_per_epoch)


def _keep_epochs(run: RunFolder, student: MetaTeacher, epochs: Path, steps_per_epoch: int) -> None:
    """Turn each checkpoint into the folder of a teacher, `epochs/N`; the last one may end within its epoch."""
    for path in list_checkpoints(run.checkpoints):
        state = torch.load(path, map_location="cpu", weights_only=True)
        number = -(-int(state["step"]) // steps_per_epoch)
        prefix = "student."
        weights = {k.removeprefix(prefix): v for k, v in state["task"].items() if k.startswith(prefix)}
        student.load_state_dict(state["average"] or weights)  # the average is what `train.ema` asks for
        student.save(epochs / str(number))


def max_regions(recipe: Recipe) -> int:
    """Regions a picture, for padding."""
    return recipe.regions.max_regions if recipe.regions is not None else 1


def trained_epoch(folder: Path, epoch: int | None) -> Path:
    """The folder of one epoch's teacher, the last one for None.

    Raises:
        UserError: it isn't there; says which are.
    """
    found = sorted(int(p.parent.name) for p in (Path(folder) / "epochs").glob("*/meta_teacher.json"))
    if not found:
        raise UserError(f"{folder}: holds no trained meta-teacher; give RUN/teacher of a finished run")
    if epoch is not None and epoch not in found:
        raise UserError(f"{folder}: has no epoch {epoch}; it has {', '.join(map(str, found))}")
    return Path(folder) / "epochs" / str(epoch or found[-1])


def _store_targets(parts: Parts, meta: MetaTeacher, path: Path, base: Any, regions: RegionStore) -> TeacherStore:
    ranks = parts.ranks
    meta.to(ranks.device).requires_grad_(False).eval()
    with Meter("caching the meta-teacher's targets", len(parts.mixture), quiet=not ranks.is_main) as meter:
        cache_pairs(
            meta, base, regions, parts.mixture, path,
            device=ranks.device, rank=ranks.rank, world_size=ranks.world_size, progress=meter.reach,
        )  # fmt: skip
    ranks.barrier()
    return TeacherStore.open(path)


def leakage(parts: Parts, targets: TeacherStore, regions: RegionStore, captions: int = 1000) -> dict[str, Any]:
    """How well the captions of the first samples can be told from the targets, and from the regions' mean alone."""
    owner: list[int] = []
    which: list[int] = []
    for row in range(len(parts.mixture)):
        count = len(parts.mixture[row].captions)
        owner += [row] * count
        which += range(count)
        if len(owner) >= captions:
            break
    rows = targets.rows([parts.mixture.ids[row] for row in owner])
    image, text = torch.from_numpy(targets.pair_image(rows, which)), torch.from_numpy(targets.text(rows, which))
    found = regions.lookup(regions.rows([parts.mixture.ids[row] for row in owner]), max_regions(parts.recipe))
    plain = torch.from_numpy(found["features"].sum(axis=1) / found["mask"].sum(axis=1, keepdims=True))
    number = torch.tensor(owner)
    return {
        "captions": len(owner),
        "pictures": len(set(owner)),
        "chance": chance_of_own_caption(number),
        "target": caption_from_target(image, text, number),
        "regions_alone": caption_from_target(plain, text, number),
    }
