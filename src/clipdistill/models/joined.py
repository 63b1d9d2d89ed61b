"""JoinedEncoder: any timm image tower and any Hugging Face text tower, joined by projections (locked-image tuning)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipdistill.errors import UserError, nearest
from clipdistill.models.building import attach_preprocess, build_clip, full_preprocess, read_tensors
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.tokenisation import TextTokenizer, make_tokenizer

FIELDS = (
    "image_tower",
    "image_weights",
    "text_tower",
    "embed_dim",
    "projection",
    "image_size",
    "context_length",
    "pooling",
    "init_logit_scale",
    "init_logit_bias",
)
_POOLING = {"mean": "mean_pooler", "first": "cls_last_hidden_state_pooler"}


class JoinedEncoder(DualEncoder):
    """A DualEncoder whose towers come from elsewhere.

    Inside it is open_clip's CustomTextCLIP with a timm and a Hugging Face tower, so it is saved, opened and evaluated
    like every other model, and the saved folder opens in open_clip too. Open_clip looks for the text tower's
    configuration under the name in `open_clip_config.json`: on the hub, or, for a tower from a local folder, in
    `text_tower/` below the working directory (so: from inside the saved folder). `load_model` has no such condition.

    The towers can be locked while the projections are trained (LiT, arXiv:2111.07991). Since locked towers always give
    the same features, `image_tower_features` and `text_tower_features` can be computed once and kept:
    `encode_image(x)` equals `project_image(image_tower_features(x))`, and so for text.

    Args:
        spec: what to join:
            `image_tower`, a timm model name; `image_weights`, a local file of its weights (safetensors or pickle), the
            word `pretrained` for timm's own from the hub, or None for random ones;
            `text_tower`, a local transformers folder or a hub name;
            `embed_dim` (256); `projection`, `linear` (default) or `mlp`; `pooling` of the text tokens, `mean` over the
            text (default) or `first`; `image_size` (the tower's own); `context_length` (64, or fewer
            where the text tower has fewer positions);
            `init_logit_scale` (log(1/0.07)) and `init_logit_bias` (none).
        name: what reports call it; `image_tower+text_tower` when not given.

    Raises:
        UserError: a wrong field, an unknown timm name, files that are missing or don't fit.
    """

    def __init__(self, spec: Mapping[str, Any], *, name: str | None = None) -> None:
        _check(spec)
        name = name or f"{spec['image_tower']}+{Path(str(spec['text_tower'])).name}"
        model_cfg = _model_cfg(spec, name)
        clip: Any = build_clip(model_cfg, name)
        preprocess = full_preprocess(clip, _timm_preprocess(clip.visual.trunk))
        attach_preprocess(clip, preprocess)
        _fill_image_tower(clip.visual.trunk, spec)
        _fill_text_tower(clip.text.transformer, str(spec["text_tower"]))
        text_cfg = model_cfg["text_cfg"]
        text_cfg["context_length"] = _context_length(clip.text.context_length, spec)
        tokenizer = make_tokenizer(text_cfg, name)
        if tokenizer.special_ids()["pad"] != clip.text.config.pad_token_id:
            raise UserError(f"text_tower: {spec['text_tower']}: pad_token_id differs between config.json and tokenizer")
        config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
        super().__init__(clip, name=name, config=config, tokenizer=tokenizer)
        self.towers_locked = False
        self.eval()

    @classmethod
    def around(cls, clip: nn.Module, *, name: str, config: dict[str, Any], tokenizer: TextTokenizer) -> JoinedEncoder:
        """Wrap an open_clip CustomTextCLIP that has a timm and a Hugging Face tower already."""
        model = cls.__new__(cls)
        DualEncoder.__init__(model, clip, name=name, config=config, tokenizer=tokenizer)
        model.towers_locked = False
        return model.eval()

    def lock_towers(self) -> None:
        """Freeze both towers, statistics of batch norms and dropout included; the projections stay trainable."""
        self._set_locked(True)

    def unlock_towers(self) -> None:
        """Undo `lock_towers`."""
        self._set_locked(False)

    def _set_locked(self, locked: bool) -> None:
        self.towers_locked = locked
        for tower in (self.clip.visual.trunk, self.clip.text.transformer):
            tower.requires_grad_(not locked)
        self.train(self.training)

    def train(self, mode: bool = True) -> JoinedEncoder:
        """Set training mode; locked towers stay in evaluation mode."""
        super().train(mode)
        if self.towers_locked:
            self.clip.visual.trunk.eval()
            self.clip.text.transformer.eval()
        return self

    def image_tower_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the image tower's pooled features [B, F], before the projection; without graph when locked."""
        with torch.no_grad() if self.towers_locked else nullcontext():
            features: torch.Tensor = self.clip.visual.trunk(self.normalise_pixels(pixels))
        return features

    def text_tower_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the text tower's pooled features [B, C], before the projection; without graph when locked."""
        text = self.clip.text
        with torch.no_grad() if self.towers_locked else nullcontext():
            mask = (tokens != text.config.pad_token_id).long()
            features: torch.Tensor = text.pooler(text.transformer(input_ids=tokens, attention_mask=mask), mask)
        return features

    def project_image(self, features: torch.Tensor) -> torch.Tensor:
        """Project image tower features [B, F] to embeddings [B, D]."""
        embeddings: torch.Tensor = self.clip.visual.head(features)
        return embeddings

    def project_text(self, features: torch.Tensor) -> torch.Tensor:
        """Project text tower features [B, C] to embeddings [B, D]."""
        embeddings: torch.Tensor = self.clip.text.proj(features)
        return embeddings

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `DualEncoder.encode_image`."""
        return self.project_image(self.image_tower_features(pixels))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `DualEncoder.encode_text`."""
        return self.project_text(self.text_tower_features(tokens))


def create_joined(spec: Mapping[str, Any], *, name: str | None = None) -> JoinedEncoder:
    """Join towers as `spec` says; see `JoinedEncoder`."""
    return JoinedEncoder(spec, name=name)


def _check(spec: Mapping[str, Any]) -> None:
    import timm

    for key in spec:
        if key not in FIELDS:
            raise UserError(f"joined model: unknown field '{key}'.{nearest(key, FIELDS)}")
    for key in ("image_tower", "text_tower"):
        if not spec.get(key):
            raise UserError(f"joined model: the field '{key}' is missing")
    if spec.get("projection", "linear") not in ("linear", "mlp"):
        raise UserError(f"joined model: projection is '{spec['projection']}'; it must be 'linear' or 'mlp'")
    if spec.get("pooling", "mean") not in _POOLING:
        raise UserError(f"joined model: pooling is '{spec['pooling']}'; it must be 'mean' or 'first'")
    tower = str(spec["image_tower"])
    if not timm.is_model(tower.split(".")[0]):
        raise UserError(f"image_tower '{tower}': timm has no such model.{nearest(tower, timm.list_models())}")
    weights = spec.get("image_weights")
    if weights and weights != "pretrained" and not Path(weights).is_file():
        raise UserError(f"image_weights: the file {weights} doesn't exist; give a .safetensors file of {tower}")


def _model_cfg(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    import timm

    text_tower = str(spec["text_tower"])
    if Path(text_tower).is_dir() and not (Path(text_tower) / "config.json").is_file():
        raise UserError(f"text_tower: {text_tower} has no config.json; give a transformers model folder")
    if not Path(text_tower).is_dir() and (text_tower.count("/") != 1 or text_tower[0] in "./~"):
        raise UserError(f"text_tower: the folder {text_tower} doesn't exist; give a transformers folder or a hub name")
    tower = str(spec["image_tower"])
    # A random projection is enough to learn the tower's own input size: timm keeps it beside the architecture.
    own = timm.get_pretrained_cfg(tower)
    size = int(spec.get("image_size") or (own.input_size[-1] if own is not None else 224))
    projection = spec.get("projection", "linear")
    cfg: dict[str, Any] = {
        "embed_dim": int(spec.get("embed_dim", 256)),
        "vision_cfg": {"timm_model_name": tower, "timm_pool": "", "timm_proj": projection, "image_size": size},
        "text_cfg": {
            "hf_model_name": text_tower,
            "hf_tokenizer_name": text_tower,
            "hf_pooler_type": _POOLING[spec.get("pooling", "mean")],
            "hf_proj_type": projection,
        },
    }
    for key in ("init_logit_scale", "init_logit_bias"):
        if spec.get(key) is not None:
            cfg[key] = float(spec[key])
    return cfg


def _context_length(most: int, spec: Mapping[str, Any]) -> int:
    """Return the wanted context length; `most` is what the tower has positions for, 0 when it doesn't say."""
    wanted = spec.get("context_length")
    if wanted and most and int(wanted) > most:
        raise UserError(f"joined model: context_length is {wanted}, but {spec['text_tower']} has only {most} positions")
    return int(wanted) if wanted else min(64, most or 64)


def _timm_preprocess(trunk: Any) -> dict[str, Any]:
    import timm.data

    found = timm.data.resolve_data_config({}, model=trunk)
    return {"mean": found["mean"], "std": found["std"], "interpolation": found["interpolation"]}


def _fill_image_tower(trunk: Any, spec: Mapping[str, Any]) -> None:
    weights, tower = spec.get("image_weights"), str(spec["image_tower"])
    if not weights:
        return
    if weights == "pretrained":
        state = _hub_image_state(tower)
    else:
        state = read_tensors(Path(weights))
    classifier = trunk.pretrained_cfg.get("classifier") or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip()[:160] if "\n" in str(error) else str(error)[:160]
        raise UserError(f"image_weights: {weights} doesn't fit {tower} ({detail})") from error


def _hub_image_state(tower: str) -> dict[str, torch.Tensor]:
    import timm

    try:
        state: dict[str, torch.Tensor] = timm.create_model(tower, pretrained=True).state_dict()
    except Exception as error:
        raise UserError(
            f"image_tower '{tower}': its pretrained weights aren't in the cache and couldn't be fetched; "
            f"`hf download timm/{tower}`, or give a local file in image_weights"
        ) from error
    return state


def _fill_text_tower(transformer: nn.Module, text_tower: str) -> None:
    from transformers import AutoModel

    try:
        whole = AutoModel.from_pretrained(text_tower)
    except Exception as error:
        advice = "copy model.safetensors into it" if Path(text_tower).is_dir() else f"`hf download {text_tower}`"
        raise UserError(f"text_tower: the weights of {text_tower} can't be read; {advice}") from error
    source = whole.encoder if getattr(whole.config, "is_encoder_decoder", False) else whole
    missing = transformer.load_state_dict(source.state_dict(), strict=False).missing_keys
    if missing:
        raise UserError(f"text_tower: the weights of {text_tower} lack {missing[0]}; give the whole model")
