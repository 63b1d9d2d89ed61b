from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch import nn

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
}


class ColourModel(nn.Module):
    """Sees the mean colour of a picture, and reads the colour words of a text: perfect, and easy to reason about."""

    KIND, name = "dual_encoder", "colours"
    preprocess = {"size": 16, "interpolation": "bilinear", "resize_mode": "shortest", "fill_color": 0}

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.texts_seen = []

    def tokenizer(self, texts):
        self.texts_seen += texts
        sums = [[sum(COLOURS[w][c] for w in text.split() if w in COLOURS) for c in range(3)] for text in texts]
        return torch.tensor(sums)

    def encode_image(self, pixels):
        assert not self.training and not torch.is_grad_enabled()
        assert pixels.dtype == torch.uint8
        return pixels.float().mean(dim=(2, 3)) * self.weight

    def encode_text(self, tokens):
        return tokens.float() * self.weight


@pytest.fixture
def model():
    return ColourModel()


@pytest.fixture
def world(tmp_path):
    """A folder laid out as a petri world: four one-coloured pictures, one of them broken."""
    images = []
    (tmp_path / "images").mkdir()
    for number, colour in enumerate(("red", "green", "blue", "grey")):
        Image.new("RGB", (20, 20), COLOURS[colour]).save(tmp_path / "images" / f"{number}.png")
        sentences = [{"raw": f"a {colour} wall"}, {"raw": f"all {colour}"}]
        images.append({"filename": f"{number}.png", "split": "test", "imgid": number, "sentences": sentences})
    (tmp_path / "images" / "3.png").write_bytes(b"not a picture")
    (tmp_path / "dataset_petri.json").write_text(json.dumps({"dataset": "petri", "images": images}))
    for part, colours in (("seen", ("red", "green")), ("unseen", ("blue", "yellow"))):
        for colour in colours:
            (tmp_path / "zero_shot" / part / colour).mkdir(parents=True)
            Image.new("RGB", (20, 20), COLOURS[colour]).save(tmp_path / "zero_shot" / part / colour / "0.png")
    return tmp_path
