"""How much of its caption a target gives away: the accuracy of guessing the caption from the target alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def caption_from_target(targets: Tensor, texts: Tensor, owner: Tensor) -> dict[str, float]:
    """Guess from each target the caption that it was made with, by the nearest text embedding.

    A target made from the picture alone can't tell the captions of one picture apart better than by chance; one that
    holds caption information can.

    Args:
        targets: [N, D], row i made with caption i. texts: [N, D], the captions' embeddings.
        owner: int64 [N], which picture each caption belongs to.

    Returns:
        `all`: share guessed right among all N captions; `same_picture`: among the captions of the same picture;
        ties fail.
    """
    cosine = normalize(targets.float(), dim=1) @ normalize(texts.float(), dim=1).T
    own = cosine.diagonal()[:, None]
    better = (cosine >= own).fill_diagonal_(False)
    rivals = owner[:, None] == owner[None]
    return {
        "all": float((~better.any(dim=1)).float().mean()),
        "same_picture": float((~(better & rivals).any(dim=1)).float().mean()),
    }


def chance_of_own_caption(owner: Tensor) -> float:
    """Mean over captions of one in the number of captions that its picture has."""
    count = torch.bincount(owner)[owner].float()
    return float((1 / count).mean())
