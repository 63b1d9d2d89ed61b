"""The suites of questions with fusion models: pairs, heads, regions, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipdistill.data import Mixture, open_source
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.fusion_regions import FusionRegions
from clipdistill.data.loader import evaluation_batches
from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.clip_adapter import create_adapter
from tests.evaluate import question_data as made
from tests.models.tiny_fusion import ARCHITECTURES, tiny_fusion

WIDTH = 6


class Regions:
    """Two regions a picture, drawn from the picture's number; those `bad` have none."""

    path, has_shares = Path("regions"), True

    def __init__(self, mixture: Mixture, bad: tuple[str, ...] = (), width: int = WIDTH) -> None:
        self.meta = {"max_regions": 2, "embed_dim": width, "provider": "annotations"}
        self.ids, self.bad = list(dict.fromkeys(mixture.picture_ids)), dict.fromkeys(bad, "no picture")

    def rows(self, ids: Any) -> np.ndarray:
        return np.array([self.ids.index(one) for one in ids])

    def lookup(self, rows: Any, max_regions: int) -> dict[str, np.ndarray]:
        draws = np.stack([np.random.default_rng(int(row)).standard_normal((2, self.meta["embed_dim"])) for row in rows])
        boxes = np.tile(np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32), (len(rows), 1, 1))
        ones = np.ones((len(rows), 2), np.float32)
        return {
            "features": draws.astype(np.float32), "mask": ones > 0, "scores": ones, "areas": ones,
            "boxes": boxes, "shares": boxes / 20,
        }  # fmt: skip


def opener(*bad: str, width: int = WIDTH) -> Any:
    return lambda mixture, path: Regions(mixture, bad, width)


@pytest.fixture
def vcr(tmp_path: Path) -> Path:
    items = [made.vcr_item(k, picture, k % 4, (k + 1) % 4) for k, picture in enumerate(["red", "green", "blue"] * 2)]
    return made.write_vcr(tmp_path / "vcr", items)


def tiny(architecture: str, **changes: Any) -> Any:
    return tiny_fusion(architecture, positions=64, **changes).float()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_vcr_is_what_the_head_says_of_each_pair(architecture: str, vcr: Path) -> None:
    model = tiny(architecture).train()
    (found,) = evaluate_suite(model, "vcr", vcr, batch_size=4, regions=opener())
    assert model.training and found.n == 6
    # By hand: the pairs of the whole file in one batch.
    mixture = Mixture([(open_source({"format": "vcr", "path": str(vcr), "split": "val"}), None)])
    mixture.regions = Regions(mixture)
    fields = {"answers": FusionTexts(model, "answers"), "rationales": FusionTexts(model, "rationales")}
    fields["regions"] = FusionRegions(mixture)
    (batch,) = evaluation_batches(mixture, None, 6, fields=fields)
    label = torch.arange(6) % 4
    model.eval()
    with torch.no_grad():
        best = {}
        for reads in ("answers", "rationales"):
            inputs = fusion_inputs(batch, reads)
            scores = model.option_scores(model.scores("vcr", model(inputs), inputs)).reshape(6, 4)
            best[reads] = scores.argmax(1)
    right, reason = best["answers"] == label, best["rationales"] == (label + 1) % 4
    assert found.metrics["q2a"] == pytest.approx(float(right.float().mean()))
    assert found.metrics["qa2r"] == pytest.approx(float(reason.float().mean()))
    assert found.metrics["q2ar"] == pytest.approx(float((right & reason).float().mean()))


@pytest.mark.parametrize(("mode", "metric"), [("q2a", "q2a"), ("qa2r", "qa2r")])
def test_one_question_of_two(mode: str, metric: str, vcr: Path, tmp_path: Path) -> None:
    model, passes = tiny("uniter"), []
    (both,) = evaluate_suite(model, "vcr", vcr, regions=opener())
    model.register_forward_hook(lambda *_: passes.append(1))
    (found,) = evaluate_suite(model, "vcr", vcr, options={"mode": mode}, regions=opener())
    assert len(passes) == 1  # the other question isn't read
    assert found.metrics == {name: value for name, value in both.metrics.items() if name.split("/")[0] == metric}
    for option in ("submission", "predictions"):
        with pytest.raises(UserError, match=f"`{option}` holds answers and rationales; it needs `mode: both`"):
            evaluate_suite(model, "vcr", vcr, options={"mode": mode, option: str(tmp_path / "out")}, regions=opener())


def test_a_submission_has_rationales_given_each_answer(vcr: Path, tmp_path: Path) -> None:
    model, file = tiny("uniter"), tmp_path / "vcr.csv"
    (alone,) = evaluate_suite(model, "vcr", vcr, regions=opener())
    (found,) = evaluate_suite(model, "vcr", vcr, options={"submission": str(file)}, regions=opener("blue.jpg"))
    rows = list(csv.DictReader(file.open()))
    assert [row["annot_id"] for row in rows] == ["val-0", "val-1", "val-3", "val-4"] and len(rows[0]) == 21
    assert found.artifacts["bad"] == [
        {"id": one, "reason": "no picture"} for one in ("val-2", "val-5")
    ]  # both of its questions
    (named,) = evaluate_suite(model, "vcr", vcr, options={"name": "petri/vcr"}, regions=opener("blue.jpg"))
    assert named.artifacts["bad"] == found.artifacts["bad"]  # whatever stands in the name
    given = np.array([[float(row[f"rationale_conditioned_on_a{k}_0"]) for k in range(4)] for row in rows])
    assert (given.std(1) > 0).all()  # each answer changes what is thought of a rationale
    labels = [0, 1, 3, 0]
    right = [
        max(range(4), key=lambda r: float(row[f"rationale_conditioned_on_a{label}_{r}"])) == (label + 1) % 4
        for row, label in zip(rows, labels, strict=True)
    ]
    assert found.metrics["qa2r"] == pytest.approx(np.mean(right)) and alone.n == 6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_snli_ve_and_vqa_through_their_heads(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture, heads={"snli_ve": 3, "vqa": 4})
    pairs = [("red", "all red", "entailment"), ("green", "red", "contradiction"), ("blue", "a thing", "neutral")]
    (found,) = evaluate_suite(model, "snli_ve", made.write_snli_ve(tmp_path / "ve", pairs), regions=opener())
    assert found.n == 3 and sum(map(sum, found.artifacts["confusion"])) == 3 and "clusters" not in found.artifacts
    root = made.write_vqa(tmp_path / "vqa", [("red", ["red"] * 10), ("green", ["green"] * 10)])
    data = {"format": "vqa_v2", "path": str(root), "answers": str(root / "answers.txt")}
    file = tmp_path / "vqa.npz"
    (plain,) = evaluate_suite(model, "vqa", data, options={"predictions": str(file)}, regions=opener())
    with np.load(file) as saved:
        shares, names = saved["answers"], saved["names"].tolist()
    chosen = [names[number] for number in shares.argmax(1)]
    assert plain.metrics["accuracy"] == pytest.approx(np.mean([chosen[0] == "red", chosen[1] == "green"]))
    assert ((shares > 0) & (shares < 1)).all()


def test_an_adapter_on_clip_answers_too(vcr: Path) -> None:
    clip = create_model("petri-tiny-student", 0).eval()
    adapter = create_adapter("clip-mlp-1-cosine", clip, 0, heads={"vcr": 1})
    (found,) = evaluate_suite(adapter, "vcr", vcr, regions=opener(width=clip.embed_dim))
    assert found.n == 6 and 0 <= found.metrics["q2a"] <= 1


def test_what_a_fusion_model_lacks_is_said(vcr: Path, tmp_path: Path) -> None:
    model = tiny("uniter", heads={"vqa": 5})
    with pytest.raises(UserError, match="has no head 'vcr' \\(it has vqa\\); train it"):
        evaluate_suite(model, "vcr", vcr, regions=opener())
    root = made.write_vqa(tmp_path / "vqa", [("red", ["red"] * 10)])
    data = {"format": "vqa_v2", "path": str(root), "answers": str(root / "answers.txt")}
    with pytest.raises(UserError, match="tells 5 answers apart and the data has 4; give the data the vocabulary"):
        evaluate_suite(model, "vqa", data, regions=opener())
    with pytest.raises(UserError, match="sees regions of pictures; evaluate it in its run"):
        evaluate_suite(tiny("uniter"), "vcr", vcr)
    with pytest.raises(UserError, match="`match` is for a dual_encoder, and this is a fusion"):
        evaluate_suite(tiny("uniter"), "vcr", vcr, options={"match": "iqa"}, regions=opener())
    with pytest.raises(UserError, match="have a width of 6, and `student.model` takes 8"):
        evaluate_suite(tiny("uniter", region_width=8), "vcr", vcr, regions=opener())


def test_a_count_of_questions(vcr: Path) -> None:
    data = {"format": "vcr", "path": str(vcr), "count": 3}
    (found,) = evaluate_suite(tiny("uniter"), "vcr", data, regions=opener())
    assert found.n == 3
