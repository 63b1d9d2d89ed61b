"""How much of its caption a target gives away: the accuracy of guessing the caption from the target alone."""

from __future__ import annotations

from typing import Any

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


def target_leakage(data: Any, targets: Any, captions: int = 1000) -> dict[str, Any]:
    """How well the captions of the first samples can be told from the targets, and from the regions' mean alone.

    Args:
        data: a mixture with its `regions`. targets: a TeacherStore of pairs. captions: how many to look at.

    Returns:
        `captions` and `pictures` looked at, `chance`, and what the `target` and the `regions_alone` give away.
    """
    owner: list[int] = []
    which: list[int] = []
    for row in range(len(data)):
        count = len(data[row].captions)
        owner += [row] * count
        which += range(count)
        if len(owner) >= captions:
            break
    ids = [data.ids[row] for row in owner]
    rows = targets.rows(ids)
    image, text = torch.from_numpy(targets.pair_image(rows, which)), torch.from_numpy(targets.text(rows, which))
    own = data.regions.rows([data.picture_ids[row] for row in owner])
    found = data.regions.lookup(own, int(data.regions.meta["max_regions"]))
    plain = torch.from_numpy(found["features"].sum(axis=1) / found["mask"].sum(axis=1, keepdims=True))
    number = torch.tensor(owner)
    return {
        "captions": len(owner),
        "pictures": len(set(owner)),
        "chance": chance_of_own_caption(number),
        "target": caption_from_target(image, text, number),
        "regions_alone": caption_from_target(plain, text, number),
    }
