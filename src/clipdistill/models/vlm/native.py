"""Image towers that transformers has itself: CLIP's ViT and SigLIP's, under its own names.

A VLM with such a tower opens in plain transformers, without a line of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from clipdistill.models.transformers_clip import to_transformers_state

CLIP_FIELDS = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio", "norm_kwargs", "act_kwargs",
               "pool_type", "final_ln_after_pool"}  # fmt: skip
"""What of open_clip's image towers transformers can say; pooling is behind what a language model reads."""
_NEUTRAL = {
    "attentional_pool": (False, None), "no_ln_pre": (False,), "ls_init_value": (None,), "patch_dropout": (0.0, 0),
    "output_tokens": (False, True), "pos_embed_type": ("learnable",), "input_patchnorm": (False,),
    "timm_model_name": (None,), "block_type": (None,),
}  # fmt: skip
"""Other fields, with the values that change nothing."""


def native_tower(model: Any) -> tuple[Any, int, int] | None:
    """A DualEncoder's image tower as transformers' CLIPVisionModel or SiglipVisionModel; None where it is neither.

    Returns:
        the tower with its weights copied; the layer that a language model reads, -2; how many class tokens it has in
        front (1 of CLIP's, 0 of SigLIP's).
    """
    height, width = model.preprocess["size"]
    if height != width:
        return None
    visual: Any = model.clip.visual
    if hasattr(visual, "trunk"):
        return _siglip(visual.trunk, int(height))
    return _clip(model, int(height))


def _clip(model: Any, size: int) -> tuple[Any, int, int] | None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    cfg = model.config["model_cfg"]
    vision: Mapping[str, Any] = cfg["vision_cfg"]
    strange = [name for name in vision if name not in CLIP_FIELDS and vision[name] not in _NEUTRAL.get(name, ())]
    if strange or isinstance(vision.get("layers"), list | tuple) or vision.get("layers", 12) < 2:
        return None
    act = (vision.get("act_kwargs") or {}).get("approximate")
    hidden = vision.get("width", 768)
    config = CLIPVisionConfig(
        hidden_size=hidden, intermediate_size=int(hidden * vision.get("mlp_ratio", 4.0)),
        num_hidden_layers=vision.get("layers", 12), num_attention_heads=hidden // vision.get("head_width", 64),
        image_size=size, patch_size=vision.get("patch_size", 16), projection_dim=model.embed_dim,
        hidden_act="quick_gelu" if cfg.get("quick_gelu") else "gelu_pytorch_tanh" if act == "tanh" else "gelu",
        layer_norm_eps=(vision.get("norm_kwargs") or {}).get("eps", 1e-5),
    )  # fmt: skip
    state = to_transformers_state({f"visual.{name}": value for name, value in model.clip.visual.state_dict().items()})
    return _filled(CLIPVisionModel(config), _below(state, "vision_model."), model.clip.visual), -2, 1


def _siglip(trunk: Any, size: int) -> tuple[Any, int, int] | None:
    from timm.layers.patch_embed import PatchEmbed
    from timm.models import VisionTransformer
    from transformers import SiglipVisionConfig, SiglipVisionModel

    if type(trunk) is not VisionTransformer or trunk.num_prefix_tokens or len(trunk.blocks) < 2:
        return None
    first: Any = trunk.blocks[0]
    state = trunk.state_dict()
    plain = isinstance(trunk.patch_embed, PatchEmbed) and isinstance(trunk.norm_pre, nn.Identity)
    same = isinstance(first.ls1, nn.Identity) and isinstance(first.attn.q_norm, nn.Identity)
    gelu = type(first.mlp.act).__name__
    known = gelu in ("GELU", "GELUTanh") and all(f"blocks.0.attn.{one}" in state for one in ("qkv.bias", "proj.bias"))
    if not (plain and same and known and "pos_embed" in state and "patch_embed.proj.bias" in state):
        return None
    patch = trunk.patch_embed.patch_size
    if patch[0] != patch[1] or trunk.patch_embed.num_patches != (size // patch[0]) ** 2:
        return None
    tanh = gelu == "GELUTanh" or getattr(first.mlp.act, "approximate", "none") == "tanh"
    config = SiglipVisionConfig(
        hidden_size=trunk.embed_dim, intermediate_size=first.mlp.fc1.out_features, num_hidden_layers=len(trunk.blocks),
        num_attention_heads=first.attn.num_heads, image_size=size, patch_size=patch[0],
        hidden_act="gelu_pytorch_tanh" if tanh else "gelu", layer_norm_eps=first.norm1.eps, vision_use_head=False,
    )  # fmt: skip
    return _filled(SiglipVisionModel(config), _siglip_state(state), trunk), -2, 0


_SIGLIP = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj",
           "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip


def _siglip_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's names -> transformers'; the pooling head is left out."""
    found = {"embeddings.position_embedding.weight": state["pos_embed"][0]}
    for kind in ("weight", "bias"):
        found[f"embeddings.patch_embedding.{kind}"] = state[f"patch_embed.proj.{kind}"]
        # Not there where timm pools the mean before its norm; nothing that is read stands behind it.
        if f"norm.{kind}" in state:
            found[f"post_layernorm.{kind}"] = state[f"norm.{kind}"]
    for name, value in state.items():
        if not name.startswith("blocks."):
            continue
        _, number, part = name.split(".", 2)
        module, kind = part.rsplit(".", 1)
        place = f"encoder.layers.{number}"
        if module == "attn.qkv":
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                found[f"{place}.self_attn.{letter}_proj.{kind}"] = third
        else:
            found[f"{place}.{_SIGLIP[module]}.{kind}"] = value
    return found


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _filled(tower: Any, state: Mapping[str, Tensor], source: nn.Module) -> Any:
    """The tower with these weights, in their precision; all but a norm behind the last layer must be there."""
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in tower.state_dict()) else ""
    tower.to(next(source.parameters()).dtype)
    missing, unexpected = tower.load_state_dict({f"{prefix}{name}": value for name, value in state.items()}, False)
    wrong = [*unexpected, *(name for name in missing if "post_layernorm" not in name)]
    if wrong:
        raise RuntimeError(f"transformers' tower lacks or has no place for {wrong[:3]}")
    return tower.to(next(source.parameters()).device).eval()
