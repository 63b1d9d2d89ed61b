"""Regions of evaluation pictures: made once, shared by the models, opened where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipdistill.data import Mixture, open_source
from clipdistill.errors import UserError
from clipdistill.evaluate.suites import find_suite, open_suite
from clipdistill.models import create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.recipe import RegionSpec
from clipdistill.runs.evaluation import evaluate_models
from clipdistill.runs.evaluation_regions import EvaluationRegions, regions_of
from tests.evaluate import question_data as made

CPU = torch.device("cpu")


@pytest.fixture
def vcr(tmp_path: Path) -> Path:
    return made.write_vcr(tmp_path / "vcr", [made.vcr_item(k, c, k, k) for k, c in enumerate(made.COLOURS)])


def spec(tmp_path: Path, **changes: Any) -> RegionSpec:
    return RegionSpec(store=tmp_path / "training", **{"provider": "annotations", "max_regions": 2, **changes})


def small() -> Any:
    return create_model("petri-tiny-student", 0).eval()


def test_models_share_regions_that_were_made_once(vcr: Path, tmp_path: Path) -> None:
    opened = []

    def base() -> Any:
        opened.append(1)
        return small()

    width = small().embed_dim
    students = [
        create_fusion("petri-uniter", seed, region_width=width, heads={"vcr": 2}, dropout=0.0) for seed in (0, 1)
    ]
    suite = find_suite("vcr")
    evaluation = open_suite(suite, str(vcr), suite.read_options({}))
    run = tmp_path / "run"
    models = {"base": ("before", students[0]), "student": ("tiny", students[1])}
    regions = EvaluationRegions(spec(tmp_path), base, run, CPU)
    found = evaluate_models([evaluation], models, CPU, regions=regions)
    assert [each["results"][0]["n"] for each in found["models"].values()] == [3, 3]
    assert opened == [1]
    store = run / "evaluation_regions" / "vcr_val"
    before = {file.name: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    # A later process opens what lies there, and is told when it isn't what its recipe asks for.
    again = EvaluationRegions(spec(tmp_path), base, run, CPU)
    assert (
        evaluate_models([evaluation], models, CPU, regions=again)["models"]["student"]["results"]
        == (found["models"]["student"]["results"])
    )
    assert {file.name: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before
    with pytest.raises(UserError, match="regions: .*max_regions"):
        other = EvaluationRegions(spec(tmp_path, max_regions=3), base, run, CPU)
        evaluate_models([evaluation], models, CPU, regions=other)


def test_two_worlds_whose_sources_have_the_same_name(vcr: Path, tmp_path: Path) -> None:
    elsewhere = made.write_vcr(tmp_path / "other" / "vcr", [made.vcr_item(k, "red", 0, 0) for k in range(2)])
    boxes = elsewhere / "vcr1images" / "one.json"
    boxes.write_text(boxes.read_text().replace("10, 10, 1.0", "12, 10, 1.0"))
    sources = [open_source({"format": "vcr", "path": str(one), "split": "val"}) for one in (vcr, elsewhere)]
    first, second = (Mixture([(source, None)]) for source in sources)
    assert sources[0].name == sources[1].name
    for _ in range(2):  # made, then opened again
        regions = EvaluationRegions(spec(tmp_path), small, tmp_path / "run", CPU)
        assert len(regions(first, None).ids) == 3 and regions(second, None).ids == ["red.jpg"]
    assert len(list((tmp_path / "run" / "evaluation_regions").iterdir())) == 2


def test_a_store_that_is_named(vcr: Path, tmp_path: Path) -> None:
    mixture = Mixture([(open_source({"format": "vcr", "path": str(vcr), "split": "val"}), None)])
    named = tmp_path / "named"
    made_by = EvaluationRegions(spec(tmp_path), small, None, CPU)
    made_by(mixture, named)
    opener = EvaluationRegions(None, None, None, CPU)
    store = opener(mixture, named)
    assert store is opener(mixture, named) and (store.rows(mixture.picture_ids) >= 0).all()
    more = made.write_vcr(tmp_path / "more", [made.vcr_item(k, "red", 0, 0) for k in range(9)], "changed.jsonl")
    others = Mixture([(open_source({"format": "vcr", "path": str(more / "changed.jsonl")}), None)])
    assert others.ids[0].startswith("vcr_changed/") and opener(others, named).ids == store.ids  # of the same pictures
    few = tmp_path / "few"
    made_by(others, few)
    with pytest.raises(UserError, match=r"few: has no regions of green.jpg \(2 are missing\); name a store of these"):
        opener(mixture, few)


def test_changed_questions_about_the_same_pictures_need_no_store_of_their_own(vcr: Path, tmp_path: Path) -> None:
    """A mitigated file is of the standard file's pictures; in a world where they are others it would be seen."""
    run, changed = tmp_path / "run", vcr / "mitigated.jsonl"
    lines = (vcr / "val.jsonl").read_text().splitlines()
    changed.write_text("".join(line.replace("Why", "Who").replace("val-", "changed-") + "\n" for line in lines[:2]))
    standard, mitigated = (
        Mixture([(open_source({"format": "vcr", "path": str(path)}), None)]) for path in (vcr / "val.jsonl", changed)
    )
    regions = EvaluationRegions(spec(tmp_path), small, run, CPU)
    assert regions.cost({"a": (standard, None), "b": (mitigated, None)})[0] > 0
    whole = regions(standard, None)
    assert regions(mitigated, None).path == whole.path == run / "evaluation_regions" / "vcr_val"
    assert regions.cost({"a": (standard, None), "b": (mitigated, None)}) == (0, 0)
    later = EvaluationRegions(spec(tmp_path), small, run, CPU)
    assert later(mitigated, None).path == whole.path

    other = made.write_vcr(tmp_path / "other", [made.vcr_item(0, "red", 0, 0)], "other.jsonl")
    (other / "vcr1images" / "red.jpg").write_bytes((vcr / "vcr1images" / "blue.jpg").read_bytes() + b"\0")
    moved = Mixture([(open_source({"format": "vcr", "path": str(other / "other.jsonl")}), None)])
    assert later(moved, None).path == run / "evaluation_regions" / "vcr_other"
    with pytest.raises(UserError, match=r"was made of another picture red.jpg, or of other boxes for it"):
        later(moved, whole.path)


def test_the_plan_counts_pictures_and_not_questions(tmp_path: Path) -> None:
    asked = made.write_vcr(tmp_path / "more", [made.vcr_item(k, "red", 0, 0) for k in range(9)], "changed.jsonl")
    many = Mixture([(open_source({"format": "vcr", "path": str(asked / "changed.jsonl")}), None)])
    regions = EvaluationRegions(spec(tmp_path), small, tmp_path / "run", CPU)
    width = small().embed_dim
    assert regions.cost({"a": (many, None)})[1] == 1 * 2 * (2 * width + 40)  # one picture of two regions
    assert regions.cost({"a": (many, None), "again": (many, tmp_path / "elsewhere")})[1] == 2 * (2 * width + 40)
    assert EvaluationRegions(None, None, None, CPU).cost({"a": (many, None)}) == (0, 0)


def test_without_a_store_or_a_way_to_make_one(vcr: Path, tmp_path: Path) -> None:
    mixture = Mixture([(open_source({"format": "vcr", "path": str(vcr), "split": "val"}), None)])
    nothing = regions_of(tmp_path / "not a run", CPU)
    with pytest.raises(UserError, match="say where their store lies"):
        nothing(mixture, None)
    with pytest.raises(UserError, match="no store of regions lies there"):
        nothing(mixture, tmp_path / "none")
