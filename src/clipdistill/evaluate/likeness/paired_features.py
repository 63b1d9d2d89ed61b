"""Two dual encoders over the same pictures, each through its own preprocessing: their layers' features, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from clipdistill.data import ImageView, evaluation_batches
from clipdistill.data.fields import Picture
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import inference
from clipdistill.evaluate.results import Progress
from clipdistill.models.feature_maps import MapLevel
from clipdistill.models.image_layers import Pooling

ENCODED = 64
"""Pictures that a model sees at once; what CKA sees at once is another number."""


@dataclass
class Seen:
    """What was read: embeddings [n, D] of each model and captions, a row a picture; and pictures that can't be read."""

    embeddings: tuple[list[Tensor], list[Tensor]] = field(default_factory=lambda: ([], []))
    captions: list[tuple[str, ...]] = field(default_factory=list)
    bad: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """Two models over one source.

    pooling: of a layer's tokens, see `ImageLayer.pooled`; None = embeddings alone. workers: processes that decode.
    """

    models: tuple[Any, Any]
    source: Any
    device: torch.device
    pooling: Pooling | None = "mean"
    workers: int = 0

    def levels(self, side: int) -> list[MapLevel]:
        """The layers of one model's image tower that are compared.

        Raises:
            UserError: the tower gives none.
        """
        if self.pooling is None:
            return []
        model = self.models[side]
        try:
            return list(model.map_levels())
        except UserError as error:
            raise UserError(
                f"model '{model.name}': its image tower doesn't give what its layers hold; compare the embeddings alone"
                " (--pool none)"
            ) from error

    def batches(
        self, rows: Sequence[int], size: int, seen: Seen, progress: Progress | None = None
    ) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Features of pictures, `size` at a time, and at the end what is left with the last ones: fewer than 2 * size.

        Args:
            rows: of the source, in this order. seen: is filled on the way.

        Yields:
            For each model its layers, [n, C] each, and its embeddings [n, D] at the end, float32 on its device; row i
            is the same picture everywhere. Pictures that can't be read are left out for both.

        Raises:
            UserError: a model gives numbers that aren't finite.
        """
        waiting: list[list[list[Tensor]]] = []
        count = 0
        for read in self._encoded(rows, seen, progress):
            waiting.append(read)
            count += len(read[0][-1])
            while count >= 2 * size:
                joined = _joined(waiting)
                yield _cut(joined, slice(None, size))
                waiting, count = [list(_cut(joined, slice(size, None)))], count - size
        if count:
            yield _cut(_joined(waiting), slice(None))

    def _encoded(self, rows: Sequence[int], seen: Seen, progress: Progress | None) -> Iterator[list[list[Tensor]]]:
        views = [ImageView.from_preprocess(model.preprocess) for model in self.models]
        batches = evaluation_batches(
            self.source, views[0], ENCODED, self.workers, rows=rows, fields={"image/other": Picture(views[1])}
        )
        done = 0
        # In full precision: what bf16 rounds differs between models, and would pass for a difference of theirs.
        with inference(self.models[0], self.device), inference(self.models[1], self.device):
            for batch in batches:
                seen.bad.extend({"id": str(item["id"]), "reason": str(item["reason"])} for item in batch["bad"])
                done += len(batch["captions"]) + len(batch["bad"])
                if batch["captions"]:
                    with torch.autocast(self.device.type, enabled=False):
                        found = [
                            self._features(model, batch[name].to(self.device))
                            for model, name in zip(self.models, ("image/model", "image/other"), strict=True)
                        ]
                    for kept, features in zip(seen.embeddings, found, strict=True):
                        kept.append(features[-1].cpu())
                    seen.captions.extend(batch["captions"])
                    yield found
                if progress:
                    progress("pictures", done, len(rows))

    def _features(self, model: Any, pixels: Tensor) -> list[Tensor]:
        layers = [] if self.pooling is None else model.image_layers(pixels)
        found = [layer.pooled(self.pooling) for layer in layers]
        found.append(model.encode_image(pixels).float())
        for number, each in enumerate(found):
            if not each.isfinite().all():
                place = layers[number].name if number < len(layers) else "its image embedding"
                raise UserError(f"model '{model.name}': {place} isn't finite; is its checkpoint whole?")
        return found


def _joined(parts: list[list[list[Tensor]]]) -> tuple[list[Tensor], list[Tensor]]:
    one, two = ([torch.cat(pieces) for pieces in zip(*(part[side] for part in parts), strict=True)] for side in (0, 1))
    return one, two


def _cut(features: tuple[list[Tensor], list[Tensor]], rows: slice) -> tuple[list[Tensor], list[Tensor]]:
    one, two = ([each[rows] for each in side] for side in features)
    return one, two
