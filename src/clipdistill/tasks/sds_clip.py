"""SDS-CLIP: contrastive fine-tuning of the norms, with a diffusion model's denoising loss as a regulariser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from clipdistill.data import Mixture
from clipdistill.data import fields as data_fields
from clipdistill.errors import UserError
from clipdistill.kinds import kind_of
from clipdistill.objectives.score_distillation import SEEDS, draw_steps_and_noise, feature_regression, sds_loss
from clipdistill.tasks.base import Batch, Features, Trainable
from clipdistill.tasks.contrastive import Contrastive, ContrastiveOptions

NORMS = (nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


class SDSCLIPOptions(ContrastiveOptions):
    """Options of SDS-CLIP."""

    train: Literal["norms", "all"] = "norms"
    """`norms`: LayerNorms (and a ResNet's BatchNorms) alone, as in the paper; `all`: its negative result."""
    reading: Literal["noised", "literal"] = "noised"
    """Whether the UNet is given h_w(f(x)) noised to step t, or as it is (equation 3 as printed)."""
    reduction: Literal["sum", "mean"] = "sum"
    """Over the elements of a latent: equation 3's squared norm, or what diffusion training uses."""
    t_range: tuple[float, float] = (0.0, 1.0)
    """Share of the noise levels that t is drawn from."""
    t_logit_mean: float | None = None
    """None draws t uniformly; a number draws it logit-normally around it, above 0 mostly high noise levels."""
    weighting: Literal["none", "snr", "min_snr", "noise"] = "none"
    draws: int = Field(default=1, ge=1)
    """Pairs of noise level and noise for each picture; the UNet's graph is held for each."""
    jacobian: bool = True
    """False leaves the UNet's Jacobian out of the gradient, as DreamFusion does; the paper goes through the UNet."""
    sds_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of each micro-batch that the UNet sees (at least one picture); the mean over it is an unbiased estimate."""
    embedding: Literal["raw", "normalised"] = "raw"
    """What h_w is given."""
    bias: bool = True
    """Whether h_w has a bias."""
    init_scale: float | None = Field(default=None, gt=0)
    """Standard deviation of h_w's output at a unit embedding before training; none = nn.Linear's own start."""
    map_lr_scale: float = Field(default=1.0, gt=0)
    """Learning rate of h_w over that of the student: it starts from nothing, the student doesn't."""
    feature_t: float = Field(default=0.0, ge=0, lt=1)
    """Noise level, as a share of the steps, at which the UNet's features are taken for `features`."""

    @field_validator("t_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 1:
            raise ValueError(f"is {list(value)}; give two shares of the steps with 0 <= low < high <= 1")
        return value


class SDSCLIP(Contrastive):
    """Fine-tune a CLIP's norms with a text-to-image diffusion model's denoising loss beside the contrast.

    Source: SDS-CLIP (2024)
    Status: measured on the petri world; the full-size recipes are written and have not been run

    L_CLIP + lambda L_SDS (equation 4); `features` is the paper's baseline of appendix A.2 (equation 6).
    The teacher is a frozen DiffusionTeacher. Captions reach it as `text/<role>`; `features` needs `image/<role>` too.
    Without a teacher the method is its own control, `task` alone on the same parameters.

    `task` is a batch term and `sds` a sample term: with the gradient cache the contrast is over any batch while the
    UNet sees a micro-batch, or `sds_fraction` of one.
    """

    TERMS = {"task": 1.0, "sds": 0.001, "features": 0.0}
    METHOD = "sds_clip"
    BARE = False  # the teacher denoises a picture as its caption says
    TEACHERS = (0, 1)
    TEACHER_KIND = "denoiser"
    Options = SDSCLIPOptions

    def build(self) -> None:
        """Freeze all but the norms, and make the map h_w into the diffusion model's latents."""
        asked = [term for term in ("sds", "features") if self.wants(term)]
        if asked and not self.teachers:
            raise UserError(f"`teachers`: `task.weights.{asked[0]}` needs a diffusion model; add one, or set it to 0")
        if self.settings.train == "norms":
            train_norms_only(self.student)
        if self.wants("sds"):
            teacher = self.teachers[0].freeze()
            self.h_w = self._map(teacher.embed_dim)
        if self.wants("features"):
            self.h_f = self._map(self.teachers[0].freeze().feature_width)

    def trainable(self) -> Iterator[Trainable]:
        """As the base's; h_w at its own rate."""
        for item in super().trainable():
            own = item.name.startswith(("h_w.", "h_f."))
            yield replace(item, lr_scale=item.lr_scale * self.settings.map_lr_scale) if own else item

    def _map(self, width: int) -> nn.Linear:
        linear = nn.Linear(int(self.student.embed_dim), width, bias=self.settings.bias)
        if self.settings.init_scale is not None:
            nn.init.normal_(linear.weight, std=self.settings.init_scale)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        return linear

    def compile(self) -> None:
        """Compile the student's towers and the UNet."""
        super().compile()
        for teacher in self.teachers:
            kind_of(teacher).compile(teacher)

    def set_grad_checkpointing(self) -> None:
        """Checkpoint the student's towers and the UNet, whose activations are most of a step's memory."""
        super().set_grad_checkpointing()
        for teacher in self.teachers:
            kind_of(teacher).checkpoint_activations(teacher)

    def fields(self, data: Mixture) -> dict[str, data_fields.Field]:
        """Score distillation shows the diffusion model captions; only `features` shows it pictures."""
        found = self.student_fields()
        for teacher in self.teachers:
            found |= data_fields.encoder_fields(teacher.role, teacher, images=self.wants("features"))
        return found

    def train(self, mode: bool = True) -> SDSCLIP:
        """As torch's; BatchNorms whose affine part alone trains keep the statistics of their pre-training."""
        super().train(mode)
        if self.settings.train == "norms":
            for module in self.student.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def targets(self, batch: Batch) -> Features:
        """`sds_seed` int64 [B], where each picture's draws start, and `unet_features` [B, C] for `features`.

        Drawn here because targets are asked for once: in a replayed encoding the generators are set back.
        """
        found = super().targets(batch)
        if self.wants("sds"):
            text = batch[f"text/{self.teachers[0].role}"]
            found["sds_seed"] = torch.randint(SEEDS, (len(text),)).to(text.device)
            if self.settings.sds_fraction < 1:
                found["sds_chosen"] = self._chosen(found["sds_seed"])
        if self.wants("features"):
            found["unet_features"] = self._unet_features(batch)
        return found

    def _chosen(self, seeds: Tensor) -> Tensor:
        """float32 [B]: 1 for the share of a micro-batch that the UNet sees, at least one picture."""
        # The seeds are uniform and independent, so the smallest few are a random share. Their order is in the high
        # bits; torch's generator starts from the low 32, so the choice says nothing of the draws.
        rows = seeds.argsort()[: max(1, round(self.settings.sds_fraction * len(seeds)))]
        return torch.zeros(len(seeds), device=seeds.device).index_fill_(0, rows, 1.0)

    @torch.no_grad()
    def _unet_features(self, batch: Batch) -> Tensor:
        teacher = self.teachers[0]
        x = teacher.latents(batch[f"image/{teacher.role}"])
        t = torch.full((len(x),), int(self.settings.feature_t * teacher.steps), device=x.device)
        # At t = 0 a UNet sees pictures with next to no noise; its features are taken from the picture as it is.
        given = x if self.settings.feature_t == 0 else teacher.noised(x, torch.randn_like(x), t)
        features: Tensor = teacher.features(given, t, teacher.encode_tokens(batch[f"text/{teacher.role}"]))
        return features

    def gathers(self, name: str) -> bool:
        """What the contrastive loss reads."""
        return name in ("image", "text", "negative", "has_negative")

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`sds` and `features`, [B] each; `sds` is 0 for the pictures that the UNet wasn't shown."""
        losses: dict[str, Tensor] = {}
        if self.wants("sds"):
            losses["sds"] = self._sds(features, batch)
        if self.wants("features"):
            losses["features"] = feature_regression(self.h_f(self._given(features["image"])), features["unet_features"])
        return losses

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """With `sds_fraction` the mean of `sds` is over the pictures that the UNet saw."""
        return {"sds": features["sds_chosen"]} if "sds_chosen" in features else {}

    def _sds(self, features: Features, batch: Batch) -> Tensor:
        teacher, settings = self.teachers[0], self.settings
        seeds, image, tokens = features["sds_seed"], features["image"], batch[f"text/{self.teachers[0].role}"]
        rows = None
        if "sds_chosen" in features:
            rows = features["sds_chosen"].nonzero().squeeze(1)
            seeds, image, tokens = seeds[rows], image[rows], tokens[rows]
        t, noise = draw_steps_and_noise(
            seeds, teacher.latent_shape, teacher.steps, settings.t_range, settings.draws, settings.t_logit_mean
        )
        latents = self.h_w(self._given(image)).view(-1, *teacher.latent_shape)
        losses = sds_loss(
            latents, teacher.encode_tokens(tokens), teacher.predict_noise,
            teacher.alphas_cumprod, t, noise, reading=settings.reading, weighting=settings.weighting,
            reduction=settings.reduction, jacobian=settings.jacobian,
        )  # fmt: skip
        return losses if rows is None else losses.new_zeros(len(features["image"])).index_put((rows,), losses)

    def _given(self, image: Tensor) -> Tensor:
        return nn.functional.normalize(image, dim=-1) if self.settings.embedding == "normalised" else image


def train_norms_only(model: nn.Module) -> None:
    """Let the affine parameters of LayerNorms and BatchNorms train, and nothing else.

    Raises:
        UserError: the model has none.
    """
    model.requires_grad_(False)
    found = [module for module in model.modules() if isinstance(module, NORMS)]
    parameters = [parameter for norm in found for parameter in norm.parameters(recurse=False)]
    if not parameters:
        raise UserError("`task.train=norms`: the student has no LayerNorm or BatchNorm; set `task.train=all`")
    for parameter in parameters:
        parameter.requires_grad_(True)
