"""DCLIP's meta-teacher: two cross-attention layers between a picture's regions and its caption's tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipdistill.errors import UserError
from clipdistill.files import atomic_path, write_json
from clipdistill.models.clusters import assign_clusters, pool, pool_clusters
from clipdistill.models.cross_attention import CrossAttention
from clipdistill.models.region_weights import region_weights

Attention = Literal["bidirectional", "one_way", "average", "none"]
Variant = Literal["paper", "released"]
CONFIG, WEIGHTS = "meta_teacher.json", "meta_teacher.safetensors"
RELEASED = 2
"""Stands in the configuration of released variants. Those without it attended in turn to weighted regions, which the
released code doesn't: their weights would give other targets here."""


class MetaTeacher(nn.Module):
    """Makes an image target from region embeddings and the tokens of one caption (DCLIP, 2025, section 3.1).

    Args:
        width: D of the frozen CLIP; heads must divide it.
        attention: "bidirectional", text attends to regions, and regions attend to the text as it is then; "one_way",
            regions attend to the plain text alone; "average", each region is averaged with the caption's embedding (the
            ablation as the paper describes it); "none", regions alone: the caption only weighs them.
        clusters: semantic clusters of the regions whose pooled embeddings are averaged: 1 (ViT-B) or 3 (ViT-L).
        rotary: rotary position embeddings in the attention (ViT-L).
        pooling_temperature: of the attention pooling.
        variant: "paper", text and regions attend in turn, regions are weighed, the target is the attended regions'
            pooling; "released", the forward pass of the released code: both attend side by side to the embeddings as
            they are given, no region is weighed, and the target is half the regions' pooling and half the text's, which
            puts the caption itself into the image's target. There `attention`, `clusters` and `rotary` have no choice.
        itm: a two-class head that tells pairs from mismatches (appendix E).
    """

    KIND: ClassVar[str] = "meta_teacher"

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        attention: Attention = "bidirectional",
        clusters: int = 1,
        rotary: bool = False,
        pooling_temperature: float = 2.0,
        variant: Variant = "paper",
        itm: bool = False,
    ) -> None:
        super().__init__()
        if width % heads or (width // heads) % 2:
            raise UserError(f"`heads`: {heads} heads don't share a width of {width} in even parts; choose a divisor")
        if variant == "released" and (attention != "bidirectional" or clusters != 1 or rotary):
            raise UserError(
                "`variant`: the released code has attention: bidirectional, clusters: 1 and no rotary positions; leave "
                "these out, or take variant: paper"
            )
        self.config: dict[str, Any] = {
            "width": width, "heads": heads, "attention": attention, "clusters": clusters, "rotary": rotary,
            "pooling_temperature": pooling_temperature, "variant": variant, "itm": itm,
        }  # fmt: skip
        if variant == "released":
            self.config["released"] = RELEASED
        self.attention, self.clusters, self.variant = attention, clusters, variant
        self.temperature = pooling_temperature
        self.base: str | None = None  # fingerprint of the frozen CLIP it was trained on
        if attention in ("bidirectional", "one_way"):
            self.to_regions = CrossAttention(width, heads, rotary)
        if attention == "bidirectional":
            self.to_text = CrossAttention(width, heads, rotary)
        if attention in ("average", "none"):
            # Something must learn for a teacher to be trained at all: the LayerNorm that attention would end in.
            self.norm = nn.LayerNorm(width)
        if variant == "released":
            self.to_regions.start_as_torch()
            self.to_text.start_as_torch()
        if itm:
            self.itm_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))

    def forward(
        self,
        regions: Tensor,
        region_mask: Tensor,
        region_scores: Tensor,
        region_areas: Tensor,
        tokens: Tensor,
        token_mask: Tensor,
        text: Tensor,
    ) -> Tensor:
        """Return image targets [B, D], un-normalised.

        Args:
            regions [B, M, D] crop embeddings; region_mask bool [B, M], True = a region (at least one a sample);
            region_scores, region_areas [B, M] in [0, 1]; tokens [B, L, D], token_mask bool [B, L]; text [B, D].
        """
        if self.variant == "released":
            image = self.to_regions(regions, tokens, token_mask)
            said = self.to_text(tokens, regions, region_mask)
            return (self._pooled(image, region_mask) + self._pooled(said, token_mask)) / 2
        unit, words = normalize(regions, dim=-1), normalize(tokens, dim=-1)
        weight = region_weights(unit, region_mask, region_scores, region_areas, text)
        seen = unit * weight[..., None]
        # Text first attends to regions and then regions to that text, so that both layers shape the image's target.
        said = self.to_text(words, seen, region_mask) if self.attention == "bidirectional" else words
        if self.attention in ("bidirectional", "one_way"):
            image = self.to_regions(seen, said, token_mask)
        elif self.attention == "average":
            image = self.norm((seen + normalize(text, dim=-1)[:, None]) / 2)
        else:
            image = self.norm(seen)
        assigned = assign_clusters(unit, region_mask, self.clusters)
        return pool_clusters(
            image, region_mask, _mean(image, region_mask), self.temperature, self.clusters, assigned, weight
        )

    def _pooled(self, attended: Tensor, mask: Tensor) -> Tensor:
        return pool(attended, mask, _mean(attended, mask), self.temperature)

    def inputs(self, found: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What `forward` takes, in order, from features by name (`region_inputs`).

        The released code leaves the start and end tokens out, and a caption of nothing else keeps its end. Its
        embeddings have the lengths that CLIP gives them; regions come from a store of unit vectors, so tokens are made
        unit vectors too, lest one side drown the other.
        """
        given = region_inputs(found)
        if self.variant == "paper":
            return given
        *regions, tokens, mask, text = given
        return *regions, normalize(tokens, dim=-1), _inner(mask), text

    def matching(self, target: Tensor) -> Tensor:
        """Logits [B, 2] of "belongs together" (column 1) for targets [B, D], as `forward` gives them."""
        logits: Tensor = self.itm_head(normalize(target, dim=-1))
        return logits

    def fingerprint(self) -> str:
        """Hash of configuration and weights: what decides the targets of given inputs."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: str | Path) -> None:
        """Write the weights, then the configuration that makes the folder a teacher."""
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with atomic_path(folder / WEIGHTS) as temporary:
            temporary.write_bytes(save(state))
        write_json(folder / CONFIG, {**self.config, "base": self.base})

    @classmethod
    def load(cls, folder: str | Path) -> MetaTeacher:
        """Open what `save` wrote.

        Raises:
            UserError: the folder holds no meta-teacher, or a damaged one.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            base, released = config.pop("base", None), config.pop("released", 1)
            if config.get("variant") == "released" and released != RELEASED:
                raise UserError(
                    f"{folder}: is of an earlier `variant: released`, which wasn't the released code's; train it again"
                )
            teacher = cls(**config)
            teacher.base = base
            teacher.load_state_dict(load_file(folder / WEIGHTS))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{folder}: can't be read as a meta-teacher ({error}); train it again") from error
        return teacher.eval()


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)
    return (tokens * mask[..., None]).sum(dim=1) / count


def _inner(mask: Tensor) -> Tensor:
    """`mask` [B, L] without each row's first and last token; a row of two or fewer keeps its last."""
    place, count = mask.cumsum(dim=1), mask.sum(dim=1, keepdim=True)
    inner = mask & (place > 1) & (place < count)
    return torch.where(inner.any(dim=1, keepdim=True), inner, mask & (place == count))


def region_inputs(found: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The inputs of `MetaTeacher.forward`, in order, from features by name."""
    names = ("regions", "region_mask", "region_scores", "region_areas", "tokens", "token_mask", "text")
    return tuple(found[name].bool() if name.endswith("mask") else found[name] for name in names)


__all__ = ["Attention", "MetaTeacher", "Variant", "region_inputs"]
