"""DCLIP's steps with cached regions and targets against encoding the crops anew in every step. See `--help`.

Five trainings over the same batches, which are in memory before the clock starts: the meta-teacher with its regions
looked up (within the clock, though a loader's workers would do it beside the step), and with the crops of every picture
cut, resized and encoded in each step (the released code's way); the student with its targets looked up, with the
meta-teacher making them in each step from fresh crops, and without a teacher (plain fine-tuning). Re-encoding is given
its best case: pictures are decoded and boxes found beforehand, and all crops of a batch are encoded together.

Peak memory is taken in a process a training, since a process's own peak only grows. Weights are random: they cost the
same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, interleave, machine, peak_mb, ratio, recipe_for, show, small_world, summary, wait

from clipdistill.data import AugmentPlan, ImageView, Loader, Mixture, open_source
from clipdistill.data.fields import Field, Regions
from clipdistill.data.transforms import apply
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.trainer import Trainer
from clipdistill.models import create_model
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.stores.encoder import Encoder
from clipdistill.stores.pairs import cache_pairs
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks import DCLIP, DCLIPTeacher
from clipdistill.tasks.teacher import LiveTeacher, StoredTeacher

TEACHER, TEACHER_LIVE = "meta-teacher, regions stored", "meta-teacher, crops encoded each step"
STUDENT, STUDENT_LIVE = "student, targets stored", "student, crops encoded each step"
PLAIN = "student, no teacher"
MODES = (TEACHER, TEACHER_LIVE, STUDENT, STUDENT_LIVE, PLAIN)


class StoredRegions:
    """The regions of a batch's pictures, looked up in the store: what the loader gives a task."""

    def __init__(self, mixture: Mixture) -> None:
        self.field = Regions(mixture)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """`regions`, `region_mask`, `region_scores` and `region_areas`."""
        found: dict[str, torch.Tensor] = self.field.collate([int(self.field.rows[one]) for one in batch["sample"]])
        return found


class FreshCrops(StoredRegions):
    """The same with embeddings that are made anew for each batch; boxes and decoded pictures are at hand."""

    def __init__(self, base: Any, mixture: Mixture, device: torch.device) -> None:
        super().__init__(mixture)
        self._encoder = Encoder(base, "embedding", device)
        self._view = replace(ImageView.from_preprocess(base.preprocess), resize_mode="squash")
        self._images = [mixture[row].image.open() for row in range(len(mixture))]

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """As `StoredRegions`, the crops' embeddings fresh."""
        found = super().__call__(batch)
        samples = batch["sample"].tolist()
        rows = [self.field.store.regions(int(self.field.rows[sample])) for sample in samples]
        crops = [
            apply(self._images[sample].crop(tuple(round(float(side)) for side in box)), None, self._view)
            for sample, own in zip(samples, rows, strict=True)
            for box in own.boxes
        ]
        found["regions"][found["region_mask"]] = torch.from_numpy(self._encoder.image(torch.stack(crops))[0])
        return found


class FreshTargets:
    """The meta-teacher at work in the student's step, on the regions that the batch holds by then."""

    name = "meta-teacher"

    def __init__(self, meta: MetaTeacher, base: Any) -> None:
        self._meta, self._captions = meta, LiveTeacher(base, features="tokens")
        self.embed_dim, self.logit_scale = self._captions.embed_dim, self._captions.logit_scale

    def fields(self) -> dict[str, Field]:
        """Captions for the frozen text tower."""
        return self._captions.fields()

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """`image` and `text`."""
        found = {name: value for name, value in batch.items() if name.startswith("region")}
        found |= self._captions.targets(batch)
        return {"image": self._meta(*self._meta.inputs(found)), "text": found["text"]}


class Bench:
    """What all trainings share: the data, the base model, its regions and targets on the disk."""

    def __init__(self, options: argparse.Namespace, world: Path) -> None:
        self.options, self.world, self.ranks = options, world, Ranks.current()
        self.device = self.ranks.device
        spec = {
            "format": "karpathy", "path": str(world / "dataset_petri.json"), "split": "train",
            "boxes": str(world / "annotations" / "instances_train.json"),
        }  # fmt: skip
        self.mixture = Mixture([(open_source(spec), None)])
        self.base = create_model(options.model, 0, device=self.device).eval()
        regions = cache_regions(
            self.base, self.mixture, None, world / "regions", max_regions=options.regions, device=self.device
        )
        assert regions is not None
        self.regions = self.mixture.regions = regions
        torch.manual_seed(0)
        heads = 12 if self.base.embed_dim % 12 == 0 else 8
        self.meta = MetaTeacher(self.base.embed_dim, heads=heads).to(self.device).requires_grad_(False).eval()
        self.heads = {"heads": heads}
        self.pairs = cache_pairs(self.meta, self.base, regions, self.mixture, world / "targets", device=self.device)

    def task(self, mode: str) -> Any:
        """The training called `mode`; each has models of its own."""
        if mode == PLAIN:
            return DCLIP(create_model(self.options.model, 0, device=self.device), weights={"task": 1.0})
        if mode in (TEACHER, TEACHER_LIVE):
            meta = DCLIPTeacher.make_student(self.base, None, self.heads)
            return DCLIPTeacher(meta, [LiveTeacher(self.base, features="tokens")], None, self.heads)
        assert self.pairs is not None
        stored = mode == STUDENT
        teacher = StoredTeacher(self.pairs, self.mixture.ids) if stored else FreshTargets(self.meta, self.base)
        return DCLIP(create_model(self.options.model, 0, device=self.device), [teacher])

    def regions_of(self, mode: str) -> Callable[[Mapping[str, Any]], dict[str, torch.Tensor]]:
        """What the training called `mode` does for the regions of a batch in each step; nothing for most students."""
        if mode == TEACHER:
            return StoredRegions(self.mixture)
        if mode in (TEACHER_LIVE, STUDENT_LIVE):
            return FreshCrops(self.base, self.mixture, self.device)
        return lambda _: {}

    def step(self, mode: str, now: Callable[[], float]) -> Callable[[], float]:
        """A function that makes `steps` steps and returns pairs a second; batches are those of the training."""
        task, regions = self.task(mode), self.regions_of(mode)
        loader = Loader(
            self.mixture,
            task.fields(self.mixture),
            batch_size=self.options.batch,
            plan=AugmentPlan(crop_scale=None),
            seed=0,
        )
        batches = itertools.cycle(list(loader.epoch(0)))
        recipe = recipe_for(self.world, self.options.batch, precision=self.options.precision)
        trainer = Trainer(task.to(self.device), loader, recipe, self.world, ranks=self.ranks)
        trainer.task.train()

        def run() -> float:
            wait(str(self.device))
            start = now()
            for _ in range(self.options.steps):
                batch = next(batches)
                trainer.train_step({**batch, **regions(batch)})
            wait(str(self.device))
            return self.options.steps * self.options.batch / (now() - start)

        return run


def peak_of(mode: str, world: Path) -> dict[str, float]:
    """Run this file again for one training alone; its peak memory in MB, and what of it stood before the first step."""
    command = [sys.executable, __file__, *sys.argv[1:], "--alone", mode, "--world", str(world)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="petri-teacher-small", help="base and student, such as ViT-B-32")
    parser.add_argument("--batch", type=int, default=32, help="the paper's is 32")
    parser.add_argument("--regions", type=int, default=5, help="regions a picture, at most")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image-size", type=int, help="side of the pictures; none = twice what the model sees")
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--alone", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.alone:
        run = Bench(options, options.world).step(options.alone, clock("wall"))
        device = str(Ranks.current().device)
        before = peak_mb(device)
        for _ in range(2):  # the second step has the optimizer's moments
            run()
        print(json.dumps({"peak": peak_mb(device), "before": before}))
        return
    device = str(Ranks.current().device)
    facts = machine(device)
    size = options.image_size or 2 * max(create_model(options.model, 0).preprocess["size"])
    with small_world(options.images, size, ("karpathy", "coco")) as world:
        bench = Bench(options, world)
        rates = interleave({mode: bench.step(mode, clock(options.clock)) for mode in MODES}, options.rounds)
        count = bench.regions.meta["rows"]["features"] / len(bench.mixture)
        peaks = {mode: peak_of(mode, world) for mode in MODES}
    rows = [(mode, summary(values), "pairs/s") for mode, values in rates.items()]
    for title, live, cached in (("meta-teacher", TEACHER_LIVE, TEACHER), ("student", STUDENT_LIVE, STUDENT)):
        rows.append((f"{title}: time of a step, crops encoded / cached", ratio(rates[cached], rates[live]), "x"))
    rows.append(("student: time of a step, targets stored / no teacher", ratio(rates[PLAIN], rates[STUDENT]), "x"))
    rows += [(f"{mode}: peak memory", summary([found["peak"]]), "MB") for mode, found in peaks.items()]
    rows += [
        (f"{mode}: added by the steps", summary([found["peak"] - found["before"]]), "MB")
        for mode, found in peaks.items()
    ]
    facts |= {
        "model": options.model, "batch": options.batch, "regions a picture": round(count, 2), "picture side": size,
        "clock": options.clock, "rounds": options.rounds, "steps a round": options.steps,
        "precision": options.precision,
    }  # fmt: skip
    show("DCLIP's steps, cached and with crops encoded anew", rows, facts, options.json)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
