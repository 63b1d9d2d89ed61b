"""Fingerprints, parameter counts and operation counts."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CONFIGS, encoder

from clipdistill.models import create_model, fingerprint, flops_per_pair, parameter_counts


def test_fingerprint_is_of_what_decides_the_embeddings():
    model = encoder("clip")
    before = fingerprint(model)
    model.name = "another"
    assert fingerprint(model) == before == fingerprint(encoder("clip"))
    model.preprocess["interpolation"] = "bilinear"
    assert fingerprint(model) != before


@pytest.mark.parametrize("parameter", ["clip.logit_scale", "clip.visual.proj", "clip.positional_embedding"])
def test_fingerprint_sees_the_last_bit_of_any_weight(parameter):
    model = encoder("clip")
    before = fingerprint(model)
    with torch.no_grad():
        value = dict(model.named_parameters())[parameter].view(-1)[-1:]
        value.copy_(torch.nextafter(value, torch.tensor(torch.inf)))
    assert fingerprint(model) != before


def test_fingerprint_sees_the_tokenizer():
    model = encoder("clip")
    before = fingerprint(model)
    model.tokenizer.key = "another"
    assert fingerprint(model) != before


@pytest.mark.parametrize("kind", ["clip", "custom", "resnet", "siglip"])
def test_the_towers_and_the_scales_make_the_total(kind):
    model = encoder(kind)
    counts = parameter_counts(model)
    scales = 1 + (model.logit_bias is not None)
    assert counts["image"] + counts["text"] + scales == counts["total"] == sum(p.numel() for p in model.parameters())


def test_vit_t_16_has_the_size_of_deit_tiny_and_its_text_tower():
    counts = parameter_counts(create_model("ViT-T-16", seed=0))
    deit_tiny = 5_717_416 - 192 * 1000 - 1000  # the published count less its classifier
    extra = 192 * 512 + 2 * 192 - 192  # projection and the norm before the blocks, less the patch bias
    assert counts["image"] == deit_tiny + extra


@pytest.mark.parametrize(
    ("name", "published", "width"),
    [
        ("RN18", 11_689_512, 512), ("Swin-T", 28_288_354, 768), ("MobileViT-S", 5_578_632, 640),
        ("MobileNetV3-S", 2_542_856, 1024), ("EfficientNet-B0", 5_288_548, 1280),
    ],
)  # fmt: skip
def test_clip_kds_other_students_have_the_published_sizes(name, published, width):
    """A projection in place of the classifier of 1,000 classes; the text tower is ViT-T/16's."""
    model = create_model(name, seed=0)
    counts = parameter_counts(model)
    assert counts["image"] == published - 1000 * (width + 1) + 512 * width
    assert counts["text"] == parameter_counts(create_model("ViT-T-16", seed=0))["text"]
    assert model.embed_dim == 512 and model.preprocess["size"] == [224, 224]


def test_operations_of_a_vit_by_hand():
    model = encoder("clip")
    vision, text = CONFIGS["clip"]["vision_cfg"], CONFIGS["clip"]["text_cfg"]

    def blocks(length, width, layers):
        return layers * (2 * length * 12 * width**2 + 4 * length**2 * width)

    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    expected = 2 * patches * 3 * vision["patch_size"] ** 2 * vision["width"]
    expected += blocks(patches + 1, vision["width"], vision["layers"]) + 2 * vision["width"] * 24
    expected += blocks(text["context_length"], text["width"], text["layers"]) + 2 * text["width"] * 24
    assert flops_per_pair(model) == expected


def test_counting_leaves_the_training_mode_as_it_was():
    model = encoder("resnet").train()
    running = model.clip.visual.bn1.running_mean.clone()
    flops_per_pair(model)
    assert all(module.training for module in model.modules())
    assert torch.equal(model.clip.visual.bn1.running_mean, running)
