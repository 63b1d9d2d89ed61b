"""Print what small runs of each method end in, so that two versions of the code can be compared to the bit.

    python scripts/fingerprint_runs.py OUT            # all of them, some ten minutes on two cores
    python scripts/fingerprint_runs.py OUT dclip sds  # some of them

A line a run: a hash of the exported weights, one of the evaluation's numbers, one of the losses as logged, rounded to
five digits (a sum taken in another order may move the last bits of a logged loss without moving a weight). A change of
the structure leaves all lines as they were: run it before and after, with the same number of threads, and compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors import safe_open

SMALL_WORLD = ["petri.images=640", "petri.val=16", "petri.test=100"]
RUNS: dict[str, list[str]] = {
    "clip_kd": ["petri/quickstart", *SMALL_WORLD, "train.epochs=2", "train.checkpoint_every=3"],
    "clip_kd_live": [
        "petri/clip_kd/all_terms", *SMALL_WORLD, "data.train.0.path={world}/dataset_petri.json", "train.epochs=1",
        "teachers=[{{model: petri-teacher-small}}]", "train.batch_size=64", "train.micro_batch=16", "evaluate=[]",
        "task.weights.gd=1.0e8", "data.augment={{views: null, crop_scale: [0.8, 1.0]}}", "data.hard_negatives=1",
        "compare=[]", "paper=null",
    ],
    "dclip": [
        "petri/dclip", *SMALL_WORLD, "student.model=petri-teacher-small", "train.epochs=1", "train.batch_size=64",
        "teachers.0.meta.train.epochs=2", "teachers.0.meta.train.batch_size=64", "regions.store={out}/regions",
        "regions.crop=centre",
        "train.checkpoint_every=3",
        "data.train.0.boxes={world}/annotations/detections_train.json",
        "data.train.0.categories={world}/annotations/instances_train.json",
    ],
    "sds": [
        "petri/sds_clip", *SMALL_WORLD, "petri.compositional=12", "student.model=petri-teacher-small",
        "train.batch_size=64", "evaluate.1.data={world}", "evaluate.1.samples=1",
    ],
    "diffusion": [
        "petri/diffusion_teacher", *SMALL_WORLD, "petri.compositional=12", "train.max_steps=4", "train.epochs=1",
        "evaluate=[]", "compare=[]",
    ],
}  # fmt: skip
STOPPED = {"clip_kd": "clip_kd stopped", "dclip": "dclip stopped"}


def command(name: str, out: Path, run: Path) -> list[str]:
    """The command line of a run; its world lies in `out/NAME-world`."""
    world = out / f"{name}-world"
    recipe, *overrides = (part.format(world=world, out=out / name) for part in RUNS[name])
    own = [f"petri.path={world}", f"data.train.0.path={world}/dataset_petri.json"]
    if name == "clip_kd":
        own.append(f"teachers.0.store={out / name}-store")
    return [sys.executable, "-m", "clipdistill.cli", "train", recipe, *own, *overrides, "--out", str(run)]


def finish(arguments: list[str], stop_in: Path | None = None) -> None:
    """Run to the end; with `stop_in`, stopped by a signal once that folder holds a checkpoint, then taken up again."""
    if stop_in is None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(stop_in.glob("checkpoints/*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait()
    subprocess.run([*arguments, "--resume"], check=True, stdout=subprocess.DEVNULL)


def fingerprint(run: Path) -> str:
    """Hashes of weights, numbers and losses."""
    weights, numbers, losses = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    files = sorted([*run.glob("student/open_clip_model.safetensors"), *run.glob("student/*/*.safetensors")])
    files += sorted(run.glob("control/student/open_clip_model.safetensors"))
    for path in files:
        with safe_open(path, "pt") as stored:
            for key in sorted(stored.keys()):
                weights.update(key.encode() + stored.get_tensor(key).numpy().tobytes())
    evaluation = run / "evaluation.json"
    if evaluation.is_file():
        for role, model in sorted(json.loads(evaluation.read_text())["models"].items()):
            found = sorted((r["evaluator"], r["data"], sorted(r["metrics"].items())) for r in model["results"])
            numbers.update(repr((role, found)).encode())
    for line in (run / "metrics.jsonl").read_text().splitlines():
        kept = {key: f"{value:.5g}" for key, value in json.loads(line).items() if key.startswith("loss")}
        losses.update(repr(sorted(kept.items())).encode())
    return "  ".join(f"{what} {each.hexdigest()[:16]}" for what, each in
                     (("weights", weights), ("numbers", numbers), ("losses", losses)))  # fmt: skip


def main() -> None:
    """Make the runs that aren't there yet and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *RUNS], default=[])
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for name in given.names or RUNS:
        run = out / name
        if not (run / "student").is_dir():
            finish(command(name, out, run))
        print(f"{name:16}  {fingerprint(run)}", flush=True)
        if name in STOPPED:
            again = out / f"{name}-stopped"
            if not (again / "student").is_dir():
                finish(command(name, out, again), again)
            print(f"{STOPPED[name]:16}  {fingerprint(again)}", flush=True)


if __name__ == "__main__":
    main()
