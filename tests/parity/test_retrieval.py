"""Recall against the worked example of big_vision's retrieval test, and MAP against its definition.

The distance matrices and expected recalls are those of google-research/big_vision,
`big_vision/evaluators/proj/image_text/image_text_retrieval_test.py`: 4 pictures (rows), 8 texts, two a picture.
"""

from __future__ import annotations

import pytest
import torch

from clipdistill.evaluate.retrieval import ranks_from_similarity, retrieval_metrics

OWNER = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
EASY = [
    [0.0, 0.0, 0.1, 0.5, 0.1, 0.2, 0.5, 0.1],
    [0.5, 0.4, 0.0, 0.0, 0.4, 0.2, 0.6, 0.4],
    [0.5, 0.4, 0.1, 0.5, 0.0, 0.0, 0.8, 0.3],
    [0.5, 0.4, 0.1, 0.5, 0.3, 0.2, 0.0, 0.0],
]
HARD_FOR_IMAGES = [
    [0.8, 0.8, 0.1, 0.5, 0.1, 0.2, 0.5, 0.1],
    [0.5, 0.4, 0.0, 0.0, 0.4, 0.2, 0.6, 0.4],
    [0.5, 0.4, 0.1, 0.5, 0.0, 0.8, 0.8, 0.3],
    [0.5, 0.4, 0.1, 0.5, 0.4, 0.2, 0.3, 0.3],
]
HARD_FOR_TEXTS = [
    [0.8, 0.8, 0.1, 0.5, 0.1, 0.2, 0.1, 0.1],
    [0.5, 0.4, 0.0, 0.0, 0.4, 0.2, 0.6, 0.4],
    [0.5, 0.4, 0.1, 0.5, 0.0, 0.8, 0.8, 0.3],
    [0.5, 0.4, 0.1, 0.5, 0.4, 0.2, 0.3, 0.3],
]


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize(
    ("distance", "direction", "expected"),
    [
        (EASY, "image_to_text", (1.0, 1.0, 1.0)),
        (EASY, "text_to_image", (1.0, 1.0, 1.0)),
        (HARD_FOR_IMAGES, "image_to_text", (0.5, 0.75, 1.0)),
        (HARD_FOR_TEXTS, "text_to_image", (0.375, 1.0, 1.0)),
    ],
)
def test_recall_is_that_of_big_visions_worked_example(distance, direction, expected, chunk):
    ranks = ranks_from_similarity(-torch.tensor(distance, dtype=torch.float64), OWNER, chunk)
    metrics = ranks.metrics()
    assert tuple(metrics[f"{direction}/recall@{k}"] for k in (1, 5, 10)) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_map_equals_a_brute_force_average_over_every_cut_of_the_ranking(seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    text = torch.randn(23, 6, generator=generator, dtype=torch.float64)
    owner = torch.randint(0, 9, (23,), generator=generator)
    scores = torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T
    relevant = owner[None, :] == torch.arange(9)[:, None]

    def average_precision(score, positive):
        ranked = positive[score.argsort(descending=True)].tolist()
        precisions = [sum(ranked[: k + 1]) / (k + 1) for k in range(len(ranked)) if ranked[k]]
        return sum(precisions) / len(precisions)

    by_image = [average_precision(scores[i], relevant[i]) for i in range(9) if relevant[i].any()]
    by_text = [average_precision(scores[:, m], relevant[:, m]) for m in range(23)]
    metrics = retrieval_metrics(image, text, owner, chunk=4)
    assert metrics["image_to_text/map"] == pytest.approx(sum(by_image) / len(by_image), abs=1e-12)
    assert metrics["text_to_image/map"] == pytest.approx(sum(by_text) / len(by_text), abs=1e-12)
