"""Image-text retrieval: recall@k and mean average precision in both directions, in tiles, with pessimistic ties.

Definitions. For a query, let `s` be the similarity of one of its positives. That positive's rank is
`1 + (positives above it) + (negatives whose similarity is >= s)`: a negative that ties with a positive ranks before it,
so a model that gives everything the same embedding scores as badly as it should. Recall@k is the share of queries whose
first positive ranks within k; average precision is the mean over *all* positives of a query of `j / rank` of its j-th
positive; MAP is its mean over queries.

Exactness. Cosines are summed in float64 and rounded once to float32. What the order of summation can change (about
1e-16) is far below what the rounding keeps (about 3e-8), so equal embeddings get equal similarities wherever they
stand, and the ranks don't depend on the chunk or the kernel, save for a value within 1e-16 of a rounding boundary.

Memory. Similarities exist one `chunk x chunk` tile at a time; what is kept grows with N + M, never with N x M.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdistill.errors import UserError

RECALL_AT = (1, 5, 10)
Tile = Callable[[int, int, int, int], Tensor]


@dataclass(frozen=True)
class RetrievalRanks:
    """Where the right answers stand; all ranks count from 1.

    Attributes:
        text_to_image: int64 [M], the rank of each text's picture among the N pictures.
        image_to_text: int64 [N], the rank of each picture's first own text among the M texts; 0 for one without text.
        image_average_precision: float64 [N], over all texts of a picture; 0 for a picture without text.
    """

    text_to_image: Tensor
    image_to_text: Tensor
    image_average_precision: Tensor

    def metrics(self) -> dict[str, float]:
        """Return recall@1/5/10 and MAP for both directions, as fractions; pictures without text are no queries.

        `image_to_text/mrr` is the mean of 1 / rank of a picture's first own text, which DCLIP's tables call MAP. From
        text to image, with one picture a text, it is the MAP.
        """
        asked = self.image_to_text > 0
        text_ranks, image_ranks = self.text_to_image.double(), self.image_to_text[asked]
        result = {f"text_to_image/recall@{k}": float((text_ranks <= k).double().mean()) for k in RECALL_AT}
        result["text_to_image/map"] = float((1.0 / text_ranks).mean())
        result |= {f"image_to_text/recall@{k}": float((image_ranks <= k).double().mean()) for k in RECALL_AT}
        result["image_to_text/map"] = float(self.image_average_precision[asked].mean())
        result["image_to_text/mrr"] = float((1.0 / image_ranks.double()).mean())
        return result


def retrieval_metrics(image: Tensor, text: Tensor, image_of_text: Tensor, chunk: int = 2048) -> dict[str, float]:
    """Return recall and MAP of both directions from embeddings.

    Args:
        image: [N, D] embeddings, any float type, normalised or not (cosine is used).
        text: [M, D] embeddings, on the same device.
        image_of_text: int64 [M]; text m belongs to picture `image_of_text[m]`. A picture may have any number of texts.
        chunk: edge of a similarity tile.

    Raises:
        UserError: no texts, sizes that don't fit, an index outside [0, N), or an embedding with NaN or infinity.
    """
    return retrieval_ranks(image, text, image_of_text, chunk).metrics()


def fold_metrics(
    image: Tensor, text: Tensor, image_of_text: Tensor, folds: int, chunk: int = 2048
) -> list[dict[str, float]]:
    """Return `retrieval_metrics` of each of `folds` consecutive parts of the pictures, a part's texts with it.

    "COCO 1K" is the mean over 5 such parts of the 5,000 test pictures, in the order of the split's file (VSE++, 2018).
    Parts differ by one picture at most where the number doesn't divide; arguments and errors as `retrieval_metrics`.

    Raises:
        UserError: fewer than 2 folds, more than there are pictures, or a part without texts.
    """
    if not 2 <= folds <= len(image):
        raise UserError(
            f"retrieval: `folds` is {folds}, with {len(image)} pictures; give 2 or more, and fewer than these"
        )
    found = []
    for part in torch.arange(len(image)).tensor_split(folds):
        first, last = int(part[0]), int(part[-1])
        own = ((image_of_text >= first) & (image_of_text <= last)).nonzero().squeeze(1)
        if len(own) == 0:
            raise UserError(
                f"retrieval: pictures {first} to {last}, one of {folds} folds, have no captions; lower `folds`"
            )
        found.append(retrieval_metrics(image[first : last + 1], text[own], image_of_text[own] - first, chunk))
    return found


def retrieval_ranks(image: Tensor, text: Tensor, image_of_text: Tensor, chunk: int = 2048) -> RetrievalRanks:
    """Return the rank of every positive from embeddings; arguments and errors as `retrieval_metrics`."""
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise UserError(f"retrieval: image {list(image.shape)} and text {list(text.shape)} embeddings don't fit")
    image_unit, text_unit = unit(image, "image"), unit(text, "text")
    owner = image_of_text.to(image_unit.device)
    _check_owner(owner, len(image_unit), len(text_unit))

    def tile(top: int, bottom: int, left: int, right: int) -> Tensor:
        return (image_unit[top:bottom] @ text_unit[left:right].T).float()

    pieces = [
        (image_unit[owner[at : at + chunk]] * text_unit[at : at + chunk]).sum(dim=1).float()
        for at in range(0, len(text_unit), chunk)
    ]
    return ranks_from_tiles(tile, torch.cat(pieces), owner, len(image_unit), chunk)


def ranks_from_similarity(similarity: Tensor, image_of_text: Tensor, chunk: int = 2048) -> RetrievalRanks:
    """Return the ranks for a given similarity matrix [N images, M texts] (larger is nearer), in its own precision."""
    images, texts = similarity.shape
    owner = image_of_text.to(similarity.device)
    _check_owner(owner, images, texts)
    if bool(torch.isnan(similarity).any()):
        raise UserError("retrieval: the similarities hold NaN; the model has diverged, take an earlier checkpoint")
    positive = similarity[owner, torch.arange(texts, device=similarity.device)]
    return ranks_from_tiles(lambda a, b, c, d: similarity[a:b, c:d].clone(), positive, owner, images, chunk)


def ranks_from_tiles(tile: Tile, positive: Tensor, owner: Tensor, images: int, chunk: int) -> RetrievalRanks:
    """Count, tile by tile, the negatives that stand before each positive, and turn the counts into ranks.

    Args:
        tile: `tile(top, bottom, left, right)` gives a fresh tensor of similarities of those pictures and texts.
        positive: [M], the similarity of each text and its own picture, in the tiles' precision.
        owner: int64 [M], the picture of each text.
        images: N, the number of pictures.
        chunk: edge of a tile.
    """
    if chunk < 1:
        raise UserError(f"retrieval: chunk must be at least 1, got {chunk}")
    texts, device = len(owner), positive.device
    # slots[n, j]: the j-th best similarity between picture n and its own texts; +inf where it has no more than j.
    order = torch.argsort(positive, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    counts = torch.bincount(owner, minlength=images)
    starts = counts.cumsum(0) - counts
    column = torch.arange(texts, device=device) - starts[owner[order]]
    width = int(counts.max())
    slots = torch.full((images, width), float("inf"), dtype=positive.dtype, device=device)
    slots[owner[order], column] = positive[order]

    before_text = torch.zeros(texts, dtype=torch.int64, device=device)
    before_slot = torch.zeros(images, width, dtype=torch.int64, device=device)
    for top in range(0, images, chunk):
        bottom = min(top + chunk, images)
        for left in range(0, texts, chunk):
            right = min(left + chunk, texts)
            scores = tile(top, bottom, left, right)
            here = ((owner[left:right] >= top) & (owner[left:right] < bottom)).nonzero().squeeze(1)
            scores[owner[left:right][here] - top, here] = -float("inf")  # positives are no negatives of each other
            before_text[left:right] += (scores >= positive[left:right]).sum(dim=0)
            for j in range(int(counts[top:bottom].max())):
                before_slot[top:bottom, j] += (scores >= slots[top:bottom, j : j + 1]).sum(dim=1)

    real = torch.arange(width, device=device) < counts[:, None]
    place = torch.arange(1, width + 1, device=device)
    precision = place / (place + before_slot).double() * real
    return RetrievalRanks(
        text_to_image=(before_text + 1).cpu(),
        image_to_text=torch.where(counts > 0, before_slot[:, 0] + 1, torch.zeros_like(counts)).cpu(),
        image_average_precision=(precision.sum(dim=1) / counts.clamp(min=1)).cpu(),
    )


def unit(embeddings: Tensor, what: str) -> Tensor:
    """Return [N, D] float64 rows of length 1; a zero row stays zero. Raises UserError on NaN or infinity."""
    finite = torch.isfinite(embeddings).all(dim=1)
    if not bool(finite.all()):
        wrong = (~finite).nonzero().squeeze(1)
        raise UserError(
            f"{len(wrong)} of {len(finite)} {what} embeddings hold NaN or infinity (first: row {int(wrong[0])}); "
            "the model has diverged, take an earlier checkpoint"
        )
    return torch.nn.functional.normalize(embeddings.double(), dim=1, eps=1e-300)


def _check_owner(owner: Tensor, images: int, texts: int) -> None:
    if texts == 0 or images == 0:
        raise UserError("retrieval: the data set holds no picture with a caption; name a source that has captions")
    if owner.shape != (texts,) or owner.dtype != torch.int64:
        raise UserError(f"retrieval: image_of_text must be int64 [{texts}], got {owner.dtype} {list(owner.shape)}")
    if int(owner.min()) < 0 or int(owner.max()) >= images:
        raise UserError(f"retrieval: image_of_text must lie in [0, {images}), it spans {owner.min()}..{owner.max()}")
