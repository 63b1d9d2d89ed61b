"""Can the regions of a petri world be read: linear probes on features of crops and of each map. See `--help`.

A model of regions learns of a thing what a linear probe finds in its features. The probes name shape and colour of the
things under the true boxes; trained on a world's training pictures, measured on its test pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, machine

from clipdistill.data import Mixture, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.evaluate.region_probes import probe_regions
from clipdistill.models import load_model
from clipdistill.petri import write_world
from clipdistill.petri.vocabulary import COLOURS, SHAPES
from clipdistill.stores.region_cache import write_regions
from clipdistill.stores.region_crops import Crops
from clipdistill.stores.region_maps import MapRegions

MOST = 4
"""Things in a scene."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="petri-teacher-small")
    parser.add_argument("--images", type=int, default=2000, help="training pictures of the world")
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7, help="of the world; another one than the model saw")
    parser.add_argument("--bins", type=int, nargs="+", default=[2])
    parser.add_argument("--pad", type=float, nargs="+", default=[1.1])
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = Ranks.current().device
    model, now = load_model(options.model, device).eval(), clock("cpu")
    makers: dict[str, Any] = {"crops": lambda: Crops(model, device, None, 0.0, MOST)}
    for level in model.map_levels():
        for bins in options.bins:
            for pad in options.pad:
                how = (level.number, bins, pad)
                makers[f"map {level}, {bins} x {bins}, x {pad:g}"] = lambda how=how: MapRegions(
                    model, device, None, 0.0, MOST, *how
                )
    figures: dict[str, Any] = {**machine(str(device)), "model": options.model}
    with named_world(options) as mixtures:
        for name, make in makers.items():
            maker, stores, start = make(), [], now()
            with tempfile.TemporaryDirectory() as folder:
                for split, mixture in mixtures.items():
                    stores.append(write_regions(maker, mixture, Path(folder) / split))
                seconds = now() - start
                found = probe_regions(*stores, {"shape": SHAPES, "colour": COLOURS})
            figures[name] = {
                "width": maker.width, "store, s": seconds,
                **{f"{one}, %": 100 * each["accuracy"] for one, each in found.items()},
                "regions": [found["shape"]["train"], found["shape"]["test"]],
            }  # fmt: skip
            told = "   ".join(f"{key} {value:,.1f}" for key, value in figures[name].items() if key != "regions")
            print(f"{name:36} {told}", flush=True)
    text = json.dumps(figures)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


@contextmanager
def named_world(options: argparse.Namespace) -> Iterator[dict[str, Mixture]]:
    """Training and test pictures of a world, whose boxes are called by colour and shape, such as "red star"."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_world(
            world, images=options.images, val=1, test=options.test, seed=options.seed, image_size=options.image_size,
            formats=("karpathy", "coco"),
        )  # fmt: skip
        mixtures = {}
        for split in ("train", "test"):
            boxes = world / "annotations" / f"instances_{split}.json"
            content = json.loads(boxes.read_text())
            shapes = {each["id"]: each["name"] for each in content["categories"]}
            names = {(colour, shape): k for k, (colour, shape) in enumerate((c, s) for c in COLOURS for s in SHAPES)}
            for each in content["annotations"]:
                each["category_id"] = names[each["attributes"]["color"], shapes[each["category_id"]]]
            content["categories"] = [{"id": k, "name": " ".join(name)} for name, k in names.items()]
            boxes.write_text(json.dumps(content))
            spec = {"format": "karpathy", "path": str(world / "dataset_petri.json"), "split": split}
            mixtures[split] = Mixture([(open_source({**spec, "boxes": str(boxes)}), None)])
        yield mixtures


if __name__ == "__main__":
    main()
