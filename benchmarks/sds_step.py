"""What a step of SDS-CLIP costs, and that the frozen UNet costs no weight gradients. See `--help`.

The full size is the paper's: ViT-B/16 and the UNet of Stable Diffusion v1 (860M parameters), both with random weights,
which cost the same. With a GPU it runs at UNet batches 8 and 32, with and without activation checkpointing; on a CPU at
batch 1. `--small` takes the petri world's sizes. Each line is a step with the UNet frozen, as it trains; `--thaw` adds
the same step with weight gradients, the peer that shows what freezing saves.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import machine, peak_mb, show, summary, wait

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.models import create_model
from clipdistill.models.diffusion import DiffusionTeacher, create_diffusion
from clipdistill.tasks.sds_clip import SDSCLIP


def stable_diffusion_v1(dtype: torch.dtype, device: str) -> DiffusionTeacher:
    """Stable Diffusion v1's UNet and text encoder by their configurations, weights random, and no VAE's weights."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    # Made on the device and in the dtype: 860M weights in float32 on the way would double the peak.
    old = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            unet = UNet2DConditionModel(
                sample_size=64, in_channels=4, out_channels=4, cross_attention_dim=768, attention_head_dim=8
            )
            text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        with torch.device("meta"):  # the step never encodes a picture into latents
            vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), latent_channels=4)
    finally:
        torch.set_default_dtype(old)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    inner = create_diffusion("petri-diffusion", 0).tokenizer.inner
    inner.model_max_length = 77
    model = DiffusionTeacher(unet, text, inner, scheduler, vae, name="Stable Diffusion v1's shape")
    model.vae = None
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="petri sizes instead of ViT-B/16 and Stable Diffusion's")
    parser.add_argument("--unet-batch", type=int, nargs="+", help="none = 8 and 32 on a GPU, 1 on a CPU")
    parser.add_argument("--batch", type=int, help="contrastive batch; none = the UNet's")
    parser.add_argument("--micro", type=int, help="micro-batch of the encoders; none = the UNet's batch")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--thaw", action="store_true", help="measure with the UNet's weight gradients too")
    parser.add_argument("--fp32", action="store_true", help="float32 on a GPU too; bf16 is the default there")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    device = str(Ranks.current().device)
    cuda = device.startswith("cuda")
    half = cuda and not options.fp32
    dtype = torch.bfloat16 if half else torch.float32
    teacher = create_diffusion("petri-diffusion", 0) if options.small else stable_diffusion_v1(dtype, device)
    teacher.to(device).use_channels_last(cuda)
    student = create_model("petri-student" if options.small else "ViT-B-16", 0, device=device)
    torch.manual_seed(0)
    task = SDSCLIP(student, [teacher]).to(device).train()
    sizes = options.unet_batch or ([8, 32] if cuda else [1])
    rows: list[tuple[str, dict[str, float], str]] = []
    facts: dict[str, Any] = {**machine(device), "precision": "bf16" if half else "fp32", "small": options.small}

    def step(batch: dict[str, torch.Tensor], micro: int) -> float:
        wait(device)
        start = time.perf_counter()
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=half)
        backward(task, batch, Ranks.current(), micro, lambda: autocast)
        wait(device)
        seconds = time.perf_counter() - start
        task.zero_grad(set_to_none=True)
        return seconds

    for size in sizes:
        total = options.batch or size
        micro = min(options.micro or size, total)
        task.settings.sds_fraction = min(1.0, size / micro)
        texts = [f"a red circle and {number}" for number in range(total)]
        batch = {
            "image/student": torch.zeros(total, 3, *student.preprocess["size"], dtype=torch.uint8, device=device),
            "text/student": student.tokenizer(texts).to(device),
            "text/teacher0": teacher.tokenizer(texts).to(device),
        }
        for thawed in (False, True) if options.thaw else (False,):
            for checkpointing in (False, True):
                teacher.freeze()
                teacher.unet.requires_grad_(thawed)
                teacher.set_grad_checkpointing(checkpointing)
                if cuda:
                    torch.cuda.reset_peak_memory_stats()
                name = f"UNet batch {size}{', checkpointing' if checkpointing else ''}{', thawed' if thawed else ''}"
                try:
                    step(batch, micro)  # warms up, and encodes the captions
                    seconds = [step(batch, micro) for _ in range(options.steps)]
                except torch.cuda.OutOfMemoryError:
                    rows.append((f"{name}: out of memory", summary([float("nan")]), "s"))
                    task.zero_grad(set_to_none=True)
                    torch.cuda.empty_cache()
                    continue
                note_gradients(teacher, thawed, facts, name)
                rows.append((f"{name}: a step", summary(seconds), "s"))
                rows.append(
                    (f"{name}: peak memory{'' if cuda else ' of the process so far'}", summary([peak_mb(device)]), "MB")
                )
                teacher.unet.zero_grad(set_to_none=True)
    facts |= {
        "contrastive batch": options.batch or sizes,
        "micro-batch": options.micro or sizes,
        "steps": options.steps,
    }
    show("a step of SDS-CLIP (random weights)", rows, facts, options.json)


def note_gradients(teacher: DiffusionTeacher, thawed: bool, facts: dict[str, Any], name: str) -> None:
    """Note the bytes of gradient that the UNet holds after a backward pass; frozen, they must be none."""
    held = sum(p.grad.nbytes for p in teacher.parameters() if p.grad is not None)
    assert thawed or held == 0, f"{name}: the frozen UNet holds {held:,} bytes of gradients"
    facts[f"{name}: weight gradients of the UNet, MB"] = round(held / 2**20, 1)


if __name__ == "__main__":
    main()
