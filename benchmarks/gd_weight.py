"""What weight gradient distillation (GD) needs to pull as hard as CLIP-KD's other terms. See `--help`.

A student trains for some steps on a small petri world with CLIP-KD's task + CRD + FD + ICL. At several of them the
gradient of each term is taken at the student's embeddings (of all pictures and texts of a batch) and its norm compared
with that of GD at weight 1: the ratio is the weight at which GD pulls as hard as the term. Nothing is timed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import small_world
from torch import Tensor, nn

from clipdistill.data import ImageView, Mixture, evaluation_batches, open_source
from clipdistill.models import create_model, load_model
from clipdistill.objectives import crd, fd, gd, icl, info_nce

WEIGHTS = {"task": 1.0, "crd": 1.0, "fd": 2000.0, "icl": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="petri-tiny-student", help="starts from random weights")
    parser.add_argument("--teacher", default="petri-teacher-small")
    parser.add_argument("--teacher-scale", type=float, help="logit scale of the teacher; none = its own")
    parser.add_argument("--width", type=int, help="turn the teacher's embeddings into a wider space, cosines kept")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128, help="pairs of a training step")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="pairs measured on")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 50, 200], help="after which it is measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    student, teacher = create_model(options.student, options.seed), load_model(options.teacher)
    pixels, tokens, taught = tuples(options, student, teacher)
    scale = options.teacher_scale or teacher.logit_scale.item()
    width = taught[0].shape[1]
    same = student.embed_dim == width
    maps = nn.ModuleList(nn.Identity() if same else nn.Linear(student.embed_dim, width) for _ in range(2))
    icl_scale = nn.Parameter(student.logit_scale.detach().log().clone())

    def terms(image: Tensor, text: Tensor, rows: Tensor) -> dict[str, Tensor]:
        mine, theirs = (maps[0](image), maps[1](text)), (taught[0][rows], taught[1][rows])
        s = student.logit_scale
        return {
            "task": info_nce(image, text, s),
            "crd": crd(image, text, s, *theirs, scale),
            "fd": fd(mine[0], theirs[0]).mean() + fd(mine[1], theirs[1]).mean(),
            "icl": icl(*mine, *theirs, icl_scale.exp()),
            "gd": gd(*mine, s, *theirs, scale),
        }

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        return student.encode_image(pixels[rows]), student.encode_text(tokens[rows])

    optimizer = torch.optim.AdamW([*student.parameters(), *maps.parameters(), icl_scale], lr=1.5e-3, weight_decay=0.1)
    rows_of = torch.Generator().manual_seed(options.seed)
    print(f"{options.student} from {options.teacher}, width {width}, teacher's scale {scale:.1f}")
    print("step  pairs  scale |" + "".join(f"{name:>11}" for name in WEIGHTS) + " |  weight of gd that equals each")
    for step in range(max(options.steps) + 1):
        if step in options.steps:
            for pairs in options.batches:
                rows = torch.arange(pairs)
                with torch.no_grad():
                    parts = [encode(part) for part in rows.split(128)]
                features = tuple(torch.cat(tower).requires_grad_() for tower in zip(*parts, strict=True))
                losses = terms(*features, rows)
                norms = {name: norm(loss, features) * WEIGHTS.get(name, 1.0) for name, loss in losses.items()}
                wanted = {name: norms[name] / norms["gd"] for name in WEIGHTS}
                line = "".join(f"{norms[name]:11.4g}" for name in WEIGHTS)
                line += " |" + "".join(f"{value:11.3g}" for value in wanted.values())
                print(f"{step:4d}  {pairs:5d}  {student.logit_scale.item():5.1f} |{line}", flush=True)
        rows = torch.randperm(len(pixels), generator=rows_of)[: options.batch]
        if step < max(options.steps):
            losses = terms(*encode(rows), rows)
            optimizer.zero_grad()
            sum(WEIGHTS[name] * losses[name] for name in WEIGHTS).backward()  # type: ignore[union-attr]
            optimizer.step()


def norm(loss: Tensor, features: tuple[Tensor, ...]) -> float:
    """The norm of the loss's gradient at all embeddings of the batch together."""
    gradients = torch.autograd.grad(loss, features, retain_graph=True)
    return float(torch.stack([gradient.norm() for gradient in gradients]).norm())


def tuples(
    options: argparse.Namespace, student: nn.Module, teacher: nn.Module
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Pictures and first captions as the student takes them, and the teacher's unit embeddings of both."""
    view = ImageView.from_preprocess(student.preprocess)  # type: ignore[arg-type]
    seen = ImageView.from_preprocess(teacher.preprocess)  # type: ignore[arg-type]
    with small_world(options.images, max(*view.size, *seen.size)) as world:
        mixture = Mixture([(open_source(f"karpathy:{world / 'dataset_petri.json'}@train"), None)])
        pixels = torch.cat([one["image/model"] for one in evaluation_batches(mixture, view, 256)])
        captions = [mixture[row].captions[0] for row in range(len(mixture))]
        with torch.inference_mode():
            images = [teacher.encode_image(one["image/model"]) for one in evaluation_batches(mixture, seen, 256)]
            texts = [teacher.encode_text(part) for part in teacher.tokenizer(captions).split(256)]  # type: ignore
    pair = tuple(nn.functional.normalize(torch.cat(parts), dim=1).clone() for parts in (images, texts))
    if options.width is not None:
        turn = nn.init.orthogonal_(torch.empty(options.width, pair[0].shape[1]))
        pair = tuple(one @ turn.T for one in pair)
    return pixels, student.tokenizer(captions), pair  # type: ignore[return-value,operator]


if __name__ == "__main__":
    main()
