"""What a meta-teacher sees of a batch: stored regions of the pictures, and the captions' tokens from a frozen CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores.regions import RegionStore
from clipdistill.tasks.base import Batch, Features


class RegionInputs:
    """Regions from a store, captions encoded as they come.

    Args:
        base: a DualEncoder, frozen here; its text tower and tokenizer are used.
        store: the regions of the mixture's pictures, embedded by the same model.
        ids: ids of the mixture's samples, by position.
        max_regions: M, to which every batch is padded, so that batches can be joined.

    Raises:
        UserError: the store lacks samples.
    """

    def __init__(self, base: Any, store: RegionStore, ids: Sequence[str], max_regions: int) -> None:
        base.requires_grad_(False).eval()
        self._base, self.store, self.max_regions = base, store, max_regions
        self.name: str = base.name
        self.embed_dim = int(base.embed_dim)
        self.logit_scale = base.logit_scale.item()
        self._rows = torch.from_numpy(store.rows(ids))
        if bool((self._rows < 0).any()):
            first = ids[int((self._rows < 0).nonzero()[0])]
            raise UserError(f"{store.path}: has no regions of {first}; delete it and run `clipdistill cache` again")

    @torch.no_grad()
    def targets(self, batch: Batch) -> Features:
        """`regions` [B, M, D], `region_mask`, `region_scores`, `region_areas` [B, M], `tokens` [B, L, D], `token_mask`
        [B, L], `text` [B, D]; masks are True where something is."""
        self._base.eval()
        device = batch["sample"].device
        found = self.store.lookup(self._rows[batch["sample"].cpu()].numpy(), self.max_regions)
        regions = {
            "regions": found["features"],
            "region_mask": found["mask"],
            "region_scores": found["scores"],
            "region_areas": found["areas"],
        }
        text, tokens, mask = token_embeddings(self._base, batch["text/teacher0"])
        return {
            **{name: torch.as_tensor(value).to(device) for name, value in regions.items()},
            "tokens": tokens.float(),
            "token_mask": mask,
            "text": text.float(),
        }
