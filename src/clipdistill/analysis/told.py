"""What teachers say of pictures and captions: from their stores, or asked now.

Stores are those that recipes name (`teachers.0.store`), opened, checked and written by `runs.teachers.TeacherState`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data import AugmentPlan, ImageView, Mixture, evaluation_batches
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.tracking import LaterMeter, Meter
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import embed_batches, embed_texts
from clipdistill.kinds import KINDS
from clipdistill.models.measures import parameter_counts
from clipdistill.recipe import TeacherSpec
from clipdistill.runs.data import Data
from clipdistill.runs.teachers import TeacherState
from clipdistill.stores import TeacherStore

KIND = "dual_encoder"
MAX_BAD_SHARE = 0.01
"""Of pictures that a store is written from, as recipes have it."""


@dataclass
class Items:
    """The pictures that are scored, each once, in the order of their ids: no order of the data changes a score.

    rows: positions in the mixture. texts: the different captions. pictures, captions: the pairs, as places in `rows`
    and in `texts`. plan: how pictures are shown: view 0 of the stores' plan, or as evaluation has them.
    """

    mixture: Mixture
    plan: AugmentPlan = AugmentPlan()
    device: Any = "cpu"
    batch_size: int = 128
    workers: int = 1
    rows: np.ndarray = field(init=False)
    texts: list[str] = field(init=False)
    pictures: np.ndarray = field(init=False)
    captions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        own = self.mixture.picture_ids
        first = {own[row]: row for row in reversed(range(len(own)))}  # questions share pictures: the first sample's
        self.keep([first[name] for name in sorted(first)])

    @property
    def names(self) -> list[str]:
        """Ids of the pictures."""
        return [self.mixture.picture_ids[row] for row in self.rows]

    def keep(self, rows: Sequence[int]) -> None:
        """Take these rows of the mixture, and their captions."""
        self.rows = np.asarray(rows, np.int64)
        places: dict[str, int] = {}
        pairs = dict.fromkeys(
            (at, places.setdefault(text, len(places)))
            for at, row in enumerate(self.rows) for text in self.mixture[int(row)].captions if text.strip()
        )  # fmt: skip
        self.texts = list(places)
        both = np.array(list(pairs), np.int64).reshape(-1, 2)
        self.pictures, self.captions = both[:, 0], both[:, 1]

    def embed(self, model: Any, label: str, rows: np.ndarray | None = None) -> np.ndarray:
        """A model's rows of the pictures, float32 [N, D]; NaN where a picture can't be read.

        Raises:
            UserError: none can be read, or the model gives NaN or infinity.
        """
        rows = self.rows if rows is None else rows
        batches = evaluation_batches(
            self.mixture, ImageView.from_preprocess(model.preprocess), self.batch_size, self.workers,
            plan=self.plan, rows=rows,
        )  # fmt: skip
        with LaterMeter(label) as moved:
            found = embed_batches(model, batches, total=len(rows), device=self.device, progress=moved)
        if not bool(found.features.isfinite().all()):
            raise UserError(f"{label}: gives NaN or infinity; name a model that hasn't diverged")
        place = {int(row): at for at, row in enumerate(rows)}
        result = np.full((len(rows), found.features.shape[1]), np.nan, np.float32)
        result[[place[int(row)] for row in found.positions]] = found.features.numpy()
        return result


@dataclass
class Teacher:
    """A teacher that is forecast: its name as given, and how it is had.

    origin: "live", or "store" and its folder. parameters: None where its weights aren't here.
    """

    name: str
    state: TeacherState
    stored: bool
    parameters: int | None

    @property
    def origin(self) -> str:
        return f"store {self.state.spec.store}" if self.stored else "live"


@dataclass(frozen=True)
class Told:
    """Rows of a teacher, float32, of length 1, as stores have them and objectives see them.

    image [N, E], NaN where a picture can't be read; text [T, E]. scale: of its logits.
    """

    image: np.ndarray
    text: np.ndarray | None
    scale: float


def open_teacher(given: str, index: int) -> Teacher:
    """Open a teacher: MODEL, MODEL=STORE (a folder, written first where there is none), or the folder of a store.

    Raises:
        UserError: no such model, one without weights, one that isn't a dual encoder, or not a store of embeddings.
    """
    name, store = given, None
    if (Path(given) / "store.json").is_file():
        store = Path(given)
        name = str(TeacherStore.open(store).meta["teacher"])
    elif "=" in given and not Path(given).exists():
        name, _, place = given.partition("=")
        store = Path(place)
    kind = next(each for each in KINDS.values() if each.recognises(name))
    if kind.name != KIND:
        raise UserError(f"--teacher {given}: a {kind.name} has no embeddings of pictures and captions; name a CLIP")
    spec = TeacherSpec(model=name, store=store)
    written = store is not None and (store / "store.json").is_file()
    try:
        model, missing = kind.open(spec), None
    except UserError as error:
        if not written:
            raise UserError(f"--teacher {given}: {error}") from error
        model, missing = None, error
    state = TeacherState(spec, index, "embedding", model, missing=missing)
    return Teacher(name, state, store is not None, None if model is None else parameter_counts(model)["total"])


def plan_of(teachers: Sequence[Teacher]) -> AugmentPlan:
    """The augmentation that the stores were written with; none where nothing is stored yet.

    Raises:
        UserError: two stores show different views, so that their teachers saw different pictures.
    """
    plans: dict[str, tuple[AugmentPlan, Path]] = {}
    for teacher in teachers:
        store = teacher.state.spec.store
        if store is not None and (store / "store.json").is_file():
            meta = TeacherStore.open(store).meta
            if meta.get("pairs") or meta["features"] != "embedding":
                raise UserError(f"--teacher {store}: holds no embeddings by picture; give a store of a CLIP's")
            plans.setdefault(meta["plan_fingerprint"], (AugmentPlan(**meta["plan"]), store))
    if len(plans) > 1:
        one, other = (place for _, place in list(plans.values())[:2])
        raise UserError(
            f"--teacher: {one} and {other} hold other views of the pictures; store both with one `data.augment`"
        )
    return next(iter(plans.values()))[0] if plans else AugmentPlan()


def open_stores(teachers: Sequence[Teacher], items: Items) -> None:
    """Open the stores that are there, checked against teacher, views and data; UserError as `TeacherState` has it."""
    for teacher in teachers:
        teacher.state.open_store(Data(items.mixture, items.mixture), items.plan)


def ask(teacher: Teacher, items: Items) -> Told:
    """What a teacher says of the items; its store is written first where one is named and isn't there."""
    state = teacher.state
    if state.to_cache:
        data = Data(items.mixture, items.mixture)
        with Meter(f"caching {teacher.name}", len(items.mixture)) as meter:
            state.store = state.write(
                data, items.plan, batch_size=items.batch_size, workers=items.workers, ranks=Ranks.current(),
                max_bad_share=MAX_BAD_SHARE, progress=meter.reach,
            )  # fmt: skip
    if state.store is not None:
        return _look_up(state.store, items)
    model: Any = state.model
    image = items.embed(model, teacher.name)
    text = None
    if items.texts:
        with LaterMeter(f"{teacher.name}, captions") as moved:
            text = embed_texts(model, items.texts, device=items.device, progress=moved).numpy()
    model.to("cpu")  # room for the next one
    return Told(unit_rows(image), None if text is None else unit_rows(text), float(model.logit_scale.item()))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths, in the same precision; rows of zeros or NaN stay."""
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(rows.dtype).tiny)
    return found


def _look_up(store: TeacherStore, items: Items) -> Told:
    rows = store.rows([items.mixture.ids[row] for row in items.rows])
    unread = set(store.rows(list(store.bad)).tolist())
    readable = np.array([row not in unread for row in rows.tolist()])
    image = np.full((len(rows), int(store.meta["embed_dim"])), np.nan, np.float32)
    image[readable] = store.image(rows[readable], np.zeros(int(readable.sum()), np.int64))
    if not items.texts:
        return Told(image, None, store.logit_scale)
    place = {text: at for at, text in enumerate(items.texts)}
    where = np.zeros((len(items.texts), 2), np.int64)
    for at, row in enumerate(items.rows):
        for number, text in enumerate(items.mixture[int(row)].captions):
            if text in place:
                where[place[text]] = rows[at], number
    return Told(image, store.text(where[:, 0], where[:, 1]), store.logit_scale)
