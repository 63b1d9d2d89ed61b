"""Runs of every task that take a second or two, and the commands beside them: what the campaign kills and damages.

A run is a list of command lines, given one after the other. Each may be given again, word for word, after whatever
has happened to it. What they only read (worlds, models, recipes) lies in the base folder and is made once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from clipdistill.export import save_student
from clipdistill.models import create_model
from clipdistill.petri import write_world
from clipdistill.recipe_files import load_recipe
from tests.campaign import forked
from tests.models.tiny_models import write_text_tower

Commands = list[list[str]]
QUICK = {"epochs": 9, "max_steps": 3, "batch_size": 8, "log_every": 1, "checkpoint_every": 1, "warmup_steps": 1}


class Base:
    """What the runs read: two micro worlds, two models."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world, self.questions = folder, folder / "world", folder / "questions"
        self.teacher, self.text = folder / "teacher", folder / "text"

    def make(self) -> Base:
        """Write them where they aren't there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_world(
            self.world, images=24, val=2, test=6, image_size=32, zero_shot=1, scenes="pairs", compositional=2,
            formats=("karpathy", "coco", "imagefolder", "winoground", "aro", "llava"),
        )  # fmt: skip
        forms = ("vcr", "snli_ve", "vqa", "entities", "llava")
        write_world(self.questions, images=12, val=2, test=2, seed=3, formats=forms)
        if not self.teacher.is_dir():
            save_student(create_model("petri-student", seed=7), self.teacher)
        if not self.text.is_dir():
            write_text_tower(self.text)
        return self

    def reported(self) -> Path:
        """A finished run, made in a process of its own where it isn't there yet."""
        made = self.folder / "reported"
        if not (made / "run" / "report.html").is_file():
            made.mkdir(exist_ok=True)
            assert forked.run(contrastive(self, made), made).code == 0
        return made / "run"

    def recipe(self, name: str, **values: Any) -> str:
        """Write a recipe and return its path."""
        found = {"name": f"small/{name}", "train": QUICK, "compare": [], **values}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
        return str(path)

    def pairs(self, **more: Any) -> dict[str, Any]:
        """Training data of pictures and captions."""
        source = {"format": "karpathy", "path": str(self.world / "dataset_petri.json"), "split": "train"}
        return {"train": [{**source, **more}], "augment": {"crop_scale": None}, "workers": 0}

    def retrieval(self) -> list[dict[str, Any]]:
        """A suite of six pictures."""
        return [{"suite": "retrieval", "data": f"karpathy:{self.world / 'dataset_petri.json'}@test"}]


def train(recipe: str, out: Path, *overrides: str) -> list[str]:
    """The command that begins a run and goes on with it."""
    return ["train", recipe, *overrides, "--out", str(out / "run"), "--resume"]


def contrastive(base: Base, out: Path) -> Commands:
    """With what a run may have besides: epochs kept, an average, the base to compare with."""
    recipe = base.recipe(
        "contrastive", student="petri-tiny-student", task={"method": "contrastive"}, data=base.pairs(),
        train={**QUICK, "keep_epochs": True, "ema": 0.9, "log_every": 2}, evaluate=base.retrieval(), compare=["base"],
    )  # fmt: skip
    return [train(recipe, out)]


def clip_kd(base: Base, out: Path) -> Commands:
    """A world of its own, a store, a control, a report."""
    world = out / "world"
    recipe = base.recipe(
        "clip_kd", student="petri-tiny-student", task={"method": "clip_kd"},
        petri={
            "path": "world", "images": 24, "val": 1, "test": 4, "image_size": 32, "zero_shot": 1,
            "formats": ["karpathy"],
        },
        data={**base.pairs(), "augment": {"crop_scale": [0.5, 1.0], "views": 2}},
        teachers=[{"model": str(base.teacher), "store": "store"}], evaluate=base.retrieval(), compare=["control"],
    )  # fmt: skip
    own = [f"petri.path={world}", f"data.train.0.path={world / 'dataset_petri.json'}"]
    return [train(recipe, out, *own, f"teachers.0.store={out / 'store'}")]


def workers(base: Base, out: Path) -> Commands:
    """The same with processes that make batches, and every checkpoint but two deleted."""
    recipe = base.recipe(
        "workers", student="petri-tiny-student", task={"method": "clip_kd"}, data={**base.pairs(), "workers": 2},
        teachers=[{"model": str(base.teacher), "store": "store"}],
        train={**QUICK, "max_steps": 5, "keep_checkpoints": 2},
    )  # fmt: skip
    return [train(recipe, out, f"teachers.0.store={out / 'store'}")]


def dclip(base: Base, out: Path) -> Commands:
    """Regions, a meta-teacher of the run's own, its targets, the student."""
    world = base.world
    boxes = {name: str(world / "annotations" / f"{name}_train.json") for name in ("detections", "instances")}
    recipe = base.recipe(
        "dclip", student=str(base.teacher), task={"method": "dclip"},
        data={**base.pairs(boxes=boxes["detections"], categories=boxes["instances"], count=16), "seed": 0},
        regions={"provider": "annotations", "store": "regions", "max_regions": 4},
        teachers=[
            {"meta": {"task": {"method": "dclip_teacher", "heads": 4}, "train": {"epochs": 2, "batch_size": 8}}}
        ],
        evaluate=base.retrieval(),
    )  # fmt: skip
    return [train(recipe, out, f"regions.store={out / 'regions'}")]


def diffusion(base: Base, out: Path) -> Commands:
    """A denoiser's own training."""
    recipe = base.recipe(
        "diffusion", student="petri-diffusion", task={"method": "diffusion"}, data=base.pairs(),
        train={**QUICK, "max_steps": 2, "ema": 0.5},
    )  # fmt: skip
    return [train(recipe, out)]


def sds_clip(base: Base, out: Path) -> Commands:
    """A student of a denoiser."""
    recipe = base.recipe(
        "sds_clip", student=str(base.teacher), teachers=[{"model": "petri-diffusion"}],
        task={"method": "sds_clip", "weights": {"task": 1, "sds": 0.001}}, data=base.pairs(),
        train={**QUICK, "max_steps": 2}, evaluate=[{"suite": "compositional", "data": str(base.world)}],
    )  # fmt: skip
    return [train(recipe, out)]


def lit(base: Base, out: Path) -> Commands:
    """Two towers joined, one locked, whose features are stored."""
    towers = {"image_tower": "test_efficientnet", "text_tower": str(base.text)}
    recipe = base.recipe(
        "lit", student={**towers, "embed_dim": 12}, task={"method": "lit"}, data=base.pairs(),
        teachers=[{**towers, "embed_dim": 12, "store": "store"}], evaluate=base.retrieval(),
    )  # fmt: skip
    return [train(recipe, out, f"teachers.0.store={out / 'store'}")]


def _fusion(name: str, shipped: str) -> Callable[[Base, Path], Commands]:
    def commands(base: Base, out: Path) -> Commands:
        values = load_recipe(shipped).model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(values).replace("petri-world-captions", "WORLD").replace("petri-world-vl", "WORLD")
        values = json.loads(text.replace("WORLD", str(base.questions)))
        del values["petri"], values["name"]
        values["evaluate"] = values.get("evaluate", [])[:1]
        for each in values["evaluate"]:
            each["data"] = values["data"]["train"][0] | {"split": "test"}
        recipe = base.recipe(name, **{**values, "train": {**values["train"], **QUICK}})
        own = [f"evaluate.{n}.regions={out / 'shown'}" for n in range(len(values["evaluate"]))]
        return [train(recipe, out, f"regions.store={out / 'regions'}", *own)]

    return commands


def vlm(base: Base, out: Path) -> Commands:
    """Two stages."""
    files = {name: str(base.world / "llava" / f"{name}_train.json") for name in ("captions", "questions")}
    recipe = base.recipe(
        "vlm", student="vlm:petri-teacher-small+petri-lm-tiny", task={"method": "vlm", "max_tokens": 128},
        data={"train": [{"format": "llava", "path": files["captions"]}], "augment": {"crop_scale": None}, "workers": 0},
        train={**QUICK, "max_steps": 2, "lr": 0.01},
        stages=[
            {"name": "connector", "task": {"train": "connector", "style": "plain", "max_tokens": 128}},
            {"name": "questions", "data": {"train": [{"format": "llava", "path": files["questions"]}]}},
        ],
        evaluate=[{"suite": "vlm", "data": str(base.world), "max_new_tokens": 2, "answers": "answers.jsonl"}],
    )  # fmt: skip
    return [train(recipe, out, f"evaluate.0.answers={out / 'answers.jsonl'}")]


def cache(base: Base, out: Path) -> Commands:
    """A store alone."""
    recipe = base.recipe(
        "cache", student="petri-tiny-student", task={"method": "clip_kd"}, data=base.pairs(),
        teachers=[{"model": str(base.teacher), "store": "store"}],
    )  # fmt: skip
    return [["cache", recipe, f"teachers.0.store={out / 'store'}", "data.augment.views=2", "--batch-size", "8"]]


def evaluate(base: Base, out: Path) -> Commands:
    """A model measured."""
    data = f"karpathy:{base.world / 'dataset_petri.json'}@test"
    return [["evaluate", str(base.teacher), "--suite", "retrieval", "--data", data, "--workers", "0",
             "--json", str(out / "found.json")]]  # fmt: skip


def report(base: Base, out: Path) -> Commands:
    """A page over a run, which is made first."""
    run = base.reported()
    if not (out / "run").is_dir():
        shutil.copytree(run, out / "run")
    return [["report", str(out / "run"), "--out", str(out / "page")]]


RUNS: dict[str, Callable[[Base, Path], Commands]] = {
    "contrastive": contrastive, "clip_kd": clip_kd, "clip_kd, workers": workers, "dclip": dclip,
    "diffusion": diffusion, "sds_clip": sds_clip, "lit": lit,
    "vcr": _fusion("vcr", "petri/vl/uniter_vcr"), "snli_ve": _fusion("snli_ve", "petri/vl/uniter_snli_ve"),
    "vqa": _fusion("vqa", "petri/vl/uniter_vqa"),
    "fusion_pretraining": _fusion("fusion_pretraining", "petri/vl/pretrain_uniter"),
    "vlm": vlm, "cache": cache, "evaluate": evaluate, "report": report,
}  # fmt: skip
