"""Pictures and texts at hand as unit vectors: the same as an evaluation's, whatever they come in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import clipdistill
from clipdistill.data import ImageRef
from clipdistill.data.transforms import ImageView, apply
from clipdistill.errors import UserError
from clipdistill.models import create_model, load_model

MODEL = create_model("petri-tiny-student", seed=0)


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_pictures_in_every_form_and_batch_are_one(tmp_path: Path) -> None:
    image = picture(0)
    image.save(tmp_path / "a.png")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    found = clipdistill.embed_images(MODEL, [str(tmp_path / "a.png"), tmp_path / "a.png", buffer.getvalue(), image])
    assert found.shape == (4, MODEL.embed_dim) and found.dtype == torch.float32 and not found.requires_grad
    pixels = apply(ImageRef.from_path(tmp_path / "a.png").open(), None, ImageView.from_preprocess(MODEL.preprocess))
    with torch.no_grad():
        wanted = normalize(MODEL.encode_image(pixels[None]), dim=-1)
    torch.testing.assert_close(found, wanted.expand(4, -1))
    many = [picture(seed, (64 + seed, 70)) for seed in range(5)]
    torch.testing.assert_close(
        clipdistill.embed_images(MODEL, many, batch_size=2), clipdistill.embed_images(MODEL, many), rtol=0, atol=1e-5
    )
    assert clipdistill.embed_images(MODEL, image).shape == (1, MODEL.embed_dim)


def test_modes_and_exif_are_seen_as_in_training(tmp_path: Path) -> None:
    turned = picture(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.png", exif=exif)
    clear = picture(2).convert("RGBA")
    clear.putalpha(0)
    found = clipdistill.embed_images(MODEL, [tmp_path / "a.png", turned.rotate(-90, expand=True), clear])
    torch.testing.assert_close(found[0], found[1])
    white = clipdistill.embed_images(MODEL, Image.new("RGB", clear.size, "white"))
    torch.testing.assert_close(found[2], white[0])


def test_texts_and_cosines() -> None:
    texts = clipdistill.embed_texts(MODEL, ["a red disc", "a blue ring", "a red disc"])
    assert torch.equal(texts[0], texts[2]) and texts.norm(dim=-1).allclose(torch.ones(3))
    assert clipdistill.embed_texts(MODEL, "a red disc").shape == (1, MODEL.embed_dim)
    MODEL.train()
    try:
        cosines = clipdistill.embed_images(MODEL, [picture(3)]) @ texts.T
        assert MODEL.training and cosines.abs().max() <= 1
    finally:
        MODEL.eval()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no")
    with pytest.raises(UserError, match="picture 1: .*b.png: not an image"):
        clipdistill.embed_images(MODEL, [picture(0), tmp_path / "b.png"])
    with pytest.raises(UserError, match="no pictures"):
        clipdistill.embed_images(MODEL, [])


def test_pixels_that_were_normalised_already_are_refused() -> None:
    """As open_clip's own preprocessing gives them: a second time gave a cosine of 0.6 without a word."""
    pixels = torch.zeros(2, 3, 64, 64)
    pixels[0] = 1
    MODEL.encode_image(pixels)
    with pytest.raises(ValueError, match=r"pixels from -2 to .*: give uint8, or floats in \[0, 1\]"):
        MODEL.encode_image((pixels - 0.5) / 0.25)


def test_a_device_that_is_not_there_and_what_a_model_calls_itself() -> None:
    count = sum(one.numel() for one in MODEL.parameters())
    assert (
        repr(MODEL) == f"DualEncoder('petri-tiny-student': {count:,} parameters, 64 x 64 pixels -> {MODEL.embed_dim})"
    )
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(UserError, match=f"device '{missing}': .*; `clipdistill doctor` lists them"):
        load_model("petri-teacher-small", device=missing)
