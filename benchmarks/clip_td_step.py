"""A step of CLIP-TD on VCR against the same step without a teacher, in interleaved rounds. See `--help`.

A petri-sized student answers questions of a small petri world. Both trainings see the same batches, which are in memory
before the clock starts; what CLIP says is looked up when a batch is made, in the loader's workers, and is timed apart.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, interleave, machine, ratio, show, small_world, summary, wait

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.models import load_model
from clipdistill.models.fusion import create_fusion
from clipdistill.stores.question_cache import cache_questions
from clipdistill.stores.question_targets import QuestionSettings
from clipdistill.stores.region_cache import write_regions
from clipdistill.stores.region_maps import MapRegions
from clipdistill.tasks.teacher import StoredQuestions
from clipdistill.tasks.vcr import VCR

PLAIN, NAIVE, FULL = "no teacher", "naive VL", "CLIP-TD: words and gate too"
WEIGHTS = {
    PLAIN: {"task": 1.0},
    NAIVE: {"task": 1.0, "vision": 0.05, "language": 0.05},
    FULL: {"task": 1.0, "vision": 0.05, "language": 0.05, "selected": 0.05},
}


class Training:
    """One way of training: its task, optimizer and a batch."""

    def __init__(self, name: str, options: argparse.Namespace, data: Mixture, teacher: StoredQuestions) -> None:
        self.device, self.now, self.which = torch.device(options.device), clock(options.clock), options.device
        settings = {"distil": {"confidence": {}}} if name == FULL else {}
        student = create_fusion(options.student, seed=0)
        self.task = VCR(student, [] if name == PLAIN else [teacher], WEIGHTS[name], settings)
        self.task.prepare(data)
        self.task.to(self.device).train()
        self.optimizer = torch.optim.AdamW(self.task.parameters(), lr=1e-4, fused=True)
        fields = self.task.fields(data)
        self.loader = Loader(data, fields, batch_size=options.batch, plan=AugmentPlan(), seed=0)
        self.batch = {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for key, value in next(iter(self.loader.epoch(0))).items()
        }

    def step(self) -> float:
        """Seconds of one."""
        start = self.now()
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.task, self.batch, Ranks(0, 1, self.device))
        self.optimizer.step()
        wait(self.which)
        return self.now() - start

    def load(self) -> float:
        """Seconds of making a batch, in this process."""
        start = self.now()
        next(iter(self.loader.epoch(0)))
        return self.now() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="petri-vl-bert")
    parser.add_argument("--teacher", default="petri-teacher")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32, help="questions")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    about = machine(options.device)
    with small_world(options.images, 64, ("vcr",)) as world:
        source = open_source({"format": "vcr", "path": str(world / "vcr"), "split": "train"})
        data, cpu = Mixture([(source, None)]), torch.device("cpu")
        maker = MapRegions(load_model("petri-teacher-small").eval(), cpu, None, 0.25, 4, None, 3, 1.3)
        data.regions = write_regions(maker, data, world / "regions")
        clip = load_model(options.teacher).eval()
        store: Any = cache_questions(
            clip, data, QuestionSettings(("answers", "rationales")), world / "taught", fingerprint="benchmark"
        )
        trainings = {name: Training(name, options, data, StoredQuestions(store)) for name in WEIGHTS}
        steps = interleave({name: one.step for name, one in trainings.items()}, options.rounds)
        loads = interleave({name: one.load for name, one in trainings.items()}, max(3, options.rounds // 3))
    rows = [(f"a step, {name}", summary(steps[name]), "s") for name in WEIGHTS]
    rows += [(f"a step, {name} / {PLAIN}", ratio(steps[name], steps[PLAIN]), "") for name in (NAIVE, FULL)]
    rows += [(f"making a batch, {name} / {PLAIN}", ratio(loads[name], loads[PLAIN]), "") for name in (NAIVE, FULL)]
    rows += [(f"making a batch / a step, {FULL}", ratio(loads[FULL][:3], steps[FULL][:3]), "")]
    facts = {"machine": about, "settings": {key: str(value) for key, value in vars(options).items()}}
    show(f"{options.student} on VCR, {options.batch} questions", rows, facts, options.json)


if __name__ == "__main__":
    main()
