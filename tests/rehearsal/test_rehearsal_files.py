"""What a rehearsal writes is what the readers of the true formats open, with nothing left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdistill.data.pictures import Pictures
from clipdistill.data.region_files import open_region_file
from clipdistill.data.sources import FORMATS, open_source
from clipdistill.errors import UserError
from clipdistill.evaluate.compositional import check_parts, read_benchmarks
from clipdistill.evaluate.suites import find_suite, open_suite
from clipdistill.rehearsal.data_files import SOURCES, DataWriter
from clipdistill.rehearsal.handful import Handful

HERE: list[dict[str, Any]] = [
    {"format": "karpathy", "path": "data/coco/dataset_coco.json", "split": "train+restval"},
    {"format": "coco", "path": "data/coco/annotations/captions_train2017.json", "boxes": "data/instances.json"},
    {"format": "webdataset", "path": "data/cc3m/{00000..00331}.tar"},
    {"format": "webdataset", "path": ["data/shards/a.tar", "data/shards/b.tar"], "classes": ["cat", "dog"]},
    {"format": "csv", "path": "/whole/path/t.csv", "image": "file", "caption": ["one", "two"], "id": "key"},
    {"format": "tsv", "path": "t.tsv", "label": "kind", "split": "test"},
    {"format": "jsonl", "path": "../above/captions.jsonl", "name": "visual_genome"},
    {"format": "imagefolder", "path": "data/imagenet/val"},
    {"format": "cifar10", "path": "data/cifar10"},
    {"format": "cifar100", "path": "data/cifar100", "split": "train"},
    {"format": "huggingface", "path": "ylecun/mnist", "split": "test", "label": "label"},
    {"format": "huggingface", "path": "pairs.parquet", "caption": "text", "image": "picture", "id": "key"},
    {"format": "vcr", "path": "data/vcr", "split": "val_sm"},
    {"format": "snli_ve", "path": "data/snli_ve", "split": "dev"},
    {"format": "vqa_v2", "path": "data/vqa", "split": "val", "answers": ["a.json", "b.json"]},
    {"format": "llava", "path": "data/llava/llava_v1_5_mix665k.json", "root": "data/llava"},
]


@pytest.fixture(scope="module")
def handful() -> Handful:
    return Handful(4, side=32)


@pytest.mark.parametrize("values", HERE, ids=lambda values: f"{values['format']} {values['path']}")
def test_every_source_opens_with_all_of_its_samples(
    values: dict[str, Any], handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    found = DataWriter(handful, 4).source(values, "data.train.0")
    source = open_source(found)
    assert len(source) >= 4 and list(source.skipped) == []
    assert source[0].image.byte_size() != -1
    assert [one.name for one in tmp_path.iterdir()] == ["home"], "something lies above the folder"


def test_writers_are_of_formats_that_are_read() -> None:
    assert {"csv" if kind in ("tsv", "jsonl") else kind for kind in SOURCES} <= set(FORMATS)


def test_a_format_that_is_not_written_is_refused_in_one_line(handful: Handful) -> None:
    with pytest.raises(UserError, match=r"`data.train.0.format`: .*'torchvision'.*rehearse the recipe without it"):
        DataWriter(handful, 4).source({"format": "torchvision", "path": "x"}, "data.train.0")


def test_a_vocabulary_has_as_many_answers_as_the_model(
    handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = DataWriter(handful, 4, answers=3129).source({"format": "vqa_v2", "path": "vqa"}, "data.train.0")
    assert len(open_source(values).answers) == 3129  # type: ignore[attr-defined]


def test_compositional_benchmarks_are_read(handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = DataWriter(handful, 4).suite({"suite": "compositional", "data": "data/compositional"}, "evaluate.0")
    parts = read_benchmarks(found["data"])
    assert [part.data for part in parts] == ["winoground", "aro/relation", "aro/attribution", "sugarcrepe", "clevr"]
    assert check_parts(parts) == [0] * 5


@pytest.mark.parametrize("benchmark", ["vqa_v2", "gqa", "textvqa", "scienceqa", "pope", "mme"])
def test_benchmarks_of_vlms_are_read_with_every_picture(
    benchmark: str, handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = "q/testdev_balanced_questions.json" if benchmark == "gqa" else "questions"
    values = {"suite": "vlm", "benchmark": benchmark, "data": data, "images": "pictures"}
    found = DataWriter(handful, 4).suite(values, "evaluate.0")
    assert found["max_new_tokens"] == 4
    suite = find_suite("vlm")
    options = {key: value for key, value in found.items() if key not in ("suite", "data")}
    opened = open_suite(suite, found["data"], suite.read_options(options)).opened
    assert opened.questions and opened.lacking == []


@pytest.mark.parametrize(("layout", "path"), [("npz", "regions"), ("lmdb", "regions"), ("tsv", "regions.tsv")])
def test_regions_of_files_are_found_for_every_picture(
    layout: str, path: str, handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = DataWriter(handful, 4)
    source = open_source(writer.source({"format": "vqa_v2", "path": "vqa", "split": "train"}, "data.train.0"))
    spec = writer.regions({"provider": "files", "layout": layout, "path": f"/far/{path}", "store": "s", "keys": "k"})
    assert "keys" not in spec
    file = open_region_file(layout, spec["path"])
    from clipdistill.data import Mixture
    from clipdistill.data.region_files import Names

    assert None not in Names(file.names).of(Pictures(Mixture([(source, None)])).ids)
    record = file.read(file.names[0])
    assert record.features.shape == (12, 2048) and record.boxes.shape == (12, 4)


def test_prompts_and_classes_are_fewer(handful: Handful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"suite": "zero_shot", "data": {"format": "imagefolder", "path": "data/imagenet/val"}}
    values |= {"name": "imagenet", "class_names": "imagenet", "templates": "openai"}
    found = DataWriter(handful, 4).suite(values, "evaluate.0")
    assert len(found["class_names"]) == len(list(Path("data/imagenet/val").iterdir())) and len(found["templates"]) == 2
    assert found["class_names"][0] == "tench"
