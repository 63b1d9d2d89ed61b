"""What a step of a fusion model on VCR costs, at full size by default, and what a whole training would. See `--help`.

Weights are random, and so are the words and regions: they cost the same. A step is a whole one: four options of each
question read beside their regions, both questions of VCR or one, backward, clipping, AdamW. Peak memory is the
process's, so one way of training a process: with `--checkpointing` run it again. The forecast is the step's time as it
was measured here, times the steps that a pass over VCR's 212,923 training questions takes at this batch.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, machine, peak_mb, show, summary, wait

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.models.fusion import create_fusion
from clipdistill.tasks.vcr import VCR

QUESTIONS, OPTIONS = 212_923, 4
MODES = {"q2a": ("answers",), "both": ("answers", "rationales")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="uniter-base-vcr", help="a fusion configuration")
    parser.add_argument("--mode", choices=MODES, default="q2a")
    parser.add_argument("--batch", type=int, default=4, help="questions")
    parser.add_argument("--micro", type=int, help="questions encoded at once; none = all")
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--regions", type=int, default=60, help="the whole image not counted")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--checkpointing", action="store_true", help="recompute layers instead of keeping them")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    about, device, now = machine(options.device), torch.device(options.device), clock(options.clock)
    student = create_fusion(options.model, seed=0, tokenizer=False)
    if "vcr" not in student.config.heads:
        student.add_heads({"vcr": 2}, seed=0)
    if options.checkpointing:
        student.set_grad_checkpointing()
    task = VCR(student, options={"mode": options.mode}).to(device).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=6e-5, weight_decay=0.01, fused=True)
    ranks = Ranks(0, 1, device)
    plain = partial(torch.autocast, device.type, torch.bfloat16, enabled=device.type == "cuda")
    batch = made_batch(options, student, device)
    seconds, before = [], peak_mb(options.device)
    for step in range(options.steps + 1):  # the first warms up and isn't counted
        start = now()
        optimizer.zero_grad(set_to_none=True)
        backward(task, batch, ranks, options.micro, plain)
        torch.nn.utils.clip_grad_norm_(task.parameters(), 2.0)
        optimizer.step()
        wait(options.device)
        if step:
            seconds.append(now() - start)
    hours = [one * QUESTIONS / options.batch / 3600 for one in seconds]
    size = sum(one.numel() for one in student.parameters()) / 1e6
    pairs = f"{options.batch} questions x {OPTIONS} options x {options.words} words x {options.regions} regions"
    show(
        f"{options.model}: {pairs}",
        [
            ("a step", summary(seconds), "s"),
            ("questions a second", summary([options.batch / one for one in seconds]), "1/s"),
            ("forecast of a pass over VCR's training questions", summary(hours), "h"),
            ("peak memory of the process", summary([peak_mb(options.device)]), "MB"),
            ("of that before the first step", summary([before]), "MB"),
            ("parameters", summary([size]), "M"),
        ],
        {"machine": about, "settings": {k: str(v) for k, v in vars(options).items()}},
        options.json,
    )


def made_batch(options: argparse.Namespace, student: Any, device: torch.device) -> dict[str, Any]:
    """A batch as the loader gives it, of random words and regions that fill it whole."""
    draw = torch.Generator().manual_seed(0)
    rows, regions, width = options.batch, options.regions, student.config.region_width
    texts, corners = (rows, OPTIONS, options.words), torch.rand(rows, regions, 2, generator=draw) / 2
    batch: dict[str, Any] = {
        "sample": torch.arange(rows),
        "regions": torch.randn(rows, regions, width, generator=draw),
        "region_boxes": torch.cat([corners, corners + 0.5], dim=-1),
        "region_mask": torch.ones(rows, regions, dtype=torch.bool),
        "object_regions": torch.arange(regions).expand(rows, -1),
    }
    for reads in MODES[options.mode]:
        batch |= {
            f"{reads}/ids": torch.randint(5, student.config.vocabulary, texts, generator=draw),
            f"{reads}/types": torch.zeros(texts, dtype=torch.long),
            f"{reads}/mask": torch.ones(texts, dtype=torch.bool),
            f"{reads}/tags": torch.full(texts, -1),
        }
    batch |= {"answer_label": torch.arange(rows) % OPTIONS, "rationale_label": torch.arange(rows) % OPTIONS}
    return {name: value.to(device) for name, value in batch.items()}


if __name__ == "__main__":
    main()
