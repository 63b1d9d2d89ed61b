"""Our retrieval metrics against CLIP_benchmark's, on the same embeddings: equal numbers, time and memory. See `--help`.

CLIP_benchmark's side is what `clip_benchmark.metrics.zeroshot_retrieval.evaluate` does once it has embeddings: the
whole score matrix, its `recall_at_k` and `batchify`, for recall@1, 5 and 10 in both directions. Ours gives MAP as well
and breaks ties against the model; the embeddings here have none, so the recalls must be equal.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from measuring import clock, interleave, machine, ratio, show, summary
from torch import Tensor
from torch.nn import functional as F

from clipdistill.evaluate import retrieval_metrics


def embeddings(images: int, captions: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [N, D], texts near their pictures [N * captions, D], and whose each text is [N * captions]."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(images, width), dim=1)
    owner = torch.arange(images).repeat_interleave(captions)
    text = F.normalize(image[owner] + 0.35 * torch.randn(len(owner), width), dim=1)
    return image, text, owner


def peer(image: Tensor, text: Tensor, owner: Tensor, batch: int) -> dict[str, float]:
    """CLIP_benchmark's recalls."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    scores = text @ image.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), owner] = True
    found = {}
    for direction, s, p in (("text_to_image", scores, positive), ("image_to_text", scores.T, positive.T)):
        for k in (1, 5, 10):
            hits = batchify(recall_at_k, s, p, batch, "cpu", k=k) > 0
            found[f"{direction}/recall@{k}"] = hits.float().mean().item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="COCO's test split has 5,000, Flickr30K's 1,000")
    parser.add_argument("--captions", type=int, default=5, help="captions a picture")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64, help="CLIP_benchmark's batch size; its default is 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    try:
        import clip_benchmark.metrics.zeroshot_retrieval  # noqa: F401
    except ImportError:
        print(
            "retrieval_metrics: clip-benchmark is not installed, so there is nothing to compare with. Its dependencies "
            "would change the locked ones; put it alone into a folder of its own:\n"
            "  python -m pip install --no-deps --target build/clip-benchmark clip-benchmark\n"
            "  PYTHONPATH=build/clip-benchmark python benchmarks/retrieval_metrics.py"
        )
        sys.exit(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    facts, now = machine("cpu"), clock(options.clock)
    image, text, owner = embeddings(options.images, options.captions, options.width)
    results: dict[str, dict[str, float]] = {}

    def run_ours() -> float:
        start = now()
        results["ours"] = retrieval_metrics(image, text, owner)
        return now() - start

    def run_peer() -> float:
        start = now()
        results["peer"] = peer(image, text, owner, options.batch)
        return now() - start

    seconds = interleave(
        {"clipdistill, recalls and MAP": run_ours, "CLIP_benchmark, recalls": run_peer}, options.rounds
    )
    mine, other = seconds.values()
    apart = max(abs(results["ours"][name] - value) for name, value in results["peer"].items())
    facts |= {
        "images": options.images, "texts": len(text), "width": options.width, "clock": options.clock,
        "rounds": options.rounds, "largest difference of a recall": apart, "recalls": results["peer"],
        "largest tensor of CLIP_benchmark, bytes": 8 * min(options.batch, options.images) * 10 * len(text),
        "largest tile of ours, bytes": 8 * min(2048, options.images) * min(2048, len(text)),
    }  # fmt: skip
    rows = [(name, summary(values), "s") for name, values in seconds.items()]
    rows.append(("time of ours / of CLIP_benchmark's", ratio(mine, other), "x"))
    show("retrieval metrics from embeddings", rows, facts, options.json)
    print(f"  recalls differ by at most {apart:.1e}: " + ", ".join(f"{k} {v:.3f}" for k, v in results["peer"].items()))


if __name__ == "__main__":
    main()
