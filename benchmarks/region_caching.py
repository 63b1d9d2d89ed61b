"""Writing a region store, with crops batched across pictures, against encoding picture by picture. See `--help`.

Both sides read the pictures from the disk, cut the same boxes (those of the data set: no detector's time is in it) and
resize the crops. The peer encodes the crops of one picture at a time, and writes nothing; the store is written whole,
and both give the same embeddings.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import numpy as np
import torch
from measuring import clock, interleave, machine, ratio, show, small_world, summary, wait

from clipdistill.data import ImageView, Mixture, open_source
from clipdistill.data.transforms import apply
from clipdistill.engine.distributed import Ranks
from clipdistill.models import create_model
from clipdistill.stores.encoder import Encoder
from clipdistill.stores.region_cache import cache_regions

STORE, SINGLE = "region store, crops of many pictures together", "picture by picture, nothing written"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="petri-teacher-small", help="such as ViT-B-32; weights are random")
    parser.add_argument("--batch", type=int, default=64, help="crops encoded at once")
    parser.add_argument("--regions", type=int, default=5, help="regions a picture, at most")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image-size", type=int, help="side of the pictures; none = twice what the model sees")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    now, device = clock(options.clock), Ranks.current().device
    facts = machine(str(device))
    model = create_model(options.model, 0, device=device).eval()
    encoder = Encoder(model, "embedding", device)
    view = replace(ImageView.from_preprocess(model.preprocess), resize_mode="squash")  # as `crop: resize` does
    size = options.image_size or 2 * max(model.preprocess["size"])
    with small_world(options.images, size, ("karpathy", "coco")) as world:
        spec = {
            "format": "karpathy", "path": str(world / "dataset_petri.json"), "split": "train",
            "boxes": str(world / "annotations" / "instances_train.json"),
        }  # fmt: skip
        mixture = Mixture([(open_source(spec), None)])
        found: dict[str, np.ndarray] = {}

        def together() -> float:
            shutil.rmtree(world / "regions", ignore_errors=True)
            start = now()
            store = cache_regions(
                model, mixture, None, world / "regions",
                max_regions=options.regions, batch_size=options.batch, device=device,
            )  # fmt: skip
            wait(str(device))
            seconds = now() - start
            assert store is not None
            features, mask = store.padded("features", np.arange(len(mixture)), options.regions)
            found[STORE] = features[mask]
            return len(mixture) / seconds

        def single() -> float:
            start = now()
            rows = []
            for row in range(len(mixture)):
                sample = mixture[row]
                image, own = sample.image.open(), sample.regions
                assert own is not None
                boxes = own.boxes[np.argsort(-own.scores, kind="stable")][: options.regions]
                crops = [image.crop(tuple(round(float(side)) for side in box)) for box in boxes]
                rows.append(encoder.image(torch.stack([apply(crop, None, view) for crop in crops]))[0])
            wait(str(device))
            seconds = now() - start
            found[SINGLE] = np.concatenate(rows)
            return len(mixture) / seconds

        rates = interleave({STORE: together, SINGLE: single}, options.rounds)
    apart = float(np.abs(found[STORE] - found[SINGLE]).max())
    rows = [(name, summary(values), "pictures/s") for name, values in rates.items()]
    rows.append(("pictures/s of the store / picture by picture", ratio(rates[STORE], rates[SINGLE]), "x"))
    facts |= {
        "model": options.model, "batch": options.batch, "pictures": options.images, "picture side": size,
        "regions a picture": round(len(found[STORE]) / options.images, 2), "clock": options.clock,
        "rounds": options.rounds, "largest difference of an embedding (half precision)": apart,
    }  # fmt: skip
    show("caching regions", rows, facts, options.json)


if __name__ == "__main__":
    main()
