"""What an image tower knows after each of its blocks, as tokens: the same for every kind of tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from clipdistill.models.feature_maps import MapLevel, layer_maps, layer_names

Pooling = Literal["mean", "flat"]


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer's features of B pictures.

    Attributes:
        name: `block 3` of a transformer, `stage 3` of a CNN; 0 is nearest to the pixels.
        level: number and shape of its map.
        tokens: [B, T, C], the patches, or a CNN's cells, row by row; T is height * width.
        apart: [B, P, C], the tokens that belong to no place (class token first, then registers); None without any.
    """

    name: str
    level: MapLevel
    tokens: Tensor
    apart: Tensor | None

    def pooled(self, how: Pooling = "mean") -> Tensor:
        """A vector a picture, without `apart`: `mean` over the tokens, float32 [B, C], or all in a row, [B, T * C].

        The mean forgets where something is; `flat` compares place by place.
        """
        return self.tokens.float().mean(dim=1) if how == "mean" else self.tokens.float().flatten(1)


def image_layers(visual: Any, pixels: Tensor) -> list[ImageLayer]:
    """Run an image tower and keep what each layer gives, before any final norm.

    Layers are those of `feature_maps.map_levels`: each block of a transformer, and of a CNN the stem where it is one of
    them and each stage. Patch embeddings are no layer.

    Args:
        visual: open_clip's VisionTransformer, ModifiedResNet or TimmModel. pixels: normalised, [B, 3, H, W].

    Raises:
        AttributeError, NotImplementedError: a tower that can't give them; `map_levels` says so beforehand.
    """
    maps, apart = layer_maps(visual, pixels)
    levels = [MapLevel(number, *each.shape[1:]) for number, each in enumerate(maps)]
    return [
        ImageLayer(name, level, each.flatten(2).transpose(1, 2), None if apart is None else apart[level.number])
        for name, level, each in zip(layer_names(levels), levels, maps, strict=True)
    ]
