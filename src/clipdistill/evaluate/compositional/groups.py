"""Groups of pictures and captions that a matcher scores against each other, and the matcher of a DualEncoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from clipdistill.data.decode import BadImage
from clipdistill.data.sample import ImageRef
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import Encoder, embed_batches, embed_texts
from clipdistill.evaluate.results import Progress


class Opens(Protocol):
    """What a picture is to a matcher: `open` decodes it, and equal ones are encoded once.

    A benchmark's `Picture`, or an ImageRef.
    """

    def open(self) -> Image.Image: ...
    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Picture:
    """A picture file, or the box (left, top, right, bottom, in pixels) cut out of it.

    `where` says which file, row and field named it; two pictures are equal whoever named them.
    """

    path: str
    box: tuple[int, int, int, int] | None = None
    where: str = field(default="", compare=False)

    def open(self) -> Image.Image:
        """Return the RGB picture; what a box has beyond the edge is black. Raises UserError when it can't be read."""
        try:
            image = ImageRef.from_path(self.path).open()
        except BadImage as error:
            named = f"{self.where}: " if self.where else ""
            raise UserError(f"compositional: {named}{error}; get the benchmark's pictures again") from None
        return image if self.box is None else image.crop(self.box)


@dataclass(frozen=True)
class Group:
    """Pictures and captions that are scored against each other; caption 0 is true of picture 0."""

    images: tuple[Opens, ...]
    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    id: str = ""


Measure = Callable[[Sequence[Group], Sequence[Tensor]], tuple[dict[str, float], dict[str, Any]]]


@dataclass(frozen=True)
class Part:
    """A benchmark, or one of its parts, as read and before anything was scored.

    Attributes:
        evaluator, data: what the Result calls them. how: how to get the pictures and files again.
        measure: groups and their scores -> metrics and artifacts.
    """

    evaluator: str
    data: str
    groups: list[Group]
    how: str
    measure: Measure


class Matcher(Protocol):
    """Scores pictures against captions: for each group float [n_images, n_captions], higher is better.

    `name` is what reports call the model.
    """

    name: str

    def scores(self, groups: Sequence[Group], progress: Progress | None = None) -> list[Tensor]: ...


class DualEncoderMatcher:
    """Cosine of a DualEncoder's embeddings; each distinct picture and caption is encoded once."""

    def __init__(self, model: Encoder, *, device: str | torch.device = "cpu", batch_size: int = 64) -> None:
        self.model, self.device, self.batch_size = model, device, batch_size
        self.name: str = model.name

    def scores(self, groups: Sequence[Group], progress: Progress | None = None) -> list[Tensor]:
        """Return float64 [n_images, n_captions] for each group; equal captions tie bit for bit."""
        slots: dict[Opens, int] = {}
        for group in groups:
            for image in group.images:
                slots.setdefault(image, len(slots))
        features = embed_batches(
            self.model, self._batches(list(slots)), total=len(slots), device=self.device, progress=progress
        ).features
        texts = embed_texts(
            self.model, [text for group in groups for text in group.captions], device=self.device, progress=progress
        )
        features, texts = (torch.nn.functional.normalize(each.double(), dim=1) for each in (features, texts))
        found, at = [], 0
        for group in groups:
            rows = features[[slots[image] for image in group.images]]
            text = texts[at : at + len(group.captions)]
            at += len(group.captions)
            # Not a matrix product, whose blocks may round equal captions differently and so break a tie.
            found.append((rows[:, None] * text[None]).sum(-1))
        return found

    def _batches(self, images: list[Opens]) -> Iterator[dict[str, Any]]:
        from clipdistill.data.transforms import ImageView, apply

        view = ImageView.from_preprocess(self.model.preprocess)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            pixels = [apply(image.open(), None, view) for image in part]
            yield {"sample": list(range(start, start + len(part))), "image/model": torch.stack(pixels)}


class NotFinite(UserError):
    """A model gave NaN or infinity, which no comparison takes for right: it would be scored as if it had chosen."""


def require_finite(scores: Tensor, group: Group) -> None:
    """Raise NotFinite for scores of a group that hold NaN or infinity."""
    if not bool(torch.isfinite(scores).all()):
        raise NotFinite(
            f"item '{group.id}' is scored NaN or infinity; the model has diverged, take an earlier checkpoint"
        )


def wins(scores: Tensor) -> bool:
    """True when caption 0 scores strictly above every other caption of picture 0; a tie fails."""
    return bool((scores[0, :1] > scores[0, 1:]).all())
