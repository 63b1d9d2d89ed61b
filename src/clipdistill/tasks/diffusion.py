"""Training a text-to-image diffusion model: how the petri world's diffusion teacher is made."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clipdistill.objectives.score_distillation import SEEDS, draw_steps_and_noise, step_weights
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions


class DiffusionOptions(TaskOptions):
    """Options of diffusion training."""

    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of captions that are replaced by the empty one (classifier-free guidance, 2022)."""
    weighting: Literal["none", "min_snr"] = "none"
    """Weights of the noise levels, relative to the plain loss on epsilon."""
    t_logit_mean: float | None = None
    """None draws noise levels uniformly; a number draws them logit-normally around it, above 0 mostly high ones."""
    train_text: bool = True
    """Whether the text encoder trains along."""


class DiffusionTraining(Task):
    """Train a text-to-image diffusion model on captioned pictures.

    Source: DDPM (2020), the simple loss (equation 14)
    Status: for small teachers in pixel space

    The loss is the squared error of the UNet's own target, averaged over elements.
    The student is a DiffusionTeacher that isn't frozen; `image/student` and `text/student` are prepared by its own
    `preprocess` and `tokenizer`. A VAE, where there is one, stays as it is.
    """

    METHOD = "diffusion"
    KIND = "denoiser"
    TERMS = {"denoising": 1.0}
    Options = DiffusionOptions

    def build(self) -> None:
        """UNet and text encoder train, the VAE doesn't."""
        student = self.student
        student.unet.requires_grad_(True)
        student.text_encoder.requires_grad_(self.settings.train_text)
        if student.vae is not None:
            student.vae.requires_grad_(False)

    def train(self, mode: bool = True) -> DiffusionTraining:
        """As torch's; a VAE stays in eval mode."""
        super().train(mode)
        if self.student.vae is not None:
            self.student.vae.eval()
        return self

    def forward_once(self, batch: Batch) -> None:
        """One denoising of each picture."""
        self.sample_losses(self.targets(batch), batch)

    def encode(self, batch: Batch) -> Features:
        """Nothing: there is no term that compares samples, so nothing is encoded twice."""
        return {}

    def targets(self, batch: Batch) -> Features:
        """`seed` int64 [B], where each picture's draws start; asked for once, however the batch is replayed."""
        tokens = batch["text/student"]
        return {"seed": torch.randint(SEEDS, (len(tokens),)).to(tokens.device)}

    def gathers(self, name: str) -> bool:
        """Nothing: no term compares samples."""
        return False

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`denoising`, [B]."""
        model, seeds = self.student, features["seed"]
        tokens = batch["text/student"]
        empty = model.tokenizer([""]).to(tokens.device)
        # High bits: the draws of noise start from the low ones.
        dropped = seeds.double() / SEEDS < self.settings.caption_dropout
        condition = model.encode_tokens(torch.where(dropped[:, None], empty, tokens))
        x = model.latents(batch["image/student"])
        t, noise = draw_steps_and_noise(seeds, model.latent_shape, model.steps, t_logit_mean=self.settings.t_logit_mean)
        t, noise = t[0], noise[0].to(x.dtype)
        output = model.predict(model.noised(x, noise, t), t, condition)
        error = (output - model.target(x, noise, t)).square().flatten(1).mean(1)
        share = model.alphas_cumprod.to(x.device)[t]
        if model.prediction_type == "v_prediction":
            # ||v error||^2 is ||epsilon error||^2 / alpha-bar (both follow from the same error of the picture).
            weight = torch.ones_like(share) if self.settings.weighting == "none" else share * _min_snr(share)
        else:
            weight = step_weights(share, self.settings.weighting)
        return {"denoising": weight.to(error.dtype) * error}


def _min_snr(share: Tensor) -> Tensor:
    return step_weights(share, "min_snr")
