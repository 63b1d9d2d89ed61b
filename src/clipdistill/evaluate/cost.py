"""What a model costs: parameters of each tower, FLOPs of one picture-text pair, pictures a second."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from clipdistill.evaluate.embed import inference


def model_cost(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 32, repeats: int = 5
) -> dict[str, float]:
    """Measure a DualEncoder.

    Returns:
        `parameters` (all), `image_parameters`, `text_parameters`, `flops_per_pair` (forward, one picture and one text,
        multiply and add counted as two) and `images_per_second` (the median of `repeats` batches after one to warm up;
        it holds for this machine only).
    """
    from clipdistill.models.measures import flops_per_pair, parameter_counts

    model.to(device)
    counts = parameter_counts(model)
    return {
        "parameters": counts["total"],
        "image_parameters": counts["image"],
        "text_parameters": counts["text"],
        "flops_per_pair": flops_per_pair(model),
        "images_per_second": images_per_second(model, device=device, batch_size=batch_size, repeats=repeats),
    }


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
        `flops_per_pair` (forward) and `images_per_second`: pictures each with a text, since none is embedded alone;
        the median of `repeats` batches after one to warm up.
    """
    from clipdistill.models.fusion.measures import example, flops, parameter_counts, run_example

    model.to(device)
    counts = parameter_counts(model)
    pairs = {name: value.to(device) for name, value in example(model, batch_size).items()}
    seconds = []
    with inference(model, device):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            run_example(model, pairs).float().sum().item()  # .item() waits for the device
            seconds.append(time.perf_counter() - start)
    return {
        "parameters": counts["total"],
        "image_parameters": counts["image"],
        "text_parameters": counts["text"],
        "flops_per_pair": flops(model),
        "images_per_second": batch_size / statistics.median(seconds[1:]),
    }


def images_per_second(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 32, repeats: int = 5
) -> float:
    """Return how many pictures a second the image tower embeds, decoding not counted."""
    size = model.preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.zeros(batch_size, 3, height, width, dtype=torch.uint8, device=device)
    seconds = []
    with inference(model, device):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model.encode_image(pixels).float().sum().item()  # .item() waits for the device
            seconds.append(time.perf_counter() - start)
    return batch_size / statistics.median(seconds[1:])


def vlm_cost(
    model: Any, *, device: str | torch.device = "cpu", batch_size: int = 16, repeats: int = 3
) -> dict[str, float]:
    """Measure a VLM.

    Returns:
        `parameters` (all, a shared matrix once), `image_parameters` (the tower), `text_parameters` (the language model;
        the connector is neither side's), `flops_per_pair` (forward, a picture with a question of 16 tokens) and
        `images_per_second` of the tower, the median of `repeats` batches after one to warm up.
    """
    from clipdistill.models.measures import counted_flops

    model.to(device)
    parts = {"parameters": model, "image_parameters": model.tower, "connector": model.connector}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    connector = counts.pop("connector")
    height, width = model.preprocess["size"]
    pixels = torch.zeros(batch_size, 3, height, width, dtype=torch.uint8, device=device)
    shown = [model.coder.image_id] * model.image_tokens
    ids = torch.tensor([shown + [model.tokenizer.eos_token_id] * 16], device=device)
    labels = torch.full_like(ids, -100)
    labels[0, -1] = ids[0, -1]
    seconds = []
    with inference(model, device):
        with counted_flops() as counter:
            model.token_losses(ids, torch.ones_like(ids).bool(), labels, model.see(pixels[:1]))
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model.see(pixels).float().sum().item()  # .item() waits for the device
            seconds.append(time.perf_counter() - start)
    return {
        **counts,
        "text_parameters": counts["parameters"] - counts["image_parameters"] - connector,
        "flops_per_pair": int(counter.get_total_flops()),
        "images_per_second": batch_size / statistics.median(seconds[1:]),
    }
