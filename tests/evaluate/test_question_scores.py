"""VCR's accuracies, entailment's, k-means, ensembles and submissions on made cases."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.entailment import (
    best_mapping,
    classes_of_similarities,
    confusion,
    entailment_accuracies,
)
from clipdistill.evaluate.k_means import k_means
from clipdistill.evaluate.predictions import Predictions, mean_of, read_predictions, write_predictions
from clipdistill.evaluate.submissions import write_vcr_submission, write_vqa_submission
from clipdistill.evaluate.vcr_accuracy import VcrScores, vcr_accuracies

CLASSES = ("entailment", "neutral", "contradiction")


def chosen(numbers: list[int]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(numbers), 4).float()


def test_vcr_reads_rationales_given_the_right_answer() -> None:
    # Answers: right, right, wrong, wrong. Rationales given the right answer: right, wrong, right, wrong.
    label, reason = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 2, 1, 0])
    rationales = torch.full((4, 4, 4), float("nan"))
    rationales[torch.arange(4), label] = chosen([3, 0, 1, 3])
    scores = VcrScores(chosen([0, 1, 0, 0]), rationales)
    types = [("explanation",), ("explanation", "role"), ("role",), ("role",)]
    found = vcr_accuracies(scores, label, reason, types)
    assert found == {
        "q2a": 0.5, "qa2r": 0.5, "q2ar": 0.25, "q2ar_product": 0.25,
        "q2a/explanation": 1, "q2a/role": pytest.approx(1 / 3),
        "qa2r/explanation": 0.5, "qa2r/role": pytest.approx(1 / 3),
        "q2ar/explanation": 0.5, "q2ar/role": 0,
    }  # fmt: skip
    both = vcr_accuracies(VcrScores(chosen([0, 0]), chosen([0, 1]).repeat_interleave(4, 0).reshape(2, 4, 4)),
                          torch.tensor([0, 1]), torch.tensor([0, 0]))  # fmt: skip
    assert (both["q2ar"], both["q2ar_product"]) == (0.5, 0.25)  # easy in both ways: the product is lower


@pytest.mark.parametrize(
    ("q2a", "qa2r", "q2ar"),
    [(54.82, 48.58, 26.63), (76.02, 78.31, 59.53), (77.61, 79.25, 61.51), (74.23, 76.99, 57.15), (80.48, 82.68, 66.54)],
)
def test_the_papers_q2ar_are_products(q2a: float, qa2r: float, q2ar: float) -> None:
    # Rows of CLIP-TD's table 7: zero-shot, VL-BERT, VL-BERT with CLIP-TD, UNITER, ensemble.
    assert round(q2a * qa2r / 100, 2) == pytest.approx(q2ar, abs=0.011)


def test_vcr_refuses_what_it_cannot_score() -> None:
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="no questions"):
        vcr_accuracies(VcrScores(torch.zeros(0, 4), torch.zeros(0, 4, 4)), one[:0], one[:0])
    with pytest.raises(ValueError, match="0 to 3"):
        vcr_accuracies(VcrScores(torch.zeros(1, 4), torch.zeros(1, 4, 4)), one - 2, one)
    missing = torch.zeros(1, 4, 4)
    missing[0, 1] = float("nan")
    with pytest.raises(ValueError, match="weren't scored"):
        vcr_accuracies(VcrScores(torch.zeros(1, 4), missing), one, one)


def test_entailment_overall_and_by_class() -> None:
    predicted, label = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 0])
    found = entailment_accuracies(predicted, label, CLASSES)
    assert found == {"accuracy": 0.75, "accuracy/entailment": 1, "accuracy/neutral": 0.5}
    assert confusion(predicted, label, CLASSES)["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="no pairs"):
        entailment_accuracies(predicted[:0], label[:0], CLASSES)


def test_k_means_finds_three_clouds_and_is_a_function_of_its_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = middles.repeat_interleave(20, 0) + 0.5 * torch.randn(60, 2, generator=generator)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assigned, centres = k_means(points, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    blocks = assigned.reshape(3, 20)
    assert (blocks == blocks[:, :1]).all() and len(blocks[:, 0].unique()) == 3
    torch.testing.assert_close(centres[blocks[:, 0]], points.double().reshape(3, 20, 2).mean(1))
    again = k_means(points, 3, seed=1)
    assert torch.equal(assigned, again[0]) and torch.equal(centres, again[1])


def test_k_means_keeps_the_tightest_of_several_starts() -> None:
    # By hand: {0, 1}, {10, 11}, {20, 21} leave 6 * 0.25 = 1.5; a start in one pair's two points leaves far more.
    points = torch.tensor([[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]])
    for seed in range(20):
        assigned, centres = k_means(points, 3, seed=seed, restarts=10)
        assert float((points - centres[assigned]).square().sum()) == pytest.approx(1.5)
        assert sorted(centres[:, 0].tolist()) == [0.5, 10.5, 20.5]


def test_k_means_refuses_too_few_points() -> None:
    with pytest.raises(ValueError, match="2 different points don't make 3"):
        k_means(torch.tensor([[1.0], [1.0], [2.0]]), 3)
    with pytest.raises(ValueError, match="finite"):
        k_means(torch.tensor([[1.0], [float("nan")], [2.0]]), 3)


def test_the_most_similar_cluster_is_entailment() -> None:
    similarities = torch.tensor([0.31, 0.10, 0.21, 0.30, 0.11, 0.20])
    predicted, means = classes_of_similarities(similarities, CLASSES, seed=0, restarts=5)
    assert predicted.tolist() == [0, 2, 1, 0, 2, 1]
    assert means == pytest.approx([0.105, 0.205, 0.305], abs=1e-6)
    label = torch.tensor([1, 0, 2, 1, 0, 2])  # the clusters are right and named wrongly
    assert float((predicted == label).double().mean()) == 0 and best_mapping(predicted, label, CLASSES) == 1


def test_clusters_may_be_of_other_similarities() -> None:
    """Anchors at 0.1, 0.2 and 0.3; of their own similarities these four would be cut otherwise."""
    fit = torch.tensor([0.09, 0.11, 0.19, 0.21, 0.29, 0.31])
    similarities = torch.tensor([0.14, 0.16, 0.24, 0.9])
    predicted, means = classes_of_similarities(similarities, CLASSES, seed=0, restarts=5, fit=fit)
    assert means == pytest.approx([0.1, 0.2, 0.3], abs=1e-6)
    assert [CLASSES[one] for one in predicted] == ["contradiction", "neutral", "neutral", "entailment"]
    own, _ = classes_of_similarities(similarities, CLASSES, seed=0, restarts=5)
    assert own.tolist() != predicted.tolist()


def test_an_ensemble_is_the_mean_by_id(tmp_path: Path) -> None:
    first = Predictions(("a", "b"), {"answers": np.array([[1.0, 0.0], [0.25, 0.75]])})
    turned = {"answers": np.array([[0.75, 0.25], [0.5, 0.5]])}
    write_predictions(tmp_path / "deep" / "two.npz", Predictions(("b", "a"), turned))
    second = read_predictions(tmp_path / "deep" / "two.npz")
    assert mean_of(first, [("two", second)]).arrays["answers"].tolist() == [[0.75, 0.25], [0.5, 0.5]]
    with pytest.raises(UserError, match=r"two: has no probabilities for 'c' \(1 are missing\)"):
        mean_of(Predictions(("a", "c"), first.arrays), [("two", second)])
    with pytest.raises(UserError, match="holds other options"):
        mean_of(Predictions(("a", "b"), first.arrays, ("yes", "no")), [("two", second)])
    with pytest.raises(UserError, match="no such file; evaluate a model with `predictions"):
        read_predictions(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(UserError, match="not predictions that an evaluation wrote"):
        read_predictions(tmp_path / "text.npz")


def test_submissions_of_vcr_and_vqa(tmp_path: Path) -> None:
    answers = np.array([[0.1, 0.2, 0.3, 0.4]])
    rationales = np.arange(16).reshape(1, 4, 4) / 16
    write_vcr_submission(tmp_path / "vcr.csv", ["test-0"], answers, rationales)
    head, row = csv.reader((tmp_path / "vcr.csv").read_text().splitlines())
    assert len(head) == 21 and head[:5] == ["annot_id", "answer_0", "answer_1", "answer_2", "answer_3"]
    assert head[5] == "rationale_conditioned_on_a0_0" and head[-1] == "rationale_conditioned_on_a3_3"
    assert row[0] == "test-0" and [float(x) for x in row[1:5]] == [0.1, 0.2, 0.3, 0.4]
    assert float(row[head.index("rationale_conditioned_on_a1_2")]) == 6 / 16
    with pytest.raises(ValueError, match="20 finite numbers"):
        write_vcr_submission(tmp_path / "vcr.csv", ["test-0"], answers, rationales * np.nan)
    write_vqa_submission(tmp_path / "vqa.json", [7], ["yes"])
    assert json.loads((tmp_path / "vqa.json").read_text()) == [{"question_id": 7, "answer": "yes"}]
