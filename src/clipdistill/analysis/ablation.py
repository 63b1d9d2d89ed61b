"""What a model's answers lose without a modality: cross-modal ablation, which measures influence and not attention.

Source: the idea of Frank et al. (2021), "Vision-and-language or vision-for-language?", on the tasks' own measures.

- `no_picture`: no region is shown, not even the whole image. A model that always saw some was never trained for that.
- `other_picture`: the regions (or pixels) of the next question's other picture. Each side is as in training; only that
  they belong together is lost.
- `no_question`: the words of the question (SNLI-VE: of the hypothesis) are [MASK] and point to nothing; answers stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdistill.analysis.importance import WORD, token_kinds
from clipdistill.analysis.reading import special_ids
from clipdistill.data.sample import Regions, Sample
from clipdistill.errors import UserError
from clipdistill.evaluate.suites import SUITES
from clipdistill.evaluate.suites.base import Job
from clipdistill.models.fusion import FusionInputs

MEASURES = {"vcr": "q2a", "snli_ve": "accuracy", "vqa": "accuracy"}
CASES = {
    "as_it_is": "as it is",
    "no_picture": "without the picture",
    "other_picture": "another question's picture",
    "no_question": "the question's words masked",
}


def ablate(job: Job, suite: str, source: Any, store: Any) -> dict[str, float]:
    """The suite's first measure of a fusion model, as a fraction, for each of `CASES`.

    Args:
        job: with the model. source: of questions whose pictures can be read. store: of their regions; None = the model
            sees pixels.

    Raises:
        UserError: all questions are about one picture, or the vocabulary has no mask.
    """
    mask = getattr(job.model.tokenizer, "mask_token_id", None)
    if mask is None:
        raise UserError(f"--ablate: '{job.model.name}' has no mask among its tokens; leave --ablate out")
    marks = special_ids(job.model.tokenizer)
    job = dataclasses.replace(job, regions=None if store is None else lambda _mixture, _path: store)
    changes: dict[str, Callable[[FusionInputs], FusionInputs] | None] = {
        "as_it_is": None, "no_picture": without_picture, "other_picture": None,
        "no_question": lambda inputs: with_masked_question(inputs, marks, int(mask)),
    }  # fmt: skip
    found: dict[str, float] = {}
    for case, change in changes.items():
        asked = OtherPictures(source) if case == "other_picture" else source
        with changed_inputs(job.model, change):
            result = SUITES[suite].measure(job, "data", {"data": asked}, SUITES[suite].Options())  # type: ignore[attr-defined]
        found[case] = float(result.metrics[MEASURES[suite]])
    return found


@contextmanager
def changed_inputs(model: Any, change: Callable[[FusionInputs], FusionInputs] | None) -> Iterator[None]:
    """Whatever goes into the model is changed first; its heads read what it makes of that."""
    if change is None:
        yield
        return
    hook = model.register_forward_pre_hook(lambda _model, given: (change(given[0]), *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def without_picture(inputs: FusionInputs) -> FusionInputs:
    """No region is there, and no word points to one."""
    return dataclasses.replace(inputs, region_mask=torch.zeros_like(inputs.region_mask), tags=_pointless(inputs.tags))


def with_masked_question(inputs: FusionInputs, special: set[int], mask: int) -> FusionInputs:
    """Words of token type 0 become [MASK]: the question (hypothesis); in VL-BERT's reasons the answer too."""
    kinds = token_kinds(inputs, inputs.ids.shape[1] + inputs.boxes.shape[1], special)[:, : inputs.ids.shape[1]]
    hidden = (kinds == WORD) & (inputs.types == 0)
    tags = inputs.tags
    return dataclasses.replace(
        inputs,
        ids=torch.where(hidden, mask, inputs.ids),
        tags=None if tags is None else torch.where(hidden, -1, tags),
    )


def _pointless(tags: Tensor | None) -> Tensor | None:
    return None if tags is None else torch.full_like(tags, -1)


class OtherPictures:
    """Questions of a source, each with another one's picture: that of the next question that shows another.

    A word that points to an object points to the other picture's object of the same number, or to none.

    Raises:
        UserError: all questions show one picture.
    """

    def __init__(self, source: Any) -> None:
        self.source, self.name, self.ids = source, source.name, list(source.ids)
        self.classes, self.skipped = source.classes, list(source.skipped)
        own = getattr(source, "pictures", None)
        keys = [f"{self.name}/{one}" for one in self.ids] if own is None else list(own)
        self.partners = next_other(keys)
        self.pictures = [keys[partner] for partner in self.partners]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Sample:
        sample, other = self.source[row], self.source[self.partners[row]]
        regions = _as_many(other.regions, 0 if sample.regions is None else len(sample.regions.boxes))
        found: Sample = dataclasses.replace(sample, image=other.image, regions=regions)
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)  # such as the vocabulary of answers

    def fingerprint(self) -> str:
        """Another than the source's."""
        return f"other pictures of {self.source.fingerprint()}"


def next_other(keys: list[str]) -> list[int]:
    """For each place the next one, round the end, with another key; UserError when all keys are one."""
    count = len(keys)
    found = [0] * count
    last = next((place for place in range(count) if keys[place] != keys[-1]), None)
    if last is None:
        raise UserError("--ablate: all questions show one picture, so there is no other to show; raise --count")
    for place in reversed(range(count)):
        if place < count - 1 and keys[place + 1] != keys[place]:
            last = place + 1
        elif place < count - 1:
            last = found[place + 1]
        found[place] = last
    return found


def _as_many(regions: Regions | None, count: int) -> Regions | None:
    """At least `count` objects: empty boxes, which nothing overlaps, behind those that there are."""
    lacking = 0 if regions is None else count - len(regions.boxes)
    if regions is None or lacking <= 0:
        return regions
    return Regions(
        np.concatenate([regions.boxes, np.zeros((lacking, 4), np.float32)]),
        np.concatenate([regions.scores, np.zeros(lacking, np.float32)]),
        (*regions.labels, *[""] * lacking),
    )
