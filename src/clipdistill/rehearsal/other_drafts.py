"""Diffusion models, fusion models and VLMs of published shape with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.diffusion import NAMED as PETRI_DIFFUSION
from clipdistill.models.diffusion import is_diffusion
from clipdistill.models.diffusion.model import DiffusionTeacher
from clipdistill.models.diffusion.saving import save_diffusion
from clipdistill.models.fusion.config import SHIPPED_WORDPIECE, FusionConfig, fusion_config, is_config
from clipdistill.models.fusion.creating import create_fusion
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.fusion.names import STAGE_HEADS
from clipdistill.models.fusion.released import to_released
from clipdistill.models.fusion.saving import CHECKPOINTS
from clipdistill.models.fusion.starting import on_clip, split_name
from clipdistill.models.hub import in_hub_cache
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.models.vlm_names import BLIND, NEW_LANGUAGE_MODELS, PREFIX, VLMName
from clipdistill.rehearsal.clip_drafts import clip_draft
from clipdistill.rehearsal.drafts import Draft, fewer, there, unknown, weights_of
from clipdistill.rehearsal.words import LANGUAGE_MODEL, write_bert_words, write_words

_HEADS = {"words": 0, "region_features": 0, "region_classes": 1601, "matching": 2}
_SD1 = {"text": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
        "unet": {"cross_attention_dim": 768, "attention_head_dim": 8}, "side": 64, "predicts": "epsilon"}  # fmt: skip
_SD2 = {"text": {"hidden_size": 1024, "num_hidden_layers": 23, "num_attention_heads": 16, "intermediate_size": 4096,
                 "hidden_act": "gelu"},
        "unet": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
        "side": 64, "predicts": "epsilon"}  # fmt: skip
DIFFUSION: dict[str, dict[str, Any]] = {
    "stable-diffusion-v1": _SD1, "stable-diffusion-2-1-base": _SD2, "stable-diffusion-2-base": _SD2,
    "stable-diffusion-2": {**_SD2, "side": 96, "predicts": "v_prediction"},
}  # fmt: skip
"""A piece of the hub's name -> the published shape; longer pieces first."""
LANGUAGE: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2-0.5B": {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
                        "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936,
                        "tie_word_embeddings": True},
    "Qwen/Qwen2-1.5B": {"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
                        "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936,
                        "tie_word_embeddings": True},
}  # fmt: skip
"""Hub name -> the published shape of a Qwen2."""
QWEN_WORDS = 151_646


def denoiser_draft(name: str, divide: int = 1, trained: bool = False) -> list[Draft]:
    """A text-to-image model in diffusers' layout."""
    plain = name.removeprefix("diffusion:").removeprefix("hf-hub:")
    if plain in PETRI_DIFFUSION or is_diffusion(plain):
        return [Draft(name, 0, trained=trained)]
    shape = next((DIFFUSION[piece] for piece in DIFFUSION if piece in plain), None)
    if shape is None:
        raise unknown(name, f"`hf download {plain}`")
    parts = _diffusion_parts(shape, divide)
    count = weights_of(lambda: torch.nn.ModuleList([make() for make in parts]))
    note = f"{name}: {divide} times narrower than it is, for want of memory" if divide > 1 else ""
    return [Draft(name, count, lambda: _write_diffusion(Path(plain), parts, shape), trained, note)]


def _diffusion_parts(shape: dict[str, Any], divide: int) -> list[Callable[[], Any]]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    text, side = shape["text"], shape["side"]
    heads = shape["unet"]["attention_head_dim"]
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    if divide > 1:
        divide = 2 if divide == 2 else 5
        channels = tuple(width // divide for width in channels)
        heads = heads if isinstance(heads, int) else tuple(max(1, one // divide) for one in heads)
    levels = (128, 256, 512, 512)
    unet: Any = UNet2DConditionModel  # of any type, for its constructor has none
    vae: Any = AutoencoderKL
    words: Any = CLIPTextConfig
    return [
        lambda: unet(sample_size=side, block_out_channels=channels, **{**shape["unet"], "attention_head_dim": heads}),
        lambda: CLIPTextModel(words(vocab_size=49408, max_position_embeddings=77, **text)),
        lambda: vae(
            block_out_channels=levels, down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=8 * side,
        ),
    ]  # fmt: skip


def _write_diffusion(folder: Path, parts: list[Callable[[], Any]], shape: dict[str, Any]) -> None:
    from diffusers import DDPMScheduler
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    from clipdistill.export.tokenizer_files import save_tokenizer
    from clipdistill.models.tokenisation import TextTokenizer

    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    save_tokenizer(TextTokenizer(SimpleTokenizer(context_length=77), {}), folder / "tokenizer")
    words = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=shape["predicts"],
        clip_sample=False, steps_offset=1,
    )  # fmt: skip
    unet, text, vae = (make() for make in parts)
    save_diffusion(DiffusionTeacher(unet, text, words, scheduler, vae, name=folder.name), folder)


def fusion_draft(name: str, divide: int = 1, trained: bool = False) -> list[Draft]:
    """A configuration's vocabulary, and the checkpoint, BERT or CLIP that a model of that name starts from."""
    known, start = split_name(name)
    if there(name) or (WEIGHTS_FOLDER / name).is_dir() or not (is_config(known) or on_clip(known)):
        return [Draft(name, 0, trained=trained)]
    clip, _, bert = (start or "").partition("+") if on_clip(known) else ("", "", "")
    found = clip_draft(clip, divide, trained) if clip else []
    try:
        config = fusion_config(known)
    except UserError:  # an adapter has no words of its own
        return found
    found += _bert_words(config)
    sizes = config if config.architecture != "clip_vil" else config.model_copy(update={"architecture": "uniter"})
    count = weights_of(lambda: FusionModel(sizes, name=known, tokenizer=None))
    file = bert if on_clip(known) else start or ""
    if not file or there(file):
        return [*found, Draft(name, count, trained=trained)]
    if Path(file).suffix in CHECKPOINTS:
        return [*found, Draft(file, count, lambda: _write_released(Path(file), config), trained)]
    return [*found, Draft(file, count, lambda: _write_bert(Path(file), config), trained)]


def _bert_words(config: FusionConfig) -> list[Draft]:
    name = config.tokenizer
    if name == SHIPPED_WORDPIECE or there(name) or in_hub_cache(name, "vocab.txt", "tokenizer.json"):
        return []
    count = 28996 if config.vocabulary < 30000 else 30522  # of BERT's cased and uncased; further words are VCR's tags
    count = min(count, config.vocabulary)
    note = f"{name}: a made-up vocabulary of as many words ({count:,}), for its own isn't on this machine"
    return [Draft(name, 0, lambda: write_bert_words(Path(name), count, config.lower_case), note=note)]


def _write_released(file: Path, config: FusionConfig) -> None:
    """As the authors' pretraining leaves it."""
    heads = {name: _HEADS[name] for name in STAGE_HEADS[config.architecture]["pretraining"]}
    model = create_fusion(config, 0, tokenizer=False, heads=heads)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(to_released(model, "pretraining"), file)


def _write_bert(folder: Path, config: FusionConfig) -> None:
    """A BERT in transformers' layout, with its vocabulary."""
    count = 28996 if "-cased" in folder.name else 30522
    changes: dict[str, Any] = {"architecture": "bert", "vocabulary": count, "types": 2, "heads": {"words": 0}}
    write_bert_words(folder, count, "-cased" not in folder.name)
    torch.save(to_released(create_fusion(config, 0, tokenizer=False, **changes), "pretraining"),
               folder / "pytorch_model.bin")  # fmt: skip


def vlm_draft(name: str, divide: int = 1, trained: bool = False) -> list[Draft]:
    """The tower and the language model of a name that puts them together."""
    if not name.startswith(PREFIX):
        return [Draft(name, 0, trained=trained)]
    read = VLMName.read(name)
    towers = [] if read.tower == BLIND else clip_draft(read.tower, divide)
    words = read.language_model
    if words in NEW_LANGUAGE_MODELS or there(words):
        return [*towers, Draft(words, 0, trained=trained)]
    config = _language_config(words, divide)
    note = f"{words}: a made-up vocabulary of as many tokens ({QWEN_WORDS:,}), for its own isn't on this machine"
    note += f"; {divide} times fewer layers, for want of memory" if divide > 1 else ""
    count = weights_of(lambda: _language_model(config))
    return [*towers, Draft(words, count, lambda: _write_language(Path(words), config), trained, note)]


def _language_config(name: str, divide: int) -> Any:
    from transformers import AutoConfig, Qwen2Config

    make: Any = Qwen2Config
    if name in LANGUAGE:
        shape = LANGUAGE[name]
        return make(**{**shape, "num_hidden_layers": fewer(shape["num_hidden_layers"], divide)})
    if in_hub_cache(name, "config.json"):
        return AutoConfig.from_pretrained(name)
    raise unknown(name, f"`hf download {name} config.json`")


def _language_model(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM
    return make.from_config(config)


def _write_language(folder: Path, config: Any) -> None:
    _language_model(config).save_pretrained(folder)
    write_words(folder, min(QWEN_WORDS, int(config.vocab_size) - 1), LANGUAGE_MODEL)
