"""Fusion models on a VCR file: probabilities, and losses with a token masked, against files masked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from clipdistill.data import Mixture, open_source
from clipdistill.data.pictures import Pictures
from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.evaluate.predictions import read_predictions
from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.suites.fusion_answers import Pairs
from clipdistill.kinds import KINDS
from clipdistill.mitigate import mitigate_vcr
from clipdistill.mitigate.asking import Asked, answered, open_asked, token_losses
from clipdistill.mitigate.masking import flattened, with_masked
from clipdistill.mitigate.vcr_files import read_vcr
from clipdistill.models import create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.models.fusion.clip_adapter import create_adapter
from clipdistill.recipe import RegionSpec
from clipdistill.runs.evaluation_regions import EvaluationRegions
from tests.mitigate.vcr_records import record, write_vcr

CPU = torch.device("cpu")
ITEMS = [
    record("Is [1] here ?", ["[1] runs .", "he , [0,2] .", "no .", "a red star is here ."], 1, annot_id="val-a"),
    record(
        "Why ?", ["so .", "[2] .", "yes .", "no ."], 3, ["so it is [0] .", "no .", "he .", "[0,1] ."], annot_id="val-b"
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_vcr(tmp_path, ITEMS)


def opened(model: Any, file: Path) -> Asked:
    """With regions of the annotated boxes, embedded by a tiny tower."""
    small = create_model("petri-tiny-student", 0).eval()
    spec = RegionSpec(provider="annotations", store=file.parent / "training", max_regions=5)
    regions = EvaluationRegions(spec, lambda: small, file.parent, CPU)
    return Asked(model.eval(), open_source({"format": "vcr", "path": str(file)}), regions, None, CPU, 8)


def seeing(name: str) -> Any:
    width = create_model("petri-tiny-student", 0).embed_dim
    heads = {"vcr": 2 if "uniter" in name else 1}
    return create_fusion(name, 0, region_width=width, heads=heads) if "bert" not in name else blind()


def blind() -> Any:
    return create_fusion("petri-bert", 0, heads={"vcr": 1})


@pytest.mark.parametrize("name", ["petri-uniter-tags", "petri-bert"])
def test_losses_are_those_of_a_file_that_was_masked_by_hand(name: str, file: Path) -> None:
    model = seeing(name)
    lines = list(token_losses(opened(model, file), read_vcr(file).records))
    assert [line["annot_id"] for line in lines] == ["val-a", "val-b"]
    for number, item in enumerate(ITEMS):
        for what, reads in (("answer", "answers"), ("rationale", "rationales")):
            options, losses = item[f"{what}_choices"], lines[number][f"{what}_losses"]
            assert [len(one) for one in losses] == [len(flattened(option)) for option in options]
            for place in (0, 1, 3):
                masked = [with_masked(option, {place}) for option in options]
                changed = [{**item, f"{what}_choices": masked}]
                logits = scores_of(
                    opened(model, write_vcr(file.parent, changed, f"{number}{what}{place}.jsonl")), reads
                )
                for option, given in enumerate(losses):
                    if place < len(given):
                        right = option == item[f"{what}_label"]
                        pair = logits[option].tolist()
                        logit = torch.tensor(pair[1] - pair[0] if len(pair) == 2 else pair[0])
                        wanted = float(softplus(-logit if right else logit))
                        assert given[place] == pytest.approx(wanted, abs=2e-5), (what, option, place)


def scores_of(asked: Asked, reads: Any) -> torch.Tensor:
    pairs = Pairs(Job(asked.model, CPU, 8, regions=asked.regions_of), asked.source, None, "vcr", reads)
    with torch.no_grad():
        (batch,) = pairs.batches()
        found: torch.Tensor = pairs.scores(batch, reads)
    return found


def test_answers_are_the_suites(file: Path, tmp_path: Path) -> None:
    model = seeing("petri-uniter")
    asked = opened(model, file)
    found = answered(asked)
    evaluate_suite(model, "vcr", str(file), regions=asked.regions_of, options={"predictions": tmp_path / "p.npz"})
    theirs = read_predictions(tmp_path / "p.npz")
    assert found.ids == theirs.ids == ("val-a", "val-b")
    np.testing.assert_allclose(found.arrays["answers"], theirs.arrays["answers"], atol=1e-6)


def test_questions_without_labels_or_pictures_have_no_scores(tmp_path: Path) -> None:
    unlabelled = {**ITEMS[0], "annot_id": "val-c", "answer_label": None}
    broken = {**ITEMS[0], "annot_id": "val-d", "img_fn": "broken.jpg"}
    file = write_vcr(tmp_path, [unlabelled, *ITEMS, broken])
    asked = opened(seeing("petri-uniter"), file)
    asked.regions_of.max_bad_share = 0.5
    assert [line["annot_id"] for line in token_losses(asked, read_vcr(file).records)] == ["val-a", "val-b"]
    assert answered(asked).ids == ("val-c", "val-a", "val-b")


def test_a_model_by_its_folder_writes_scores_that_can_be_given_again(file: Path, tmp_path: Path) -> None:
    KINDS["fusion"].save(blind(), tmp_path / "model")
    made = mitigate_vcr(file, "sm-adversarial", tmp_path / "adv.jsonl", by=tmp_path / "model")
    scores = tmp_path / "adv.scores.jsonl"
    again = mitigate_vcr(file, "sm-adversarial", tmp_path / "again.jsonl", scores=scores)
    assert (tmp_path / "adv.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert made["changes"] == again["changes"] == 16
    for line in map(json.loads, (tmp_path / "adv.jsonl").read_text().splitlines()):
        for option in line["answer_choices"] + line["rationale_choices"]:
            masks = [one == "[MASK]" if isinstance(one, str) else one > 9999 for one in flattened(option)]
            assert sum(masks) == 1
    summary = mitigate_vcr(file, "im", tmp_path / "im.jsonl", by=tmp_path / "model", confidence=1.0)
    assert summary["kept"] == 2


def test_models_that_cant_be_asked(file: Path, tmp_path: Path) -> None:
    KINDS["fusion"].save(create_fusion("petri-bert", 0, heads={"vqa": 3}), tmp_path / "other")
    with pytest.raises(UserError, match="--by petri-teacher-small: is a dual_encoder; name the run of a fusion model"):
        open_asked("petri-teacher-small", file)
    with pytest.raises(UserError, match="has no head 'vcr'"):
        open_asked(tmp_path / "other", file)
    adapter = create_adapter("clip-mlp-1-cosine", create_model("petri-tiny-student", 0), 0)
    adapter.add_heads({"vcr": 1}, 0)
    with pytest.raises(UserError, match="has no mask among its tokens"):
        next(token_losses(opened(adapter, file), read_vcr(file).records))


def test_a_mitigated_file_has_the_regions_of_its_original(file: Path, tmp_path: Path) -> None:
    """The written file is another source to a suite, of the same pictures."""
    asked = opened(seeing("petri-uniter"), file)
    written = mitigate_vcr(file, "sm-rule", tmp_path)["file"]
    mixture = Mixture([(open_source({"format": "vcr", "path": written}), None)])
    one = asked.regions_of(Mixture([(asked.source, None)]), None)
    other = asked.regions_of(mixture, None)
    assert other.path == one.path and other.lacks(Pictures(mixture)) is None
