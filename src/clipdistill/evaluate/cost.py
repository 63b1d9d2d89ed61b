"""What a model costs: parameters of each tower, FLOPs of one picture-text pair, pictures a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from clipdistill.evaluate.embed import inference

Step = Callable[..., Any]


def model_cost(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 32, repeats: int = 5
) -> dict[str, float]:
    """Measure a DualEncoder.

    Returns:
        `parameters` (all), `image_parameters`, `text_parameters`, `flops_per_pair` (forward, one picture and one text,
        multiply and add counted as two) and, with `repeats`, `images_per_second` (the median of so many batches after
        one to warm up; it holds for this machine only).
    """
    from clipdistill.models.measures import flops_per_pair, parameter_counts

    model.to(device)
    counts = parameter_counts(model)
    return {
        "parameters": counts["total"],
        "image_parameters": counts["image"],
        "text_parameters": counts["text"],
        "flops_per_pair": flops_per_pair(model),
        **_alone(picture_step(model, device, batch_size), model, device, batch_size, repeats),
    }


def picture_step(model: Any, device: str | torch.device, batch_size: int) -> Step:
    """What embeds a batch of blank pictures with a dual encoder, decoding not counted, and waits for the device."""
    return _tower_step(model.encode_image, model.preprocess["size"], device, batch_size)


def tower_step(model: Any, device: str | torch.device, batch_size: int) -> Step:
    """The same of a VLM's image tower."""
    return _tower_step(model.see, model.preprocess["size"], device, batch_size)


def _tower_step(encode: Step, size: Any, device: str | torch.device, batch_size: int) -> Step:
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.zeros(batch_size, 3, height, width, dtype=torch.uint8, device=device)
    return lambda: encode(pixels).float().sum().item()  # .item() waits for the device


def pair_step(model: Any, device: str | torch.device, batch_size: int) -> Step:
    """What runs a fusion model on a batch of pairs of 32 words and 36 regions, and waits for the device."""
    from clipdistill.models.fusion.measures import example, run_example

    pairs = {name: value.to(device) for name, value in example(model, batch_size).items()}
    return lambda: run_example(model, pairs).float().sum().item()


def _alone(step: Step, model: Any, device: str | torch.device, batch_size: int, repeats: int) -> dict[str, float]:
    """`images_per_second` of a step, the median of `repeats` after one to warm up; nothing for no repeats."""
    if not repeats:
        return {}
    seconds = []
    with inference(model, device):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
    return {"images_per_second": batch_size / statistics.median(seconds[1:])}


def denoiser_cost(model: Any) -> dict[str, float]:
    """`parameters` of a diffusion model, `image_parameters` (UNet and VAE), `text_parameters`.

    What it costs to score depends on the number of samples; the benchmark `diffusion_score.py` measures it.
    """
    text = sum(p.numel() for p in model.text_encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    return {"parameters": total, "image_parameters": total - text, "text_parameters": text}


def fusion_cost(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 16, repeats: int = 5
) -> dict[str, float]:
    """Measure a fusion model on pairs of 32 words and 36 regions (fewer words where it has fewer positions).

    Whatever makes stored region features, a detector or CLIP's image tower, isn't counted; a CLIP-ViL's own tower is.

    Returns:
        `parameters` (all), `image_parameters` (what only regions go through), `text_parameters` (words, positions,
        types); layers, pooler and classifiers are neither side's, and an adapter on CLIP has CLIP's.
        `flops_per_pair` (forward) and, with `repeats`, `images_per_second`: pictures each with a text, since none is
        embedded alone; the median of so many batches after one to warm up.
    """
    from clipdistill.models.fusion.measures import flops, parameter_counts

    model.to(device)
    counts = parameter_counts(model)
    return {
        "parameters": counts["total"],
        "image_parameters": counts["image"],
        "text_parameters": counts["text"],
        "flops_per_pair": flops(model),
        **_alone(pair_step(model, device, batch_size), model, device, batch_size, repeats),
    }


def vlm_cost(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 16, repeats: int = 3
) -> dict[str, float]:
    """Measure a VLM.

    Returns:
        `parameters` (all, a shared matrix once), `image_parameters` (the tower), `text_parameters` (the language model;
        the connector is neither side's), `flops_per_pair` (forward, a picture with a question of 16 tokens) and, with
        `repeats`, `images_per_second` of the tower, the median of so many batches after one to warm up.
    """
    from clipdistill.models.measures import counted_flops

    model.to(device)
    parts = {"parameters": model, "image_parameters": model.tower, "connector": model.connector}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    connector = counts.pop("connector")
    height, width = model.preprocess["size"]
    pixels = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=device)
    shown = [model.coder.image_id] * model.image_tokens
    ids = torch.tensor([shown + [model.tokenizer.eos_token_id] * 16], device=device)
    labels = torch.full_like(ids, -100)
    labels[0, -1] = ids[0, -1]
    with inference(model, device), counted_flops() as counter:
        model.token_losses(ids, torch.ones_like(ids).bool(), labels, model.see(pixels))
    return {
        **counts,
        "text_parameters": counts["parameters"] - counts["image_parameters"] - connector,
        "flops_per_pair": int(counter.get_total_flops()),
        **_alone(tower_step(model, device, batch_size), model, device, batch_size, repeats),
    }
