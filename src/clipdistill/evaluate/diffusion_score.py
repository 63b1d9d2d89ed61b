"""The denoising diffusion score as a zero-shot matcher of pictures and captions (SDS-CLIP, equations 1 and 2)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from clipdistill.data.decode import BadImage
from clipdistill.data.transforms import ImageView, apply
from clipdistill.errors import UserError
from clipdistill.evaluate.compositional.groups import Group, Opens, require_finite
from clipdistill.evaluate.results import Progress

LATENTS = 4096
"""Pictures whose latents are kept: 256 MiB with Stable Diffusion's 4 x 64 x 64."""


class DiffusionScore:
    """Scores a caption by how well a diffusion model denoises the picture when it is given that caption.

    The pictures and captions of an item share n noise levels and n noise tensors, which are a function of the seed and
    the item's id: what differs between two scores of an item is the caption alone, and the order or number of items
    changes no more than the rounding, since a batch holds denoisings of as many items as fit. Equal captions (of equal
    tokens) and equal pictures of an item are denoised once and tie, bit for bit.

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
        if t_spread not in ("even", "uniform"):
            raise UserError(f"diffusion score: t_spread {t_spread!r} is unknown; give even or uniform")
        self.model = model.freeze() if device is None else model.freeze().to(device)
        self.name: str = model.name
        self.samples, self.batch_size, self.t_range = samples, batch_size, t_range
        self.t_spread, self.seed = t_spread, seed
        self._view = ImageView.from_preprocess(model.preprocess)
        self._latents: OrderedDict[Opens, Tensor] = OrderedDict()

    def scores(self, groups: Sequence[Group], progress: Progress | None = None) -> list[Tensor]:
        """Score every picture of each group with every caption of it.

        Args:
            groups: pictures and captions; the draws are those of a group's id.
            progress: called as `progress("denoisings", done, total)` after each batch.

        Returns:
            For each group -d(x, c), float32 [n_images, n_captions] on the CPU: higher is better.

        Raises:
            UserError: a picture that can't be read; a score that isn't finite.
        """
        sizes = [len(set(g.images)) * len(set(g.captions)) * self.samples for g in groups]
        done, total = 0, sum(sizes)
        found: list[Tensor] = [torch.empty(0)] * len(groups)
        parts: list[tuple[_Item, int, int]] = []
        room = self.batch_size
        for number, group in enumerate(groups):
            item, at = self._item(number, group), 0
            done += sizes[number] - item.size  # captions that differ as text and not as tokens
            while at < item.size:
                stop = min(item.size, at + room)
                parts.append((item, at, stop))
                room -= stop - at
                at = stop
                if room and not (number == len(groups) - 1 and at == item.size):
                    continue
                self._denoise(parts)
                done += self.batch_size - room
                for full in {id(part): part for part, _, end in parts if end == part.size}.values():
                    found[full.number] = full.scores()
                    # Now, for the items that are left may take hours.
                    require_finite(found[full.number], groups[full.number])
                parts, room = [], self.batch_size
                if progress:
                    progress("denoisings", done, total)
        return found

    def score(self, images: Sequence[Opens], captions: Sequence[str], item: str = "") -> Tensor:
        """-d(x, c) of every picture with every caption, float32 [n_images, n_captions]; draws are those of `item`."""
        return self.scores([Group(tuple(images), tuple(captions), id=item)])[0]

    def _item(self, number: int, group: Group) -> _Item:
        """What the denoisings of a group need, each different picture and caption once."""
        pictures = list(dict.fromkeys(group.images))
        latents = torch.cat([self._latent(image) for image in pictures])
        texts = list(dict.fromkeys(group.captions))
        with torch.no_grad():
            condition = self.model.encode_text(texts)
        # Equal conditions are equal captions to the model, such as two that differ in capitals alone.
        rows = condition.flatten(1)
        owner: list[int] = []
        for row in rows:
            owner.append(int((rows[: len(owner) + 1] == row).all(1).nonzero()[0]))
        kept = list(dict.fromkeys(owner))
        place = {text: kept.index(own) for text, own in zip(texts, owner, strict=True)}
        t, noise = self._draws(group.id)
        return _Item(
            number, latents, condition[kept], t.to(latents.device), noise.to(latents),
            [pictures.index(image) for image in group.images], [place[text] for text in group.captions],
        )  # fmt: skip

    def _denoise(self, parts: Sequence[tuple[_Item, int, int]]) -> None:
        """Put the errors of some denoisings, of one item or of several, into their items."""
        model = self.model
        given = [item.inputs(start, stop) for item, start, stop in parts]
        x, eps, t, condition = (torch.cat(column) for column in zip(*given, strict=True))
        cuda = x.device.type == "cuda"
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            guess = model.predict_noise(model.noised(x, eps, t), t, condition)
        errors = (guess.double() - eps.double()).square().flatten(1).mean(1).cpu()
        at = 0
        for item, start, stop in parts:
            item.errors[start:stop] = errors[at : at + stop - start]
            at += stop - start

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

    def _latent(self, image: Opens) -> Tensor:
        """[1, c, h, w]; kept, for benchmarks ask about the same picture many times.

        Pictures are encoded one by one, so that a latent doesn't depend on its neighbours: it is one pass of the VAE
        beside n passes of the UNet for each caption.
        """
        if image in self._latents:
            self._latents.move_to_end(image)
            return self._latents[image]
        try:
            picture = image.open()
        except BadImage as error:
            raise UserError(f"diffusion score: {error}; get this picture again") from None
        pixels = apply(picture.convert("RGB"), None, self._view)
        latents: Tensor = self.model.latents(pixels[None])
        self._latents[image] = latents
        if len(self._latents) > LATENTS:
            self._latents.popitem(last=False)
        return latents


class _Item:
    """The denoisings of one group: picture by picture, caption by caption, sample by sample.

    latents [I, c, h, w], condition [C, L, W], t [n], noise [n, c, h, w]; `pictures` and `captions` say which of the
    different ones each of the group's own is.
    """

    def __init__(
        self, number: int, latents: Tensor, condition: Tensor, t: Tensor, noise: Tensor,
        pictures: list[int], captions: list[int],
    ) -> None:  # fmt: skip
        self.number, self.latents, self.condition, self.t, self.noise = number, latents, condition, t, noise
        self.pictures, self.captions = pictures, captions
        self.shape = (len(latents), len(condition), len(t))
        self.size = self.shape[0] * self.shape[1] * self.shape[2]
        self.errors = torch.empty(self.size, dtype=torch.float64)

    def inputs(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, noise, steps and conditions of the denoisings [start, stop)."""
        places = torch.arange(start, stop, device=self.latents.device)
        sample = places % self.shape[2]
        caption = places // self.shape[2] % self.shape[1]
        picture = places // (self.shape[1] * self.shape[2])
        return self.latents[picture], self.noise[sample], self.t[sample], self.condition[caption]

    def scores(self) -> Tensor:
        """-d(x, c) of the group's pictures and captions, float32."""
        mean = self.errors.view(self.shape).mean(2)
        return -mean[self.pictures][:, self.captions].float()
