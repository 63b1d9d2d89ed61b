"""DiffusionTeacher: a text-conditional denoising UNet with its text encoder, noise schedule and, if any, its VAE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.models.diffusion.prompts import ConditionMemo, PromptTokenizer

PREDICTIONS = ("epsilon", "v_prediction")


class DiffusionTeacher(nn.Module):
    """The parts of a Stable Diffusion pipeline that score matching needs, with one way of calling all of them.

    As a teacher it is frozen (`freeze`); as a student of `tasks/diffusion.py` it trains. A pixel-space model has no VAE
    and its latents are the pixels in [-1, 1].

    Attributes:
        unet: a diffusers UNet2DConditionModel. text_encoder: a transformers CLIPTextModel. vae: an AutoencoderKL or
            None. scheduler: the diffusers scheduler that the noise schedule is taken from.
        in_channels, sample_size: c and h = w of the latents. text_width: C of the conditioning.
        prediction_type: what the UNet's output means, `epsilon` or `v_prediction`.
        alphas_cumprod: float64 [T], the share of signal in the noised latent's variance at each step.
        preprocess, tokenizer: what the loader prepares `image/<role>` and `text/<role>` with.
        embed_dim: c * h * w. logit_scale: 1, for there is none.

    Raises:
        UserError: parts that don't fit one another; both sizes are said.
    """

    KIND: ClassVar[str] = "denoiser"

    def __init__(
        self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, vae: Any | None = None,
        *, name: str = "diffusion", role: str = "teacher0",
    ) -> None:  # fmt: skip
        super().__init__()
        self.unet: Any = unet
        self.text_encoder: Any = text_encoder
        self.vae: Any = vae
        self.scheduler = scheduler
        self.name, self.role = name, role
        self.in_channels = int(self.unet.config.in_channels)
        self.text_width = int(self.text_encoder.config.hidden_size)
        self._check_parts()
        self.sample_size = int(self.unet.config.sample_size)
        self.prediction_type: str = scheduler.config.prediction_type
        # Not a buffer: `.to(torch.bfloat16)` would round it.
        self.alphas_cumprod: Tensor = scheduler.alphas_cumprod.detach().double().cpu()
        self._schedules: dict[torch.device, Tensor] = {}
        positions = int(self.text_encoder.config.max_position_embeddings)
        self.tokenizer = PromptTokenizer(tokenizer, min(int(tokenizer.model_max_length), positions))
        self.vae_factor = 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)
        side = self.sample_size * self.vae_factor
        self.preprocess: dict[str, Any] = {
            "size": [side, side], "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3,
            "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
        }  # fmt: skip
        self.embed_dim = self.in_channels * self.sample_size**2
        self.logit_scale = 1.0
        self._memo = ConditionMemo(self._encode_tokens)

    @property
    def tokenizer_key(self) -> str:
        """Equal keys mean that every text gives equal token ids."""
        return self.tokenizer.tokenizer_key

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the UNet's input."""
        return self.in_channels, self.sample_size, self.sample_size

    @property
    def steps(self) -> int:
        """T, the number of noise levels."""
        return len(self.alphas_cumprod)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self._weight.device

    @property
    def frozen(self) -> bool:
        """Whether no parameter asks for a gradient."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def freeze(self) -> DiffusionTeacher:
        """Put it into eval mode and take every parameter out of autograd, so that none gets a gradient tensor."""
        self._memo.clear()
        return self.requires_grad_(False).eval()

    def targets(self, batch: Any) -> dict[str, Tensor]:
        """Nothing: its word is a gradient through `predict_noise`, not a stored target."""
        return {}

    def encode_text(self, texts: list[str]) -> Tensor:
        """Captions -> conditioning [B, L, C]; see `encode_tokens`."""
        return self.encode_tokens(self.tokenizer(texts).to(self.device))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids int64 [B, L] -> conditioning [B, L, C], the text encoder's last hidden state.

        Frozen, each caption is encoded once and remembered, without graph; in training it is encoded with its graph.
        """
        return self._memo(tokens) if self.frozen else self._encode_tokens(tokens)

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        condition: Tensor = self.text_encoder(tokens).last_hidden_state
        return condition

    @torch.no_grad()
    def latents(self, pixels: Tensor) -> Tensor:
        """Pixels -> what the UNet denoises, v_alpha(x) of SDS-CLIP's equation 1.

        Args:
            pixels: uint8 [B, 3, H, W] at the size of `preprocess["size"]`.

        Returns:
            [B, c, h, w] in the model's precision: the mode of the VAE's posterior times its scaling factor, or the
            pixels in [-1, 1].
        """
        scaled = (pixels.to(self.device).float() / 127.5 - 1).to(self._weight.dtype)
        if self.vae is None:
            return scaled
        encoded = self.vae.encode(scaled.to(self.vae.dtype)).latent_dist.mode()
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        latents: Tensor = (encoded - shift) * self.vae.config.scaling_factor
        return latents.to(self._weight.dtype)

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of signal and noise at steps t int64 [B]: float64 [B, 1, 1, 1] each (DDPM, 2020, equation 4)."""
        if t.device not in self._schedules:
            self._schedules[t.device] = self.alphas_cumprod.to(t.device)
        share = self._schedules[t.device][t].view(-1, 1, 1, 1)
        return share.sqrt(), (1 - share).sqrt()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Latents [B, c, h, w] with `noise` of the same shape mixed in, as far as step t int64 [B] says."""
        signal, spread = self.signal_and_noise(t)
        return signal.to(x.dtype) * x + spread.to(x.dtype) * noise

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the UNet itself is trained to give: the noise, or v (progressive distillation, 2022, appendix D)."""
        if self.prediction_type == "epsilon":
            return noise
        signal, spread = self.signal_and_noise(t)
        return signal.to(x.dtype) * noise - spread.to(x.dtype) * x

    def predict(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The UNet's own output at x_t [B, c, h, w], steps t int64 [B], conditioning [B, L, C]: [B, c, h, w]."""
        dtype = self._weight.dtype
        given = x_t.to(dtype)
        if self.channels_last:
            given = given.contiguous(memory_format=torch.channels_last)
        output: Tensor = self.unet(given, t, encoder_hidden_states=condition.to(dtype)).sample
        return output.to(torch.promote_types(output.dtype, torch.float32))

    def predict_noise(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """epsilon_theta(x_t, t, c), [B, c, h, w] in at least float32, whatever the UNet itself predicts."""
        output = self.predict(x_t, t, condition)
        if self.prediction_type == "epsilon":
            return output
        signal, spread = self.signal_and_noise(t)
        return signal.to(output.dtype) * output + spread.to(output.dtype) * x_t.to(output.dtype)

    @torch.no_grad()
    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The UNet's middle block at x_t, averaged over space: I(x, c) of SDS-CLIP's equation 6, [B, feature_width]."""
        found: list[Tensor] = []
        hook = self.unet.mid_block.register_forward_hook(lambda _module, _given, output: found.append(output))
        try:
            self.predict(x_t, t, condition)
        finally:
            hook.remove()
        return found[0].float().mean((2, 3))

    @property
    def feature_width(self) -> int:
        """Channels of the UNet's middle block."""
        return int(self.unet.config.block_out_channels[-1])

    @property
    def channels_last(self) -> bool:
        """Whether pixels and convolutions are laid out channels-last."""
        return getattr(self, "_channels_last", False)

    def use_channels_last(self, enable: bool = True) -> None:
        """Lay the UNet out channels-last, which is faster for convolutions on most devices."""
        self._channels_last = enable
        self.unet.to(memory_format=torch.channels_last if enable else torch.contiguous_format)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: compute each block of the UNet again in the backward pass."""
        self.unet.enable_gradient_checkpointing() if enable else self.unet.disable_gradient_checkpointing()

    def save(self, folder: str | Path) -> Path:
        """Write the model in diffusers' folder layout; see `models/diffusion/saving.py`."""
        from clipdistill.models.diffusion.saving import save_diffusion

        return save_diffusion(self, folder)

    def load_state_dict(self, *given: Any, **named: Any) -> Any:
        """As torch's; what was remembered of captions is forgotten."""
        self._memo.clear()
        return super().load_state_dict(*given, **named)

    def _apply(self, fn: Callable[[Tensor], Tensor], *given: Any, **named: Any) -> Any:
        self._memo.clear()
        return super()._apply(fn, *given, **named)  # type: ignore[no-untyped-call]

    @property
    def _weight(self) -> nn.Parameter:
        found: nn.Parameter = next(self.unet.parameters())
        return found

    def _check_parts(self) -> None:
        unet = self.unet.config
        width = unet.cross_attention_dim
        if width != self.text_width:
            raise UserError(
                f"{self.name}: the UNet's cross_attention_dim is {width} and the text encoder's hidden_size "
                f"{self.text_width}; take unet/ and text_encoder/ of one checkpoint"
            )
        channels = 3 if self.vae is None else int(self.vae.config.latent_channels)
        source = "a picture (there is no vae/)" if self.vae is None else "the VAE's latent"
        if channels != self.in_channels or int(unet.out_channels) != self.in_channels:
            raise UserError(
                f"{self.name}: the UNet takes in_channels = {self.in_channels} and gives {unet.out_channels}, while "
                f"{source} has {channels}; take a plain text-to-image checkpoint with its own vae/"
            )
        if not isinstance(unet.sample_size, int):
            raise UserError(
                f"{self.name}: unet/config.json has sample_size {unet.sample_size!r}; set the one number, such as 64"
            )
        kind = getattr(self.scheduler.config, "prediction_type", None)
        if kind not in PREDICTIONS:
            raise UserError(
                f"{self.name}: scheduler/scheduler_config.json has prediction_type {kind!r}; "
                f"give one of {', '.join(PREDICTIONS)}"
            )
