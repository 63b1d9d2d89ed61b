"""Modality importance by hand: sums, variants, padding."""

from __future__ import annotations

import pytest
import torch

from clipdistill.analysis.importance import (
    ImportanceOptions,
    attention_shares,
    kind_counts,
    modality_importance,
    token_kinds,
)
from clipdistill.models.fusion import FusionInputs

# [CLS] a [SEP] padding | region region padding | [END]
KINDS = torch.tensor([[1, 0, 1, -1, 2, 2, -1, 1]])
# Two heads; the rows that are asked: [CLS], a, [SEP], two regions, [END]. What padding asks must not count.
CLS = torch.tensor([[0.1, 0.2, 0.1, 0.0, 0.3, 0.2, 0.0, 0.1], [0.0, 0.5, 0.0, 0.0, 0.25, 0.25, 0.0, 0.0]])


def weights() -> torch.Tensor:
    found = torch.zeros(1, 2, 8, 8)
    found[0, :, 0] = CLS
    found[0, 0, [1, 2, 4, 5, 7], 1] = 1  # all else of head 0 looks at the word
    found[0, 1, [1, 2, 4, 5, 7], 4] = 1  # and of head 1 at the first region
    found[0, :, [3, 6], 2] = 1
    return found


def test_sums_by_hand() -> None:
    shares = attention_shares(weights(), KINDS)
    torch.testing.assert_close(shares, torch.tensor([[[0.2, 0.3, 0.5], [0.5, 0.0, 0.5]]]).double())
    counts = kind_counts(KINDS)
    assert counts.tolist() == [[1, 3, 2]]

    def found(**options: str) -> list[list[float]]:
        given = modality_importance(shares, counts, ImportanceOptions.model_validate(options))
        return [[round(float(one), 6) for one in head] for head in given[0]]

    assert found() == [[0.5, 0.5], [0.5, 0.5]]
    assert found(special="out") == [[0.2, 0.5], [0.5, 0.5]]
    assert found(special="renormalised") == [[round(0.2 / 0.7, 6), round(0.5 / 0.7, 6)], [0.5, 0.5]]
    assert found(tokens="mean") == [[0.125, 0.25], [0.125, 0.25]]  # four tokens of text, two regions
    assert found(special="out", tokens="mean") == [[0.2, 0.25], [0.5, 0.25]]


def test_all_queries_are_those_that_are_no_padding() -> None:
    shares = attention_shares(weights(), KINDS, "all")
    # Head 0: five of six rows look at the word, [CLS] gives it 0.2; head 1: five at a region.
    wanted = torch.tensor([[[5.2, 0.3, 0.5], [0.5, 0.0, 5.5]]]).double() / 6
    torch.testing.assert_close(shares, wanted)


@pytest.mark.parametrize("queries", ["cls", "all"])
def test_text_and_vision_make_one(queries: str) -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.tensor([[1, 0, 0, 1, 2, 2, 2], [1, 0, 1, -1, 2, -1, -1]])
    scores = torch.randn(2, 3, 7, 7, generator=generator).masked_fill((kinds == -1)[:, None, None], -1e4)
    shares = attention_shares(scores.softmax(-1), kinds, queries)  # type: ignore[arg-type]
    found = modality_importance(shares, kind_counts(kinds), ImportanceOptions())
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3).double(), atol=1e-6, rtol=0)


def test_without_a_picture_vision_has_nothing() -> None:
    kinds = torch.tensor([[1, 0, -1]])
    shares = attention_shares(torch.tensor([[[[0.4, 0.6, 0.0]] * 3]]), kinds)
    for tokens in ("sum", "mean"):
        found = modality_importance(shares, kind_counts(kinds), ImportanceOptions(tokens=tokens))  # type: ignore[arg-type]
        assert float(found[0, 0, 1]) == 0.0


def test_kinds_of_a_sequence() -> None:
    inputs = FusionInputs(
        ids=torch.tensor([[2, 9, 3, 4], [2, 3, 0, 0]]), types=torch.zeros(2, 4).long(),
        text_mask=torch.tensor([[True] * 4, [True, True, False, False]]), features=torch.zeros(2, 2, 5),
        boxes=torch.zeros(2, 2, 4), region_mask=torch.tensor([[True, True], [True, False]]),
    )  # fmt: skip
    assert token_kinds(inputs, 6, {0, 2, 3, 4}).tolist() == [[1, 0, 1, 1, 2, 2], [1, 1, -1, -1, 2, -1]]
    # VL-BERT's [END] stands behind the regions.
    assert token_kinds(inputs, 7, {2, 3, 4})[:, -1].tolist() == [1, 1]
