"""DualEncoder: an image tower and a text tower in one embedding space, over open_clip's models."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from clipdistill.models.feature_maps import MapLevel, image_map, map_levels
from clipdistill.models.image_layers import ImageLayer, image_layers
from clipdistill.models.token_features import image_token_features, text_token_features
from clipdistill.models.tokenisation import TextTokenizer

RANGE = 1e-3
"""How far floats that were computed may lie outside [0, 1]."""


class DualEncoder(nn.Module):
    """An open_clip model with its preprocessing and its tokenizer.

    The open_clip module is `.clip`, and `state_dict()` holds its entries under `clip.` and nothing else. Embeddings are
    never normalised here: the objectives and the evaluators do that, once.

    Attributes:
        name: what reports call the model.
        config: what `open_clip_config.json` holds: `model_cfg` and `preprocess_cfg`.
        preprocess: size (height, width), resize_mode, interpolation, fill_color, mean and std of the input.
        tokenizer: texts -> int64 [B, L].
        tokenizer_key: equal keys mean equal tokenisation.
        embed_dim: D, the width of the shared embedding space.
        channels_last: whether pixels and convolutions are laid out channels-last (see `use_channels_last`); so from the
            start for convolutional image towers, which run about twice as fast that way.
    """

    KIND: ClassVar[str] = "dual_encoder"
    FEATURES: ClassVar[tuple[str, ...]] = ("embedding", "tokens")
    """What a teacher of this architecture can give; see `tasks.teacher.LiveTeacher`."""

    def __init__(self, clip: nn.Module, *, name: str, config: dict[str, Any], tokenizer: TextTokenizer) -> None:
        super().__init__()
        self.clip: Any = clip
        self.name = name
        self.config = config
        self.preprocess: dict[str, Any] = config["preprocess_cfg"]
        self.tokenizer = tokenizer
        self.embed_dim = int(config["model_cfg"]["embed_dim"])
        self.use_channels_last(_is_convolutional(clip.visual))
        # Not buffers: `model.to(torch.bfloat16)` would round them, and with them every pixel.
        self._statistics: dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = {}

    def __repr__(self) -> str:
        """One line; `repr(model.clip)` has every layer."""
        height, width = self.preprocess["size"]
        count = sum(one.numel() for one in self.parameters())
        return (
            f"{type(self).__name__}({self.name!r}: {count:,} parameters, {height} x {width} pixels -> {self.embed_dim})"
        )

    @property
    def tokenizer_key(self) -> str:
        """Equal keys mean that every text gives equal token ids."""
        return self.tokenizer.key

    @property
    def logit_scale(self) -> torch.Tensor:
        """The scale of the logits (the inverse temperature), exponentiated, a scalar with gradient."""
        scale: torch.Tensor = self.clip.logit_scale
        return scale.exp().reshape(())

    @property
    def logit_bias(self) -> torch.Tensor | None:
        """The bias of the logits (SigLIP), a scalar with gradient, or None."""
        bias: torch.Tensor | None = getattr(self.clip, "logit_bias", None)
        return None if bias is None else bias.reshape(())

    def normalise_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels as the image tower wants them.

        Args:
            pixels: uint8, or float in [0, 1]; [B, 3, H, W].

        Returns:
            (pixels - mean) / std in the tower's precision, [B, 3, H, W].

        Raises:
            ValueError: floats outside [0, 1], such as pixels that were normalised already.
        """
        precision = next(self.clip.visual.parameters()).dtype
        working = torch.promote_types(precision, torch.float32)
        if pixels.dtype != torch.uint8 and not pixels.requires_grad and len(pixels):
            low, high = (float(end) for end in pixels.detach().aminmax())
            if low < -RANGE or high > 1 + RANGE:
                raise ValueError(
                    f"pixels from {low:.3g} to {high:.3g}: give uint8, or floats in [0, 1]; mean and std come here"
                )
        scaled = pixels.to(working).div(255) if pixels.dtype == torch.uint8 else pixels.to(working)
        mean, std = self._mean_and_std(scaled.device, working)
        normal = ((scaled - mean) / std).to(precision)
        return normal.contiguous(memory_format=torch.channels_last) if self.channels_last else normal

    def _mean_and_std(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        key = (device, dtype)
        if key not in self._statistics:
            with torch.inference_mode(False):  # a later call may need gradients of the pixels
                mean, std = (
                    torch.tensor(self.preprocess[name], dtype=dtype, device=device).view(1, -1, 1, 1)
                    for name in ("mean", "std")
                )
            self._statistics[key] = (mean, std)
        return self._statistics[key]

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed images.

        Args:
            pixels: uint8, or float in [0, 1]; [B, 3, H, W] at the size of `preprocess["size"]`.

        Returns:
            Un-normalised embeddings [B, D].
        """
        embeddings: torch.Tensor = self.clip.encode_image(self.normalise_pixels(pixels), normalize=False)
        return embeddings

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed texts: int64 token ids [B, L] -> un-normalised embeddings [B, D]."""
        embeddings: torch.Tensor = self.clip.encode_text(tokens, normalize=False)
        return embeddings

    def image_tokens(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed images and keep the features of their parts.

        Returns:
            pooled [B, D], what `encode_image` gives; tokens [B, N, C], the N patches row by row (without the class
            token), or the N cells of the last grid of a convolutional tower. C is the tower's width.
        """
        return image_token_features(self.clip.visual, self.normalise_pixels(pixels))

    def map_levels(self) -> list[MapLevel]:
        """The maps of features that the image tower has, first the one nearest to the pixels.

        Raises:
            UserError: it gives none.
        """
        return map_levels(self.clip.visual, tuple(self.preprocess["size"]), self.name)

    def image_map(self, pixels: torch.Tensor, level: int) -> torch.Tensor:
        """One of `map_levels` of images [B, 3, H, W] as `encode_image` takes them -> [B, C, h, w]."""
        return image_map(self.clip.visual, self.normalise_pixels(pixels), level)

    def image_layers(self, pixels: torch.Tensor) -> list[ImageLayer]:
        """All of `map_levels` of images [B, 3, H, W] as `encode_image` takes them, as tokens."""
        return image_layers(self.clip.visual, self.normalise_pixels(pixels))

    def text_tokens(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed texts and keep the feature of each token before pooling.

        Returns:
            pooled [B, D], what `encode_text` gives; tokens [B, L, C], one for each position of `token_offsets`.
        """
        return text_token_features(self.clip, tokens)

    def token_offsets(self, texts: list[str]) -> list[list[tuple[int, int]]]:
        """Return the characters `[start, end)` of each of the L token positions; see `TextTokenizer.offsets`."""
        return self.tokenizer.offsets(texts)

    def forward(
        self, pixels: torch.Tensor | None = None, tokens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return un-normalised (image [B, D], text [B, D]) embeddings; None for what wasn't given."""
        image = None if pixels is None else self.encode_image(pixels)
        return image, None if tokens is None else self.encode_text(tokens)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute each block in the backward pass. Towers that can't, stay as they are."""
        self.clip.set_grad_checkpointing(enable)
        transformer: Any = getattr(getattr(self.clip, "text", None), "transformer", None)
        if not enable and hasattr(transformer, "gradient_checkpointing_disable"):
            transformer.gradient_checkpointing_disable()  # open_clip's switch only knows "on" for these

    def use_channels_last(self, enable: bool = True) -> None:
        """Lay the image tower out channels-last, which is faster for convolutions on most devices."""
        self.channels_last = enable
        self.clip.visual.to(memory_format=torch.channels_last if enable else torch.contiguous_format)


def _is_convolutional(tower: Any) -> bool:
    """Whether a tower is made of convolutions, rather than having one (or a stem of a few) to cut its patches."""
    return sum(isinstance(module, nn.Conv2d) for module in tower.modules()) > 4
