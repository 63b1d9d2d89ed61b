"""What a teacher costs a training step: none, stored, or live. `python benchmarks/step_with_store.py --help`.

Four trainings of the same student on the same batches, which are in memory before the clock starts: without a teacher;
with a store whose targets are looked up and not used (what the store itself costs); with a store and CLIP-KD's terms;
and with the live teacher and the same terms. The figure to reach is a step with a store within 5 % of one without.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, interleave, machine, ratio, recipe_for, show, small_world, summary, wait

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.fields import encoder_fields
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.trainer import Trainer
from clipdistill.models import create_model
from clipdistill.stores import TeacherStore, cache_teacher
from clipdistill.tasks import ClipKD, Contrastive
from clipdistill.tasks.teacher import LiveTeacher, StoredTeacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="petri-student")
    parser.add_argument("--teacher", default="petri-teacher", help="random weights: they cost the same")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    now = clock(options.clock)

    ranks = Ranks.current()
    device = str(ranks.device)
    facts = machine(device)
    size = max(create_model(options.student, 0).preprocess["size"])
    with small_world(options.images, size) as world, tempfile.TemporaryDirectory() as folder:
        mixture = Mixture([(open_source(f"karpathy:{world / 'dataset_petri.json'}@train"), None)])
        plan = AugmentPlan(crop_scale=(0.9, 1.0), views=2)
        teacher = create_model(options.teacher, 0, device=device)
        for_store = create_model(options.teacher, 0, device=device)
        store = cache_teacher(for_store, mixture, plan, Path(folder) / "store", device=device)
        assert isinstance(store, TeacherStore)
        live, stored = LiveTeacher(teacher), StoredTeacher(store, mixture.ids)

        def student() -> Any:
            return create_model(options.student, 0, device=device)

        tasks = {
            "no teacher": Contrastive(student()),
            "store, looked up alone": ClipKD(student(), [stored], weights={"task": 1}),
            "store, CLIP-KD's terms": ClipKD(student(), [stored]),
            "live teacher, CLIP-KD's terms": ClipKD(student(), [live]),
        }
        roles = {"student": tasks["no teacher"].student, "teacher0": teacher}
        loader = Loader(
            mixture,
            {name: field for role, model in roles.items() for name, field in encoder_fields(role, model).items()},
            batch_size=options.batch,
            plan=plan,
            seed=0,
        )
        batches = list(loader.epoch(0))
        recipe = recipe_for(world, options.batch, precision=options.precision)

        def timed(task: Any) -> Any:
            trainer = Trainer(task.to(ranks.device), loader, recipe, Path(folder), ranks=ranks)
            trainer.task.train()
            order = itertools.cycle(batches)

            def run() -> float:
                wait(device)
                start = now()
                for _ in range(options.steps):
                    trainer.train_step(next(order))
                wait(device)
                return options.steps * options.batch / (now() - start)

            return run

        rates = interleave({name: timed(task) for name, task in tasks.items()}, options.rounds)
    base = rates["no teacher"]
    rows = [(name, summary(values), "samples/s") for name, values in rates.items()]
    rows += [
        (f"time of a step / without a teacher: {name}", ratio(base, values), "x")
        for name, values in rates.items()
        if values is not base
    ]
    facts |= {"student": options.student, "teacher": options.teacher, "batch": options.batch, "clock": options.clock}
    facts |= {"rounds": options.rounds, "steps a round": options.steps}
    show("a training step with and without a teacher", rows, facts, options.json)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
