"""The denoising diffusion score as a zero-shot matcher of pictures and captions (SDS-CLIP, equations 1 and 2)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from clipdistill.data.transforms import ImageView, apply
from clipdistill.errors import UserError
from clipdistill.evaluate.results import Progress

LATENTS = 4096
"""Pictures whose latents are kept: 256 MiB with Stable Diffusion's 4 x 64 x 64."""


class DiffusionScore:
    """Scores a caption by how well a diffusion model denoises the picture when it is given that caption.

    The pictures and captions of an item share n noise levels and n noise tensors, which are a function of the seed and
    the item's id: what differs between two scores of an item is the caption alone, and the order or number of items
    doesn't matter. Equal captions get equal scores, bit for bit.

    Args:
        model: a DiffusionTeacher (frozen here).
        samples: n, the paper's 50.
        batch_size: denoisings at once.
        t_range, t_spread: noise levels as shares of all steps: `even` takes the middles of n equal parts (Diffusion
            Classifier, 2023), `uniform` draws them.
        seed: of the draws.
    """

    def __init__(
        self, model: Any, *, samples: int = 50, batch_size: int = 32, t_range: tuple[float, float] = (0.0, 1.0),
        t_spread: Literal["even", "uniform"] = "even", seed: int = 0, device: str | torch.device | None = None,
    ) -> None:  # fmt: skip
        if samples < 1 or batch_size < 1 or not 0 <= t_range[0] < t_range[1] <= 1:
            raise UserError(
                f"diffusion score: samples {samples}, batch_size {batch_size} and t_range {t_range} must be positive, "
                "the range within 0 and 1"
            )
        self.model = model.freeze() if device is None else model.freeze().to(device)
        self.name: str = model.name
        self.samples, self.batch_size, self.t_range = samples, batch_size, t_range
        self.t_spread, self.seed = t_spread, seed
        self._view = ImageView.from_preprocess(model.preprocess)
        self._latents: OrderedDict[Any, tuple[Any, Tensor]] = OrderedDict()

    def scores(self, groups: Sequence[Any], progress: Progress | None = None) -> list[Tensor]:
        """Score every picture of each group with every caption of it.

        Args:
            groups: objects with `images` (ImageRefs, or callables that give a PIL picture), `captions` and `id`.

        Returns:
            For each group -d(x, c), float32 [n_images, n_captions] on the CPU: higher is better.
        """
        found = []
        for done, group in enumerate(groups, 1):
            found.append(self.score(group.images, list(group.captions), str(group.id)))
            if progress:
                progress("diffusion score", done, len(groups))
        return found

    def score(self, images: Sequence[Any], captions: Sequence[str], item: str = "") -> Tensor:
        """-d(x, c) of every picture with every caption, float32 [n_images, n_captions]; draws are those of `item`."""
        latents = torch.cat([self._latent(image) for image in images])
        return -self.errors(latents, captions, item)

    def errors(self, latents: Tensor, captions: Sequence[str], item: str = "") -> Tensor:
        """d(x, c) at latents [I, c, h, w], the mean over samples and elements: float32 [I, len(captions)]."""
        model = self.model
        different = list(dict.fromkeys(captions))
        shape = (len(latents), len(different), self.samples)
        jobs = torch.cartesian_prod(*(torch.arange(size) for size in shape)).view(-1, 3)
        t, noise = self._draws(item)
        t, noise = t.to(latents.device), noise.to(latents)
        found = torch.empty(len(jobs))
        cuda = latents.device.type == "cuda"
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            condition = model.encode_text(different)
            for start in range(0, len(jobs), self.batch_size):
                image, caption, sample = jobs[start : start + self.batch_size].to(latents.device).unbind(1)
                x, eps, times = latents[image], noise[sample], t[sample]
                given = model.predict_noise(model.noised(x, eps, times), times, condition[caption])
                squares = (given.double() - eps.double()).square().flatten(1).mean(1)
                found[start : start + self.batch_size] = squares.float().cpu()
        places = torch.tensor([different.index(caption) for caption in captions])
        return found.view(shape).mean(2)[:, places]

    def _draws(self, item: str) -> tuple[Tensor, Tensor]:
        """The item's noise levels int64 [n] and noise float32 [n, c, h, w]."""
        digest = hashlib.sha256(f"{self.seed}\0{item}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        low, high = (share * self.model.steps for share in self.t_range)
        if self.t_spread == "even":
            at = (torch.arange(self.samples, dtype=torch.float64) + 0.5) / self.samples
        else:
            at = torch.rand(self.samples, generator=generator, dtype=torch.float64)
        t = (low + at * (high - low)).long().clamp(max=self.model.steps - 1)
        return t, torch.randn(self.samples, *self.model.latent_shape, generator=generator)

    def _latent(self, image: Any) -> Tensor:
        """[1, c, h, w]; kept, for benchmarks ask about the same picture many times."""
        key = _key(image)
        if key in self._latents:
            self._latents.move_to_end(key)
            return self._latents[key][1]
        picture = image.open() if hasattr(image, "open") else image() if callable(image) else image
        pixels = apply(picture.convert("RGB"), None, self._view)
        latents: Tensor = self.model.latents(pixels[None])
        # The image is kept beside its latent, so that an id that serves as key can't be given to another object.
        self._latents[key] = (image, latents)
        if len(self._latents) > LATENTS:
            self._latents.popitem(last=False)
        return latents


def _key(image: Any) -> Any:
    """Equal for references to the same bytes of the same file; else the object itself."""
    where = getattr(image, "_where", None)
    return (where, image._offset, image._size) if isinstance(where, str) else id(image)
