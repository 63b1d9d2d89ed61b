"""What is read from outside: each reader with a small valid folder, the files of it that are spoilt, and a way to read.

To read is to open, and to look at all samples with their pictures. A sample must be one that a training can use.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clipdistill.data.sample import BadImage
from clipdistill.data.sources import Source, open_source
from clipdistill.data.sources.base import is_text
from clipdistill.engine.checkpoint import load_latest
from clipdistill.engine.tracking import read_metrics as engine_metrics
from clipdistill.evaluate.compositional import read_benchmarks
from clipdistill.export import save_student
from clipdistill.models import create_model, load_model
from clipdistill.petri import write_world
from clipdistill.recipe_files import load_recipe
from clipdistill.report import build_report
from clipdistill.report.records import read_run
from clipdistill.runs.folder import RunFolder
from clipdistill.stores import TeacherStore
from tests.campaign import forked
from tests.campaign.mutations import as_lines, written
from tests.campaign.small_runs import Base, cache
from tests.data.data_files import write_csv, write_shard

Read = Callable[[bytes], Any]
LINES: tuple[Read, Callable[[Any], bytes]] = (lambda data: [json.loads(one) for one in data.splitlines()], as_lines)
JSON: tuple[Read, Callable[[Any], bytes]] = (json.loads, written)
YAML: tuple[Read, Callable[[Any], bytes]] = (
    yaml.safe_load, lambda value: yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader: the files to spoil, below the world's folder, and how to read afterwards."""

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], None]
    share: float = 1.0
    """Of the cases, where reading takes long."""


def structure(path: str) -> tuple[Read, Callable[[Any], bytes]] | None:
    """How a file of that name is read and written, where what it says can be changed."""
    return {".json": JSON, ".jsonl": LINES, ".yaml": YAML}.get(Path(path).suffix)


def look_at(source: Source) -> None:
    """Read every sample; AssertionError for one that no training could use."""
    ids = set()
    for index in range(len(source)):
        sample = source[index]
        assert isinstance(sample.id, str) and sample.id and sample.id not in ids, f"id {sample.id!r}"
        assert is_text(sample.id) and all(map(is_text, sample.captions)), f"half of a character in {sample.id!r}"
        ids.add(sample.id)
        for caption in sample.captions:
            assert isinstance(caption, str) and caption.strip(), f"caption {caption!r}"
        if sample.label is not None:
            assert source.classes is not None and 0 <= sample.label < len(source.classes), f"label {sample.label}"
        if sample.regions is not None:
            assert np.isfinite(np.asarray(sample.regions.boxes)).all(), "boxes"
        _finite(sample.fields)
        try:
            sample.image.open()
        except BadImage as error:
            assert "\n" not in str(error)
    source.fingerprint()
    assert all("\n" not in why for _, why in getattr(source, "skipped", ()))


def _finite(value: Any) -> None:
    if isinstance(value, float):
        assert math.isfinite(value), "a field that isn't finite"
    elif isinstance(value, Mapping):
        for one in value.values():
            _finite(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _finite(one)


def _source(**spec: Any) -> Callable[[Path], None]:
    def read(world: Path) -> None:
        options = {key: str(world / value[1:]) if isinstance(value, str) and value[:1] == "@" else value
                   for key, value in spec.items()}  # fmt: skip
        look_at(open_source(options))

    return read


def _parquet(world: Path) -> None:
    """With a cache of its own: `datasets` keeps a copy of every file that it reads."""
    from datasets import config

    cache, config.HF_DATASETS_CACHE = config.HF_DATASETS_CACHE, world.parent / "cache"
    try:
        look_at(open_source({"format": "huggingface", "path": str(world / "parquet" / "t.parquet")}))
    finally:
        shutil.rmtree(config.HF_DATASETS_CACHE, ignore_errors=True)
        config.HF_DATASETS_CACHE = cache


def _benchmark(folder: str) -> Callable[[Path], None]:
    def read(world: Path) -> None:
        for part in read_benchmarks(str(world / folder)):
            for group in part.groups:
                assert group.captions and all(isinstance(one, str) for one in group.captions)

    return read


def _run_folder(world: Path) -> None:
    run = world / "run"
    RunFolder(run).check(True, load_recipe(str(world / "own.yaml")))
    read_run(run)
    engine_metrics(run / "metrics.jsonl")
    load_latest(run / "checkpoints", load_recipe(str(world / "own.yaml")).model_dump(mode="json"))


def _report(world: Path) -> None:
    shutil.rmtree(world / "page", ignore_errors=True)
    for path in build_report([world / "run"], world / "page"):
        assert path.stat().st_size


SHARD = "shard-00000-of-00001"
RUN_FILES = tuple(
    f"run/{name}" for name in (
        "recipe.yaml", "evaluation.json", "metrics.jsonl", "examples.json", "environment.json", "bad_samples.jsonl",
    )
)  # fmt: skip

READERS = (
    Reader("csv", ("table/captions.csv",), _source(path="@table/captions.csv")),
    Reader("tsv", ("table/captions.tsv",), _source(path="@table/captions.tsv")),
    Reader("jsonl", ("table/captions.jsonl",), _source(path="@table/captions.jsonl")),
    Reader("karpathy", ("dataset_petri.json",), _source(format="karpathy", path="@dataset_petri.json", split="train")),
    Reader("boxes", ("annotations/detections_train.json", "annotations/instances_train.json"), _source(
        format="karpathy", path="@dataset_petri.json", split="train", boxes="@annotations/detections_train.json",
        categories="@annotations/instances_train.json",
    )),
    Reader("coco", ("annotations/captions_train.json",), _source(
        format="coco", path="@annotations/captions_train.json", root="@images"
    )),
    Reader("webdataset", ("shards/0.tar",), _source(format="webdataset", path="@shards/0.tar")),
    Reader("parquet", ("parquet/t.parquet",), _parquet),
    Reader("imagefolder", ("folder/a/0.png", "folder/b/1.png"), _source(format="imagefolder", path="@folder")),
    Reader("vcr", ("vcr/train.jsonl", "vcr/metadata/000000.json"), _source(format="vcr", path="@vcr", split="train")),
    Reader("snli_ve", ("snli_ve/snli_ve_train.jsonl",), _source(format="snli_ve", path="@snli_ve", split="train")),
    Reader("vqa_v2", (
        "vqa/v2_OpenEnded_petri_train_questions.json", "vqa/v2_petri_train_annotations.json", "vqa/answers.txt",
    ), _source(format="vqa_v2", path="@vqa", split="train", answers="@vqa/answers.txt")),
    Reader("flickr30k_entities", ("entities/Sentences/000000.txt", "entities/Annotations/000000.xml"), _source(
        format="flickr30k_entities", path="@entities", split="train", points="head"
    )),
    Reader("llava", ("llava/questions_train.json",), _source(format="llava", path="@llava/questions_train.json")),
    Reader("winoground", ("winoground/examples.jsonl",), _benchmark("winoground")),
    Reader("aro", ("aro/visual_genome_relation.json", "aro/visual_genome_attribution.json"), _benchmark("aro")),
    Reader("recipe", ("recipe.yaml",), lambda world: void(load_recipe(str(world / "recipe.yaml")).to_yaml())),
    Reader("model folder", (
        "model/open_clip_config.json", "model/config.json", "model/open_clip_model.safetensors",
        "model/tokenizer_config.json", "model/tokenizer.json",
    ), lambda world: void(load_model(world / "model"))),
    Reader("store folder", (
        "store/store.json", f"store/{SHARD}/shard.json", f"store/{SHARD}/blocks.jsonl", f"store/{SHARD}/ids.json",
        f"store/{SHARD}/image.f16",
    ), lambda world: look_up(TeacherStore.open(world / "store"))),
    Reader("run folder", (*RUN_FILES, "run/checkpoints/step-00000003.pt"), _run_folder),
    Reader("report", RUN_FILES, _report, share=0.1),
)  # fmt: skip


def void(_: object) -> None:
    """What was read is thrown away."""


def look_up(store: TeacherStore) -> None:
    """Take every row of a store."""
    rows = np.arange(len(store))
    assert np.isfinite(store.take("image", rows)).all()


def make_world(folder: Path, base: Base) -> Path:
    """Write the valid files of all readers."""
    formats = (
        "karpathy", "coco", "csv", "imagefolder", "winoground", "aro", "vcr", "snli_ve", "vqa", "entities", "llava",
    )  # fmt: skip
    write_world(
        folder, images=4, val=1, test=1, image_size=16, zero_shot=1, scenes="pairs", compositional=2, formats=formats
    )
    table = write_csv(folder / "table", 3)
    text = table.read_text()
    table.with_suffix(".tsv").write_text(text.replace(",", "\t"))
    rows = [dict(zip(("filepath", "caption"), line.split(","), strict=True)) for line in text.splitlines()[1:]]
    table.with_suffix(".jsonl").write_bytes(as_lines(rows))
    write_shard(folder / "shards" / "0.tar", 0, 2)
    for number, name in enumerate("ab"):
        (folder / "folder" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "table" / f"00{number}.png", folder / "folder" / name / f"{number}.png")
    _write_parquet(folder)
    shutil.copy(folder / "table" / "captions.csv", folder / "captions.csv")
    (folder / "recipe.yaml").write_text(load_recipe("petri/quickstart").to_yaml(), encoding="utf-8")
    save_student(create_model("petri-tiny-student", seed=0), folder / "model")
    shutil.copytree(base.reported(), folder / "run")
    (folder / "run" / "bad_samples.jsonl").write_bytes(as_lines([{"id": "a", "reason": "b"}]))
    shutil.copy(folder / "run" / "recipe.yaml", folder / "own.yaml")
    ended = forked.run(cache(base, folder), folder)
    assert ended.code == 0, ended.said
    return folder


def _write_parquet(folder: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    pictures = [{"bytes": (folder / "table" / f"00{n}.png").read_bytes(), "path": None} for n in range(3)]
    rows = {"image": pictures, "caption": [f"picture {n}" for n in range(3)]}
    (folder / "parquet").mkdir(exist_ok=True)
    Dataset.from_dict(rows, Features({"image": Image(), "caption": Value("string")})).to_parquet(
        folder / "parquet" / "t.parquet"
    )
