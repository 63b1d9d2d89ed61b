"""CLIP-ViL: a fusion model whose regions are the last grid of a CLIP's image tower, which is trained along."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.fusion.base import Sees
from clipdistill.models.fusion.config import Attention, FusionConfig, fusion_config
from clipdistill.models.fusion.creating import open_tokenizer
from clipdistill.models.fusion.grid import grid_boxes, grid_regions
from clipdistill.models.fusion.model import FusionModel


class ClipViL(FusionModel):
    """UNITER's transformer over words and the cells of CLIP's last grid, row by row.

    Source: CLIP-ViL (2021), section 4.2; a cell's place is told by its box, as UNITER tells a region's

    Batches hold pictures (`image/student`); `see` makes regions of them, with the tower's gradient. The tower stays in
    evaluation mode, so that batch norms keep their statistics; CLIP's text tower, and what of the image tower lies
    behind the grid, are never used nor trained.

    Args:
        config: shapes and heads. clip: whose image tower it is, at the size that it takes.

    Attributes:
        preprocess: the tower's, but for the whole picture, squeezed: an object at the side must be seen.
        grid: cells a side.

    Raises:
        UserError: the tower's features are no square grid, or have another width than `config.region_width`.
    """

    def __init__(
        self, config: FusionConfig, clip: DualEncoder, *, name: str = "clip-vil", tokenizer: Any = None,
        attention: Attention = "sdpa",
    ) -> None:  # fmt: skip
        super().__init__(config, name=name, tokenizer=tokenizer, attention=attention)
        self.clip = clip.requires_grad_(False).eval()
        self.preprocess = {**clip.preprocess, "resize_mode": "squash"}
        cells, width, self._reached = grid_facts(clip)
        self.grid = round(len(grid_boxes(cells, clip.name)) ** 0.5)
        if width != config.region_width:
            raise UserError(f"fusion model '{name}': takes features of {config.region_width}, and its CLIP has {width}")
        self.train_tower(True)

    @property
    def sees(self) -> Sees:
        """Pictures."""
        return "pixels"

    @property
    def own_clip(self) -> DualEncoder:
        """Its image tower's."""
        return self.clip

    def own_state(self) -> dict[str, Tensor]:
        """All but CLIP's weights."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("clip.")}

    def train_tower(self, trained: bool) -> None:
        """Train the image tower along, or freeze it."""
        for name, parameter in self.clip.named_parameters():
            parameter.requires_grad_(trained and name in self._reached)

    def train(self, mode: bool = True) -> ClipViL:
        """Set training mode; CLIP stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Of the layers, and of the tower's blocks where it can."""
        super().set_grad_checkpointing(enable)
        self.clip.set_grad_checkpointing(enable)

    def see(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with `regions` [B, grid * grid, C], `region_boxes` and `region_mask` of its pictures."""
        features, boxes, mask = grid_regions(self.clip, batch["image/student"])
        return {**batch, "regions": features, "region_boxes": boxes, "region_mask": mask}


def grid_facts(clip: DualEncoder) -> tuple[int, int, frozenset[str]]:
    """Cells of a CLIP's last grid, their width, and the names of the parameters that they depend on."""
    size = clip.preprocess["size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    named = dict(clip.named_parameters())
    asked = {name: parameter.requires_grad for name, parameter in named.items()}
    try:
        clip.requires_grad_(True)
        with torch.enable_grad():
            pixels = torch.zeros(1, 3, *sides, dtype=torch.uint8, device=next(iter(named.values())).device)
            _, cells = clip.image_tokens(pixels)
            found = torch.autograd.grad(cells.float().sum(), list(named.values()), allow_unused=True)
    finally:
        for name, parameter in named.items():
            parameter.requires_grad_(asked[name])
    reached = frozenset(name for name, gradient in zip(named, found, strict=True) if gradient is not None)
    return int(cells.shape[1]), int(cells.shape[2]), reached


def create_clip_vil(
    config: str | Mapping[str, Any], clip: DualEncoder, seed: int | None = None, *,
    tokenizer: bool | Path = True, **changes: Any,
) -> ClipViL:  # fmt: skip
    """Put a fusion model with new weights on a CLIP's image tower, in evaluation mode.

    Args:
        config: a name of `CLIP_VIL`, a .json file with the fields of FusionConfig, or the fields.
        seed, tokenizer, changes: see `create_fusion`.

    Raises:
        UserError: no such name or field, one of another architecture, or a tower without a square grid.
    """
    sizes = fusion_config(config, **{"region_width": grid_facts(clip)[1], **changes})
    if sizes.architecture != "clip_vil":
        raise UserError(f"fusion model '{config}': is of {sizes.architecture}, which stands on no CLIP; name it alone")
    name = f"{Path(config).stem if isinstance(config, str) else 'clip-vil'}:{clip.name}"
    words = open_tokenizer(sizes, tokenizer if isinstance(tokenizer, Path) else None) if tokenizer else None
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        return ClipViL(sizes, clip, name=name, tokenizer=words).eval()
