from __future__ import annotations

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.retrieval import (
    fold_metrics,
    ranks_from_similarity,
    ranks_from_tiles,
    retrieval_metrics,
    retrieval_ranks,
)


def brute_ranks(scores, owner):
    """Sort with every negative before every positive of the same score, then read the ranks off."""

    def rank(score, positive):
        order = sorted(range(len(score)), key=lambda i: (-score[i], positive[i]))
        return 1 + next(place for place, i in enumerate(order) if positive[i])

    images, texts = scores.shape
    values = scores.tolist()
    to_image = [rank([row[m] for row in values], [n == owner[m] for n in range(images)]) for m in range(texts)]
    to_text = [
        rank(values[n], [owner[m] == n for m in range(texts)]) if n in owner.tolist() else 0 for n in range(images)
    ]
    return to_image, to_text


def test_identical_embeddings_rank_last():
    ones = torch.ones(7, 5)
    metrics = retrieval_metrics(ones, ones, torch.arange(7))
    assert metrics["text_to_image/recall@1"] == 0
    assert metrics["image_to_text/recall@5"] == 0
    assert metrics["text_to_image/recall@10"] == 1  # there are only 7 to choose from
    assert metrics["image_to_text/map"] == pytest.approx(1 / 7)


def test_a_duplicate_picture_ties_whatever_its_place_in_a_tile():
    """Float32 products of equal rows may differ by where they stand in a matrix; the tie must be seen all the same."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(300, 512, generator=generator)
    image[299] = image[0]
    text = image + 0.1 * torch.randn(300, 512, generator=generator)
    for chunk in (7, 64, 299, 1000):
        ranks = retrieval_ranks(image, text, torch.arange(300), chunk).text_to_image
        assert ranks[0] == 2 and ranks[299] == 2
        assert (ranks[1:299] == 1).all()


@pytest.mark.parametrize("chunk", [1, 4, 13, 4096])
def test_ranks_with_ties_equal_a_sort_and_do_not_depend_on_the_chunk(chunk):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 4, (13, 31), generator=generator).double()  # four values only: ties everywhere
    owner = torch.randint(0, 12, (31,), generator=generator)  # picture 12 has no text
    ranks = ranks_from_similarity(scores, owner, chunk)
    to_image, to_text = brute_ranks(scores, owner)
    assert ranks.text_to_image.tolist() == to_image
    assert ranks.image_to_text.tolist() == to_text
    assert ranks.image_to_text[12] == 0


def test_several_captions_a_picture_do_not_count_as_each_others_negatives():
    image = torch.eye(3)
    text = torch.tensor([[1.0, 0.1, 0], [1, 0.2, 0], [1, 0.3, 0], [0.3, 1, 0], [0, 0, 1]])
    metrics = retrieval_metrics(image, text, torch.tensor([0, 0, 0, 1, 2]))
    assert all(value == 1 for value in metrics.values())


def test_map_counts_all_texts_of_a_picture_not_only_the_first():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.0, 0.0, 1.0]])
    ranks = ranks_from_similarity(scores, torch.tensor([0, 0, 1]))
    assert ranks.image_to_text.tolist() == [1, 1]
    assert ranks.image_average_precision.tolist() == pytest.approx([(1 / 1 + 2 / 3) / 2, 1.0])


def test_mrr_is_of_the_best_caption_and_map_of_all():
    # Picture 0: captions at ranks 2 and 4. Picture 1: at 1 and 3. Picture 2: at 3 and 4. Picture 3 has none.
    scores = torch.tensor([
        [0.8, 0.1, 0.9, 0.5, 0.0, -0.1], [0.4, 0.0, 0.9, 0.2, 0.3, 0.1], [0.9, 0.8, 0.0, -0.1, 0.3, 0.2],
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    ])  # fmt: skip
    for chunk in (1, 2, 100):
        metrics = ranks_from_similarity(scores, torch.tensor([0, 0, 1, 1, 2, 2]), chunk).metrics()
        assert metrics["image_to_text/mrr"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
        by_image = ((1 / 2 + 2 / 4) / 2, (1 + 2 / 4) / 2, (1 / 3 + 2 / 4) / 2)
        assert metrics["image_to_text/map"] == pytest.approx(sum(by_image) / 3)


def test_order_of_captions_in_the_file_does_not_matter():
    generator = torch.Generator().manual_seed(5)
    image, text = torch.randn(6, 4, generator=generator), torch.randn(20, 4, generator=generator)
    owner = torch.randint(0, 6, (20,), generator=generator)
    shuffled = torch.randperm(20, generator=generator)
    assert retrieval_metrics(image, text, owner) == pytest.approx(
        retrieval_metrics(image, text[shuffled], owner[shuffled]), abs=1e-12
    )


def test_no_tile_is_larger_than_the_chunk():
    scores = torch.randn(50, 70, dtype=torch.float64)
    owner = torch.arange(70) % 50
    sizes = []

    def tile(a, b, c, d):
        sizes.append((b - a, d - c))
        return scores[a:b, c:d].clone()

    ranks_from_tiles(tile, scores[owner, torch.arange(70)], owner, 50, 16)
    assert max(max(size) for size in sizes) == 16
    assert sum(rows * columns for rows, columns in sizes) == 50 * 70  # every pair is looked at once


@pytest.mark.parametrize("side", ["image", "text"])
def test_nan_embeddings_are_an_error_that_names_the_row(side):
    image, text = torch.randn(4, 3), torch.randn(4, 3)
    (image if side == "image" else text)[2, 1] = float("nan")
    with pytest.raises(UserError, match=f"1 of 4 {side} embeddings.*row 2"):
        retrieval_metrics(image, text, torch.arange(4))


@pytest.mark.parametrize(("owner", "texts"), [([0, 1, 2, 4], 4), ([0, 1, 2], 4), ([-1, 0, 1, 2], 4), ([], 0)])
def test_wrong_owners_are_errors(owner, texts):
    with pytest.raises(UserError, match="retrieval: "):
        retrieval_metrics(torch.randn(4, 3), torch.randn(texts, 3), torch.tensor(owner, dtype=torch.int64))


def test_half_precision_embeddings_are_read_without_losing_more():
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(40, 32, generator=generator).half()
    owner = torch.arange(40)
    noisy = (image + 0.5 * torch.randn(40, 32, generator=generator)).half()
    assert retrieval_metrics(image, noisy, owner) == retrieval_metrics(image.double(), noisy.double(), owner)


@pytest.mark.parametrize(("images", "sizes"), [(20, [4] * 5), (22, [5, 5, 4, 4, 4])])
def test_folds_equal_a_brute_force_over_each_part_alone(images, sizes):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(images, 6, generator=generator, dtype=torch.float64)
    owner = torch.randint(0, images, (3 * images,), generator=generator)  # in no order
    owner[:images] = torch.arange(images)
    text = image[owner] + 1.5 * torch.randn(len(owner), 6, generator=generator, dtype=torch.float64)
    found = fold_metrics(image, text, owner, 5, chunk=3)
    first = 0
    for size, part in zip(sizes, found, strict=True):
        texts = [m for m in range(len(owner)) if first <= owner[m] < first + size]
        scores = torch.tensor(
            [
                [float(torch.cosine_similarity(image[n], text[m], dim=0)) for m in texts]
                for n in range(first, first + size)
            ]
        )
        to_image, to_text = brute_ranks(scores, owner[texts] - first)
        for k in (1, 5, 10):
            assert part[f"text_to_image/recall@{k}"] == pytest.approx(sum(r <= k for r in to_image) / len(to_image))
            assert part[f"image_to_text/recall@{k}"] == pytest.approx(sum(r <= k for r in to_text) / len(to_text))
        assert part["text_to_image/map"] == pytest.approx(sum(1 / r for r in to_image) / len(to_image))
        first += size
    assert found[0] != retrieval_metrics(image, text, owner)


def test_folds_that_cannot_be_made_are_refused():
    eye = torch.eye(4)
    for folds in (1, 5):
        with pytest.raises(UserError, match=f"`folds` is {folds}, with 4 pictures"):
            fold_metrics(eye, eye, torch.arange(4), folds)
    with pytest.raises(UserError, match="pictures 2 to 3, one of 2 folds, have no captions"):
        fold_metrics(eye, eye, torch.tensor([0, 0, 1, 1]), 2)
