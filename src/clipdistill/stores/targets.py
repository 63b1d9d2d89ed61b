"""TeacherStore: a teacher's targets, looked up by sample, view and caption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.arrays import AGAIN
from clipdistill.stores.facts import require_same
from clipdistill.stores.store import Store


class TeacherStore(Store):
    """Targets of one teacher for N samples, K views each, and all their captions.

    Embeddings come back as unit vectors (they were normalised before they became half precision), tower features at
    their own length. `meta` is `facts.store_facts`: teacher, embed_dim, views, plan, fingerprints... Samples that are
    `bad` have rows, but no image targets.
    """

    WHAT, KIND = "teacher store", "targets"

    @property
    def logit_scale(self) -> float:
        """The teacher's scale of cosines, exponentiated; 1 for tower features."""
        return float(self.meta["logit_scale"])

    @property
    def logit_bias(self) -> float | None:
        """The teacher's bias of logits (SigLIP), or None."""
        bias = self.meta["logit_bias"]
        return None if bias is None else float(bias)

    @property
    def views(self) -> int:
        """K, the stored views of each picture."""
        return int(self.meta["views"])

    def image(self, rows: Any, views: Any) -> np.ndarray:
        """Return image targets, float32 [B, D].

        Args:
            rows, views: B integers each, row numbers of `rows()` and view numbers below K.

        Raises:
            UserError: a row that isn't there, a view that wasn't stored, a picture that couldn't be read.
        """
        rows, views = self.checked(rows), np.asarray(views, dtype=np.int64)
        if len(views) and (views.min() < 0 or views.max() >= self.views):
            wrong = views[(views < 0) | (views >= self.views)][0]
            raise UserError(f"{self.path}: view {wrong} asked of a store with {self.views}; use its augmentation plan")
        unread = np.isin(rows, self._unread)
        if unread.any():
            name = self.ids[int(rows[np.argmax(unread)])]
            raise UserError(
                f"{self.path}: no image target for {name}, which couldn't be read when the store was written "
                f"({self.bad[name]}); {AGAIN}"
            )
        return self._targets("image", rows, 0, views)

    def text(self, rows: Any, captions: Any) -> np.ndarray:
        """Return text targets, float32 [B, D].

        Args:
            rows, captions: B integers each, row numbers of `rows()` and which of the sample's captions.

        Raises:
            UserError: a row or a caption that isn't there.
        """
        return self._by_caption("text", rows, captions)

    def pair_image(self, rows: Any, captions: Any) -> np.ndarray:
        """Return the image targets that go with captions, float32 [B, D]; arguments and errors as in `text`."""
        return self._by_caption("image", rows, captions)

    def check(
        self,
        *,
        teacher_fingerprint: str | None = None,
        plan_fingerprint: str | None = None,
        ids: Iterable[str] | None = None,
        sources: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Compare the store with what a training is about to use; None isn't looked at.

        Args:
            ids: sample ids that must be there.
            sources: data source name -> fingerprint: captions and files must be what the teacher saw.
            fields: `Mixture.fields_fingerprint` of the samples' fields that the targets depend on.

        Raises:
            UserError: names all that differs.
        """
        wanted = {"teacher_fingerprint": teacher_fingerprint, "plan_fingerprint": plan_fingerprint, "fields": fields}
        require_same(self.path, self.meta, {key: value for key, value in wanted.items() if value is not None})
        for name, value in (sources or {}).items():
            if self.meta["sources"].get(name, value) != value:
                raise UserError(f"{self.path}: the data source '{name}' has changed since this store was made; {AGAIN}")
        if ids is not None:
            known = set(self.ids)
            missing = [name for name in ids if name not in known]
            if missing:
                raise UserError(
                    f"{self.path}: {len(missing)} samples aren't in this store (first: {missing[0]}); "
                    "choose another folder or delete this one"
                )

    def _by_caption(self, name: str, rows: Any, captions: Any) -> np.ndarray:
        rows, captions = self.checked(rows), np.asarray(captions, dtype=np.int64)
        there = self.slots(name, rows)
        wrong = (captions < 0) | (captions >= there)
        if wrong.any():
            at = int(np.argmax(wrong))
            sample = self.ids[int(rows[at])]
            raise UserError(
                f"{self.path}: caption {captions[at]} asked of {sample}, which has {there[at]} in this store"
            )
        return self._targets(name, rows, captions, 0)

    def _targets(self, name: str, rows: np.ndarray, slots: Any, views: Any) -> np.ndarray:
        result = self.take(name, rows, slots, views)
        if f"{name}_length" in self.meta["rows"]:
            result *= self.take(f"{name}_length", rows, slots, views)
        return result
