"""How many times slower the diffusion score is than CLIP as a matcher. See `--help`.

Both match the same pictures with two captions each, as in Winoground: two pictures and two captions an item. SDS-CLIP
says 18 times for Stable Diffusion v1-4 with 50 samples (figure 1). Weights are random unless models are named.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from measuring import interleave, machine, ratio, show, summary, wait

from clipdistill.data import ImageRef, ImageView, apply
from clipdistill.evaluate.compositional import Group
from clipdistill.evaluate.diffusion_score import DiffusionScore
from clipdistill.models import load_model
from clipdistill.models.diffusion import NAMED, create_diffusion, load_diffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffusion", default="petri-diffusion", help="a name, a pipeline folder or a hub name")
    parser.add_argument("--clip", default="petri-student", help="a model by any of its names")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32, help="denoisings at once")
    parser.add_argument("--items", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make = create_diffusion if options.diffusion in NAMED else load_diffusion
    diffusion = make(options.diffusion, device=device)
    clip = load_model(options.clip, device=device)
    view = ImageView.from_preprocess(clip.preprocess)
    draw = np.random.default_rng(0)

    def items() -> list[Group]:
        def picture() -> ImageRef:
            return ImageRef.from_array(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8))

        captions = ("a red circle left of a blue square", "a blue square left of a red circle")
        return [Group((picture(), picture()), captions, id=str(i)) for i in range(options.items)]

    def by_diffusion() -> float:
        groups, score = items(), DiffusionScore(diffusion, samples=options.samples, batch_size=options.batch)
        wait(device)
        start = time.perf_counter()
        score.scores(groups)
        return (time.perf_counter() - start) / options.items

    @torch.inference_mode()
    def by_clip() -> float:
        groups = items()
        wait(device)
        start = time.perf_counter()
        pixels = torch.stack([apply(image.open(), None, view) for group in groups for image in group.images])
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            images = clip.encode_image(pixels.to(device))
            texts = clip.encode_text(clip.tokenizer([c for group in groups for c in group.captions]).to(device))
            (images @ texts.T).cpu()
        return (time.perf_counter() - start) / options.items

    seconds = interleave({"diffusion score": by_diffusion, "CLIP": by_clip}, options.rounds)
    rows = [(f"{name}: an item", summary(values), "s") for name, values in seconds.items()]
    rows.append(("diffusion score / CLIP", ratio(seconds["diffusion score"], seconds["CLIP"]), "x"))
    facts = {**machine(device), "diffusion": options.diffusion, "clip": options.clip, "samples": options.samples}
    show("the diffusion score beside CLIP", rows, {**facts, "items": options.items}, options.json)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
