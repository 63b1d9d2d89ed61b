"""Our image towers as LLaVA's vision tower: a configuration and a model that transformers' Auto classes build and open.

`import clipdistill.models.vlm` registers them; after that line `LlavaForConditionalGeneration.from_pretrained` opens a
folder whose tower is one of open_clip's or timm's.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from clipdistill.models.building import build_visual
from clipdistill.models.feature_maps import before_the_last, layer_maps, map_levels

TYPE = "clipdistill_image_tower"
BLIND: dict[str, Any] = {"hidden_size": 8, "patch_size": 16, "image_size": 16, "num_hidden_layers": 1}
"""Of the tower that sees nothing: one token of zeros for a picture of 16 pixels."""


class ImageTowerConfig(PretrainedConfig):
    """What builds an image tower, without weights.

    Args:
        open_clip: `embed_dim`, `vision_cfg` and perhaps `quick_gelu` of an open_clip configuration; None = a tower that
            sees nothing and gives zeros, a control.
        hidden_size: C of the layer that is read. image_size: pixels a side (the height). patch_size: of a token.
        num_hidden_layers: layers that there are.
        drop_first: leave out token 0 of whatever the tower has, as TinyLLaVA Factory does. Where there is a class token
            that is it; of a tower without one (SigLIP, CNNs) the first patch is lost.
    """

    model_type = TYPE

    def __init__(
        self, open_clip: dict[str, Any] | None = None, hidden_size: int = 8, patch_size: int = 16,
        image_size: int = 16, num_hidden_layers: int = 1, drop_first: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.open_clip = open_clip
        self.hidden_size, self.patch_size, self.image_size = hidden_size, patch_size, image_size
        self.num_hidden_layers, self.drop_first = num_hidden_layers, drop_first
        super().__init__(**kwargs)


class ImageTower(PreTrainedModel):
    """An open_clip or timm image tower that gives the tokens of its layers, patches only.

    Class tokens and registers belong to no place and are left out, so LLaVA's select strategy is "full" for every kind
    of tower. Layers are those of `feature_maps.map_levels`, before any final norm.

    Raises:
        UserError: open_clip can't build the configuration.
    """

    config_class = ImageTowerConfig
    main_input_name = "pixel_values"
    base_model_prefix = "vision_tower"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # as far as the tower itself has it
    _no_split_modules: list[str] = []

    def __init__(self, config: ImageTowerConfig, visual: Any = None) -> None:
        super().__init__(config)
        self.visual = visual
        if visual is None and config.open_clip is not None:
            self.visual = build_visual(config.open_clip)
        # transformers builds on the meta device and fills in what the file has: every buffer must be in it.
        for module in self.modules():
            module._non_persistent_buffers_set.clear()
        self.post_init()  # type: ignore[no-untyped-call]  # transformers' own

    def _init_weights(self, module: Any) -> None:
        """Nothing: towers draw their own weights when they are built, and from_pretrained fills in all of them."""

    def forward(self, pixel_values: Tensor, output_hidden_states: Any = None, **_: Any) -> BaseModelOutputWithPooling:
        """Run the tower.

        Args:
            pixel_values: normalised, [B, 3, H, W].
            output_hidden_states: a layer's index into `hidden_states`, or several, as LLaVA passes them: only these
                are computed, the others are None. True or nothing = all of them. Layer 0, the embeddings of patches,
                isn't given.

        Returns:
            hidden_states: None and then each layer's tokens [B, T, C]; last_hidden_state: the last that was computed.

        Raises:
            ValueError: layer 0, or one that isn't there.
        """
        count = self.config.num_hidden_layers
        states: list[Any] = [None] * (count + 1)
        wanted = _indices(output_hidden_states, count)
        if self.visual is None:
            states = [None, pixel_values.new_zeros(len(pixel_values), 1, self.config.hidden_size)]
        else:
            number = wanted[0] - 1 if len(wanted) == 1 else None
            maps, apart = layer_maps(self.visual, pixel_values, number)
            for place in wanted:
                at = 0 if number is not None else place - 1
                states[place] = self._tokens(maps[at], None if apart is None else apart[at])
        return BaseModelOutputWithPooling(last_hidden_state=states[wanted[-1]], hidden_states=tuple(states))

    def _tokens(self, each: Tensor, apart: Tensor | None) -> Tensor:
        tokens = each.flatten(2).transpose(1, 2)
        if not self.config.drop_first:
            return tokens
        return (tokens if apart is None else torch.cat([apart, tokens], dim=1))[:, 1:]


def _indices(asked: Any, count: int) -> list[int]:
    """Places in `hidden_states`, ascending."""
    if asked is None or isinstance(asked, bool):
        return list(range(1, count + 1))
    places = [one + count + 1 if one < 0 else one for one in ([asked] if isinstance(asked, int) else asked)]
    for one, place in zip([asked] if isinstance(asked, int) else asked, places, strict=True):
        if not 1 <= place <= count:
            raise ValueError(f"vision_feature_layer {one}: the tower gives layers 1 to {count}, or -{count} to -1")
    return sorted(set(places))


def image_tower(model: Any, drop_first: bool = False) -> tuple[ImageTower, int]:
    """A copy of a DualEncoder's image tower as LLaVA's, and the layer that a language model reads.

    Returns:
        the tower; the layer as LLaVA counts it (`vision_feature_layer`): the last but one of equal blocks (-2), the
        last stage of a CNN (-1).

    Raises:
        UserError: a tower that gives no maps of features.
    """
    cfg = model.config["model_cfg"]
    levels = map_levels(model.clip.visual, tuple(model.preprocess["size"]), model.name)
    number = before_the_last(levels)
    level = levels[number]
    height = int(model.preprocess["size"][0])
    config = ImageTowerConfig(
        {name: cfg[name] for name in ("embed_dim", "vision_cfg", "quick_gelu") if name in cfg},
        hidden_size=level.channels, patch_size=height // level.height, image_size=height,
        num_hidden_layers=len(levels), drop_first=drop_first,
    )  # fmt: skip
    return ImageTower(config, deepcopy(model.clip.visual)), number - len(levels)


def blind_tower() -> tuple[ImageTower, int]:
    """A tower that sees nothing, and its only layer."""
    return ImageTower(ImageTowerConfig(None, **BLIND)), -1


AutoConfig.register(TYPE, ImageTowerConfig)
AutoModel.register(ImageTowerConfig, ImageTower)
