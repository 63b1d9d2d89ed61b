"""Saved folders: from a raw picture and a text to the same embeddings, through each library's own tools."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from tiny_models import TEXTS, encoder, picture

from clipdistill.data.transforms import ImageView, apply
from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.export.transformers_folder import transformers_obstacle
from clipdistill.models import fingerprint, load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}
ODD_TEXTS = [*TEXTS, "A Photo of the cat's 3 hats!", "crème brûlée — 日本 🦊", "word " * 40, ""]


def ours(model, image, texts):
    view = ImageView.from_preprocess(model.preprocess)
    return model.encode_image(apply(image, None, view)[None]), model.encode_text(model.tokenizer(texts))


@pytest.mark.parametrize("kind", ["clip", "openai_text", "resnet", "timm", "siglip", "average"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_open_clip_from_raw_picture_and_text(kind, mode, tmp_path):
    model = encoder(kind)
    model.preprocess["resize_mode"] = mode
    save_student(model, tmp_path)
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    image = picture(90, 61)
    expected = theirs.eval().encode_image(preprocess(image)[None]), theirs.encode_text(tokenizer(ODD_TEXTS))
    for mine, other in zip(ours(model, image, ODD_TEXTS), expected, strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)


@pytest.mark.parametrize("kind", ["clip", "quick", "custom", "bias", "openai_text"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_transformers_from_raw_picture_and_text(kind, mode, tmp_path):
    from transformers import CLIPModel, CLIPProcessor

    model = encoder(kind)
    model.preprocess["resize_mode"] = mode
    save_student(model, tmp_path)
    theirs, processor = CLIPModel.from_pretrained(tmp_path).eval(), CLIPProcessor.from_pretrained(tmp_path)
    image = picture(32, 32)  # the model's size: the default processor resizes with torchvision, not with Pillow
    inputs = processor(text=ODD_TEXTS, images=image, return_tensors="pt", padding=True, truncation=True)
    expected = theirs(**inputs)
    image_features, text_features = ours(model, image, ODD_TEXTS)
    torch.testing.assert_close(torch.nn.functional.normalize(image_features), expected.image_embeds, **CLOSE)
    torch.testing.assert_close(torch.nn.functional.normalize(text_features), expected.text_embeds, **CLOSE)
    torch.testing.assert_close(model.logit_scale, theirs.logit_scale.exp(), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_transformers_image_processors_give_the_same_pixels(mode, interpolation, tmp_path):
    import transformers

    model = encoder("clip")
    model.preprocess.update(resize_mode=mode, interpolation=interpolation)
    save_student(model, tmp_path)
    image = picture(88, 61)  # leaves an even margin
    mine = model.normalise_pixels(apply(image, None, ImageView.from_preprocess(model.preprocess))[None])
    level = 1 / 255 / min(model.preprocess["std"])
    default = transformers.CLIPImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(mine, default, rtol=0, atol=1.01 * level)
    # transformers 5 calls the one that uses Pillow by this name; before, it was the default.
    pillow = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor).from_pretrained(tmp_path)
    torch.testing.assert_close(mine, pillow(image, return_tensors="pt")["pixel_values"], rtol=0, atol=1e-5)


def test_clips_own_vocabulary_in_transformers_format(tmp_path):
    from transformers import AutoTokenizer

    model = encoder("openai_text")
    save_student(model, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(json.loads((tmp_path / "vocab.json").read_text())) == 49408
    rows = theirs(ODD_TEXTS, truncation=True)["input_ids"]
    for mine, row in zip(model.tokenizer(ODD_TEXTS).tolist(), rows, strict=True):
        assert mine[: len(row)] == row and not any(mine[len(row) :])


@pytest.mark.parametrize("kind", ["clip", "resnet", "timm", "siglip", "openai_text"])
def test_opened_again_it_is_the_same_model(kind, tmp_path):
    model = encoder(kind)
    written = save_student(model, tmp_path / "student")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "student").iterdir()}
    again = load_model(tmp_path / "student")
    assert fingerprint(again) == fingerprint(model) and again.name == model.name
    assert again.preprocess == model.preprocess and (again.logit_bias is None) == (model.logit_bias is None)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("resnet", "ResNet"), ("timm", "timm_model_name"), ("siglip", "timm_model_name"), ("average", "class token")],
)
def test_what_is_no_clip_is_not_written_as_one(kind, reason, tmp_path):
    model = encoder(kind)
    assert reason in str(transformers_obstacle(model))
    names = {path.name for path in save_student(model, tmp_path)}
    assert "model.safetensors" not in names and "config.json" not in names


@pytest.mark.parametrize("field", ["no_causal_mask", "proj_bias", "embed_cls", "ls_init_value", "qk_norm"])
def test_text_towers_of_another_shape_are_not_written_as_clip(field):
    model = encoder("clip")
    model.config["model_cfg"]["text_cfg"] = {**model.config["model_cfg"]["text_cfg"], field: True}
    assert field in str(transformers_obstacle(model))


def test_half_precision_files(tmp_path):
    from safetensors.torch import load_file

    model = encoder("clip")
    save_student(model, tmp_path, dtype=torch.float16)
    for name in ("open_clip_model.safetensors", "model.safetensors"):
        assert {value.dtype for value in load_file(tmp_path / name).values()} == {torch.float16}
    assert all(p.dtype == torch.float32 for p in model.parameters()), "the model itself stays as it was"


def test_other_users_may_read_the_files(tmp_path):
    import os

    mask = os.umask(0o022)
    try:
        written = save_student(encoder("clip"), tmp_path)
    finally:
        os.umask(mask)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in written)


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="can't be made"):
        save_student(encoder("clip"), tmp_path / "file" / "student")


def test_a_full_disk_leaves_no_checkpoint_behind(tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def full(_path, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="disk is full"):
        save_student(encoder("clip"), tmp_path)
    assert not (tmp_path / "open_clip_config.json").exists() and not list(tmp_path.iterdir())
