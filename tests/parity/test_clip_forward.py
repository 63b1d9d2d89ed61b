"""The CLIP forward pass against open_clip's own models and transformers' CLIPModel, in double precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from tiny_models import CONFIGS, TEXTS, VOCABULARY, encoder, pixels_of, stir

from clipdistill.export import save_student
from clipdistill.models import load_model
from clipdistill.models.named import PETRI_TOKENIZER
from clipdistill.models.token_features import image_token_features

CLOSE = {"rtol": 0.0, "atol": 1e-10}


def normalised(pixels, preprocess):
    mean, std = (torch.tensor(preprocess[key], dtype=torch.float64).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (pixels.double() / 255 - mean) / std


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "openai_text"])
def test_same_embeddings_as_open_clip(kind, tmp_path):
    model = encoder(kind)
    save_student(model, tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").double().eval()
    model.double()
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    image, text = model(pixels, tokens)
    x = normalised(pixels, theirs.visual.preprocess_cfg)
    torch.testing.assert_close(image, theirs.encode_image(x, normalize=False), **CLOSE)
    torch.testing.assert_close(text, theirs.encode_text(tokens, normalize=False), **CLOSE)
    assert model.logit_scale.item() == theirs.logit_scale.exp().item()
    assert (model.logit_bias is None) == (theirs.logit_bias is None)
    assert image.norm(dim=-1).sub(1).abs().min() > 1e-3, "embeddings must not be normalised"


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_pooled_beside_tokens_is_the_embedding(kind):
    model = encoder(kind, double=True)
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    pooled, patches = model.image_tokens(pixels)
    torch.testing.assert_close(pooled, model.encode_image(pixels), **CLOSE)
    size, vision = model.preprocess["size"][0], CONFIGS[kind]["vision_cfg"]
    stride = vision.get("patch_size") or (16 if "siglip" in kind else 32)
    count = 4 if kind == "coca" else (size // stride) ** 2  # CoCa: its five learnt queries but the pooled one
    assert patches.shape[:2] == (2, count)
    pooled, features = model.text_tokens(tokens)
    torch.testing.assert_close(pooled, model.encode_text(tokens), **CLOSE)
    assert features.shape == (3, model.tokenizer.context_length, CONFIGS[kind]["text_cfg"]["width"])


def test_patch_tokens_are_the_last_layer_after_its_norm():
    model = encoder("clip", double=True)
    x = model.normalise_pixels(pixels_of(model))
    visual = model.clip.visual
    found = visual.forward_intermediates(x, indices=1, normalize_intermediates=True, output_fmt="NLC")
    torch.testing.assert_close(image_token_features(visual, x)[1], found["image_intermediates"][-1], **CLOSE)


def test_patches_come_row_by_row():
    """A change in one corner of a convolutional tower's input must move that corner's cell most."""
    model = encoder("resnet", double=True)
    pixels = pixels_of(model, 1)
    changed = pixels.clone()
    changed[..., :16, -16:] = 255 - changed[..., :16, -16:]
    moved = (model.image_tokens(pixels)[1] - model.image_tokens(changed)[1]).norm(dim=-1)[0]
    assert moved.argmax() == 1  # of the 2 x 2 grid: first row, second column


def transformers_clip(folder: Path, act: str, eos: int, eps: float = 1e-5):
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 2}
    shared = {**tower, "hidden_act": act, "layer_norm_eps": eps}
    text = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 16,
        "eos_token_id": eos,
        "bos_token_id": VOCABULARY - 2,
    }
    vision = {"image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config={**shared, **text}, vision_config={**shared, **vision}, projection_dim=24)
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    stir(model)
    model.save_pretrained(folder)
    for path in PETRI_TOKENIZER.iterdir():
        shutil.copy(path, folder)
    return model.double()


def embeddings(theirs, pixels, tokens):
    """CLIPModel's own projected embeddings; its outputs are normalised, so they are taken from the parts."""
    image = theirs.visual_projection(theirs.vision_model(pixel_values=pixels).pooler_output)
    return image, theirs.text_projection(theirs.text_model(input_ids=tokens).pooler_output)


@pytest.mark.parametrize(
    ("act", "eos", "eps"),
    [
        ("quick_gelu", VOCABULARY - 1, 1e-5),
        ("gelu", 2, 1e-3),  # transformers' old spelling of "pool at the highest id"
        ("gelu_pytorch_tanh", VOCABULARY - 1, 1e-5),
        ("gelu", VOCABULARY - 3, 1e-5),  # an end token that isn't the highest id
    ],
)
def test_a_transformers_folder_gives_the_same_embeddings(act, eos, eps, tmp_path):
    theirs = transformers_clip(tmp_path, act, eos, eps)
    model = load_model(tmp_path).double()
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    if eos == VOCABULARY - 3:
        tokens[:, 2] = eos
    image, text = embeddings(theirs, normalised(pixels, model.preprocess), tokens)
    torch.testing.assert_close(model.encode_image(pixels), image, **CLOSE)
    torch.testing.assert_close(model.encode_text(tokens), text, **CLOSE)
    torch.testing.assert_close(model.logit_scale, theirs.logit_scale.exp(), **CLOSE)


@pytest.mark.parametrize("kind", ["clip", "quick", "custom", "eps", "bias"])
def test_a_saved_student_gives_the_same_embeddings_in_transformers(kind, tmp_path):
    from transformers import CLIPModel

    model = encoder(kind)
    save_student(model, tmp_path)
    theirs = CLIPModel.from_pretrained(tmp_path, dtype=torch.float32).double().eval()
    model.double()
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    image, text = embeddings(theirs, normalised(pixels, model.preprocess), tokens)
    torch.testing.assert_close(model.encode_image(pixels), image, **CLOSE)
    torch.testing.assert_close(model.encode_text(tokens), text, **CLOSE)
    torch.testing.assert_close(model.logit_scale, theirs.logit_scale.exp(), **CLOSE)
