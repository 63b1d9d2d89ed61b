"""Put a petri model that a run has trained into the package: weights in half precision, with where they come from.

    clipdistill train petri/teacher --out runs/petri-teacher
    python scripts/ship_teacher.py runs/petri-teacher petri-teacher

`provenance.json` holds the recipe as resolved, the seed, the world, the versions, and the metrics of the weights as
they are shipped (rounded to half precision), measured again on what the run's world holds out: its test pictures, for
a diffusion model its compositional split, for a pretrained fusion model the captions of its val split.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.export import save_student
from clipdistill.files import write_json
from clipdistill.models import fingerprint, load_model
from clipdistill.models.diffusion import is_diffusion, load_diffusion
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.measures import fingerprint as fusion_fingerprint
from clipdistill.models.fusion.saving import is_fusion, load_fusion, save_fusion
from clipdistill.models.loading import WEIGHTS_FOLDER
from clipdistill.recipe import RegionSpec
from clipdistill.runs.evaluation import evaluate_model
from clipdistill.runs.regions import region_maker
from clipdistill.stores.region_cache import write_regions
from clipdistill.tasks.fusion_pretraining import FusionPretraining

KEPT = ("open_clip_config.json", "open_clip_model.safetensors")  # the tokenizer ships once, beside the weights


def ship(run: Path, name: str) -> Path:
    """Write `models/petri_weights/<name>/` and return it."""
    folder = WEIGHTS_FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    if is_fusion(run):
        model = load_fusion(run)
        model.name = name
        save_fusion(model, folder, torch.float16)
    elif is_diffusion(run):
        write_diffusion(run, folder)
    else:
        write_clip(run, name, folder)
    describe(run, name, folder)
    return folder


def write_clip(run: Path, name: str, folder: Path) -> None:
    """A DualEncoder in open_clip's layout."""
    model = load_model(run)
    model.name = name
    for path in save_student(model, folder, dtype=torch.float16):
        if path.name not in KEPT:
            path.unlink()


def write_diffusion(run: Path, folder: Path) -> None:
    """A diffusion model in diffusers' layout; opened again, its weights are float32."""
    load_diffusion(run, dtype=torch.float16).save(folder)


def describe(run: Path, name: str, folder: Path) -> None:
    """Write `provenance.json`: how the weights were made, and how good they are as shipped."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    environment = json.loads((run / "environment.json").read_text())
    environment.pop("command")
    world = Path(recipe["petri"]["path"])
    if is_fusion(folder):
        measured = captions_measured(folder, recipe)
        print_of = fusion_fingerprint(load_fusion(folder))
    elif is_diffusion(folder):
        options = {key: value for key, value in recipe["evaluate"][0].items() if key in ("samples", "t_range")}
        measured = evaluate_model(folder, "compositional", str(world), options=options)
        print_of = digest(folder)
    else:
        measured = evaluate_model(folder, "petri", str(world))
        print_of = fingerprint(load_model(folder))
    for result in measured["results"]:
        result.pop("artifacts", None)
    settings = json.loads((world / "world.json").read_text())
    recipe["petri"]["path"] = None  # where the world lay doesn't matter
    for part in [*recipe["data"]["train"], *([recipe["regions"]] if recipe.get("regions") else [])]:
        part["store" if "provider" in part else "path"] = None
    for suite in recipe["evaluate"]:
        suite["data"] = None
    write_json(
        folder / "provenance.json",
        {
            "made_by": f"clipdistill train {recipe['name']} --out RUN, then scripts/ship_teacher.py RUN {name}",
            "fingerprint": print_of,
            "parameters": measured["parameters"],
            "held_out": {r["data"]: {"n": r["n"], **r["metrics"]} for r in measured["results"]},
            "environment": environment,
            "world": settings,
            "recipe": recipe,
        },
    )


def captions_measured(folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """How many masked words a pretrained fusion model finds, and how often it tells whether a caption was changed."""
    model, spec = load_fusion(folder), RegionSpec.model_validate(recipe["regions"])
    sources = [open_source({**part, "split": "val"}) for part in recipe["data"]["train"]]
    data = Mixture([(source, None) for source in sources])
    device = torch.device("cpu")
    maker = region_maker(spec, load_model(spec.model.model if spec.model else ""), device)
    data.regions = write_regions(maker, data, Path(f"{spec.store}-val"))
    method = dict(recipe["task"])
    del method["method"]
    task = FusionPretraining(model, weights=method.pop("weights"), options=method)
    right: dict[str, list[Tensor]] = {"masked_words": [], "matching": []}
    size = max(size for size in range(1, 257) if len(data) % size == 0)
    loader = Loader(data, task.fields(data), batch_size=size, plan=AugmentPlan(), seed=0, shuffle=False)
    with torch.inference_mode():
        for batch in loader.epoch(0):
            wanted, pairs = batch["masked/wanted"], fusion_inputs(batch, "matched")
            masked = fusion_inputs(batch, "masked")
            words = model.scores("words", model(masked), masked, wanted >= 0).argmax(dim=1)
            right["masked_words"].append(words == wanted[wanted >= 0])
            right["matching"].append(model.scores("matching", model(pairs)).argmax(dim=1) == batch["is_own"])
    metrics = {f"{name}/accuracy": torch.cat(each).float().mean().item() for name, each in right.items()}
    total = sum(value.numel() for value in model.parameters())
    return {"parameters": total, "results": [{"data": "captions/val", "n": len(data), "metrics": metrics}]}


def digest(folder: Path) -> str:
    """Fingerprint of a diffusion model: a sha256 over its files of weights."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the finished run")
    parser.add_argument("name", help="name of the configuration that was trained, such as petri-teacher")
    arguments = parser.parse_args()
    print(ship(arguments.run, arguments.name))
