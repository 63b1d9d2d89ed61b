"""Writing a TeacherStore against the teacher's bare forward pass over the same inputs. See `--help`.

The forward pass has its pictures and tokens in memory before the clock starts; writing the store reads and decodes
the pictures, tokenises the captions, encodes both, normalises, and syncs every block to the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, interleave, machine, ratio, show, small_world, summary, wait

from clipdistill.data import AugmentPlan, ImageView, Mixture, evaluation_batches, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.models import create_model
from clipdistill.stores import cache_teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="petri-teacher", help="random weights: they cost the same")
    parser.add_argument("--images", type=int, default=512, help="with five captions each")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    now, device = clock(options.clock), str(Ranks.current().device)
    facts = machine(device)
    teacher = create_model(options.teacher, 0, device=device)
    view = ImageView.from_preprocess(teacher.preprocess)
    with small_world(options.images, max(view.size)) as world, tempfile.TemporaryDirectory() as folder:
        mixture = Mixture([(open_source(f"karpathy:{world / 'dataset_petri.json'}@train"), None)])
        pixels = [b["image/model"].to(device) for b in evaluation_batches(mixture, view, options.batch)]
        captions = [caption for i in range(len(mixture)) for caption in mixture[i].captions]
        tokens = teacher.tokenizer(captions).to(device).split(options.batch)
        written = 0

        def caching() -> float:
            nonlocal written
            written += 1
            start = now()
            path = Path(folder) / f"store-{written}"
            cache_teacher(
                teacher, mixture, AugmentPlan(), path, batch_size=options.batch, workers=options.workers, device=device
            )
            wait(device)
            return now() - start

        def forward() -> float:
            start = now()
            with torch.inference_mode():
                for batch in pixels:
                    teacher.encode_image(batch)
                for batch in tokens:
                    teacher.encode_text(batch)
            wait(device)
            return now() - start

        seconds = interleave({"writing the store": caching, "bare forward pass": forward}, options.rounds)
    cost, bare = seconds.values()
    rows = [(name, summary(values), "s") for name, values in seconds.items()]
    rows.append(("time of writing the store / of the bare forward pass", ratio(cost, bare), "x"))
    facts |= {"teacher": options.teacher, "images": options.images, "captions": len(captions), "clock": options.clock}
    show("writing a teacher store", rows, facts | {"batch": options.batch, "rounds": options.rounds}, options.json)


if __name__ == "__main__":
    main()
