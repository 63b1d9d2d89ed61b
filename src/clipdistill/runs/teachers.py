"""A recipe's teachers before a training needs them: opened, and their stores checked against all they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.data.fields import encoder_fields
from clipdistill.errors import UserError
from clipdistill.evaluate import model_cost
from clipdistill.kinds import kind_of
from clipdistill.recipe import TeacherSpec
from clipdistill.runs.data import Data
from clipdistill.stores import TeacherStore, cache_teacher, store_size_bytes
from clipdistill.stores.encoder import Encoder
from clipdistill.tasks.teacher import DryTeacher, LiveTeacher, StoredTeacher


@dataclass
class TeacherState:
    """A teacher before it is needed.

    spec, index: where it stands in the recipe. features: what of it the task is given. model: live, when it can be had.
    store: when it is written. missing: why there is no live model.
    """

    spec: TeacherSpec
    index: int
    features: str
    model: Any | None
    store: TeacherStore | None = None
    missing: UserError | None = None

    @property
    def role(self) -> str:
        """Whose part of a batch it reads."""
        return f"teacher{self.index}"

    @property
    def to_cache(self) -> bool:
        """Whether the recipe wants a store that isn't there yet."""
        return self.spec.store is not None and self.store is None

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the samples' fields that its targets depend on: the store says them when the model isn't here."""
        if self.model is None:
            return () if self.store is None else tuple(self.store.meta["fields"])
        fields = encoder_fields(self.role, self.model)
        return tuple(sorted({name for each in fields.values() for name in each.READS}))

    def make(self, mixture: Mixture, device: Any) -> Any:
        """The teacher as a task takes it; its store must be written by now."""
        if self.store is not None:
            return StoredTeacher(self.store, mixture.ids)
        assert self.model is not None
        self.model.to(device)
        if not kind_of(self.model).storable:
            return self.model  # its word isn't a target but a gradient, so the task asks the model itself
        return LiveTeacher(self.model, self.role, self.features)

    def dry(self, student: Any, mixture: Mixture, device: Any) -> Any:
        """What stands for it in the forecast: itself, or noise of the right widths where a store is still to come.

        A teacher that the run makes for itself is as wide as the student that it is made for.
        """
        if self.spec.meta is not None:
            width = int(student.embed_dim)
            return DryTeacher(self.spec.label, {"image": width, "text": width}, student.logit_scale.item())
        if not self.to_cache:
            return self.make(mixture, device)
        image, text = self.widths(device)
        scale = 1.0 if self.features == "tower" else self.model.logit_scale.item()  # type: ignore[union-attr]
        return DryTeacher(self.spec.label, {"image": image, "text": text}, scale)

    def widths(self, device: Any) -> tuple[int, int]:
        """Widths of the image and text rows that its store will hold."""
        assert self.model is not None
        self.model.to(device)
        return Encoder(self.model, self.features, device).widths()

    def fingerprint(self) -> str | None:
        """Of the live model, for the features that the task is given."""
        return None if self.model is None else kind_of(self.model).fingerprint(self.model, self.features)

    def cost(self, data: Data, plan: AugmentPlan, device: Any) -> tuple[float, int]:
        """Seconds that its store will take to write, and bytes: one timed batch, times all pictures and views."""
        mixture, views = data.mixture, plan.count or 1
        a_picture = 1 / model_cost(self.model, device=device, batch_size=8, repeats=1)["images_per_second"]
        size = store_size_bytes(len(mixture), views, mixture.caption_count(), self.widths(device)[0])
        return a_picture * len(mixture) * views, size

    def write(
        self, data: Data, plan: AugmentPlan, *, batch_size: int, workers: int, ranks: Any, max_bad_share: float,
        progress: Callable[[int, int], None],
    ) -> Any:  # fmt: skip
        """Write its store, each rank its share, and open it."""
        assert self.model is not None
        cache_teacher(
            self.model.to(ranks.device), data.mixture, plan, str(self.spec.store),
            batch_size=batch_size, workers=workers, device=ranks.device, rank=ranks.rank, world_size=ranks.world_size,
            features=self.features, fields=self.reads, fingerprint=self.fingerprint(), max_bad_share=max_bad_share,
            progress=progress,
        )  # fmt: skip
        ranks.barrier()
        return TeacherStore.open(str(self.spec.store))

    def open_store(self, data: Data, plan: AugmentPlan) -> None:
        """Open its store, when it is written, and check it against teacher, augmentation, data and fields.

        Raises:
            UserError: it is another teacher's, or of other views or samples; an unfinished folder is left to `write`.
        """
        if not has_store(self.spec):
            return
        mixture = data.mixture
        self.store = TeacherStore.open(str(self.spec.store))
        if self.model is None and self.store.meta["teacher"] != self.spec.label:
            # Without the weights there is no fingerprint to compare; the name is what is left.
            made = self.store.meta["teacher"]
            raise UserError(
                f"`teachers.{self.index}`: {self.spec.store} was written by {made!r}, not {self.spec.label!r}, whose "
                "weights aren't here to compare; name the store's teacher, or give another store"
            )
        sources: Mapping[str, str] = {source.name: source.fingerprint() for source in mixture.sources}
        self.store.check(
            teacher_fingerprint=self.fingerprint(), plan_fingerprint=plan.fingerprint(), ids=mixture.ids,
            sources=sources, fields=mixture.fields_fingerprint(self.reads) if self.reads else None,
        )  # fmt: skip

    def describe(self) -> str:
        """Its name and where its targets come from."""
        meta = self.spec.meta
        if meta is not None:
            made = f"trained first for {meta.train.epochs} epochs"
            return f"{self.spec.label} of {meta.run}" if meta.run is not None else f"{self.spec.label}, {made}"
        if self.spec.store is None:
            return f"{self.spec.label}, live"
        return f"{self.spec.label}, store {self.spec.store}" + (" (to be written)" if self.to_cache else "")


def has_store(spec: TeacherSpec) -> bool:
    """Whether a teacher's store is complete."""
    return spec.store is not None and (Path(spec.store) / "store.json").is_file()
