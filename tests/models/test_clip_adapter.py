"""Adapters on a frozen CLIP, and CLIP's grid as regions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity, gelu, normalize

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, kind_of, open_trained
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.fusion import FusionInputs, create_fusion
from clipdistill.models.fusion.adapter_config import ADAPTERS
from clipdistill.models.fusion.clip_adapter import ClipAdapter, create_adapter
from clipdistill.models.fusion.grid import embedded_regions, grid_boxes, grid_regions
from clipdistill.models.loading import assemble, load_model
from clipdistill.recipe import ModelSpec
from tests.models.tiny_models import CONFIGS, TEXTS

HEADS = {"vcr": 1, "snli_ve": 3, "vqa": 5}


def tiny_clip(kind: str = "clip") -> DualEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return assemble(kind, {"model_cfg": CONFIGS[kind]})


def pixels(count: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def batch(clip: DualEncoder) -> FusionInputs:
    with torch.no_grad():
        features, boxes, mask = embedded_regions(clip, pixels())
    ids = clip.tokenizer(TEXTS)
    return FusionInputs(ids, torch.zeros_like(ids), ids != 0, features, boxes, mask)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_answers_have_their_shapes_and_clip_never_learns(name: str) -> None:
    clip = tiny_clip()
    model = create_adapter(name, clip, 0, heads=HEADS).train()
    inputs = batch(clip)
    output = model(inputs)
    for head, outputs in HEADS.items():
        assert model.scores(head, output).shape == (3, outputs)  # type: ignore[arg-type]
    torch.stack([model.scores(head, output).square().sum() for head in HEADS]).sum().backward()  # type: ignore[arg-type]
    assert not clip.training and model.training
    for key, value in model.named_parameters():
        assert (value.grad is None) == key.startswith("clip."), key
    assert kind_of(model).name == "fusion" and output.image.shape == (3, 24)
    assert create_adapter(name, clip, 0, heads=HEADS).own_state().keys() == model.own_state().keys()


def test_a_text_is_read_once_and_the_same_in_any_batch(monkeypatch) -> None:
    clip = tiny_clip()
    model = create_adapter("clip-attention-1-concat", clip, 0, heads=HEADS)
    asked: list[int] = []
    read = clip.text_tokens
    monkeypatch.setattr(clip, "text_tokens", lambda ids: asked.append(len(ids)) or read(ids))
    inputs = batch(clip)
    whole = model(inputs)
    assert asked == [16]
    last = replace(inputs, **{name: value[2:] for name, value in vars(inputs).items() if value is not None})
    assert torch.equal(model(last).sequence, whole.sequence[2:]) and asked == [16]
    fresh = create_adapter("clip-attention-1-concat", clip, 0, heads=HEADS)
    assert torch.equal(fresh(last).sequence[:, : inputs.ids.shape[1]], whole.sequence[2:, : inputs.ids.shape[1]])


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return normalize(vectors, dim=-1) * 24**0.5


def test_concatenation_and_cosine_by_hand() -> None:
    clip = tiny_clip()
    inputs = batch(clip)
    with torch.no_grad():
        image, text = unit(clip.encode_image(pixels())), unit(clip.encode_text(inputs.ids))
        one = create_adapter("clip-mlp-1-concat", clip, 0, heads={"vcr": 1})
        head = one.heads["vcr"].out
        expected = torch.cat([text, image], 1) @ head.weight.T + head.bias
        torch.testing.assert_close(one.scores("vcr", one(inputs)), expected)

        three = create_adapter("clip-mlp-3-concat", clip, 0, heads={"vcr": 1})
        first, second, last = three.both[0], three.both[2], three.heads["vcr"].out
        expected = last(gelu(second(gelu(first(torch.cat([text, image], 1))))))
        torch.testing.assert_close(three.scores("vcr", three(inputs)), expected)

        cosine = create_adapter("clip-mlp-3-cosine", clip, 0, heads={"vcr": 1})
        t, i = cosine.text_side, cosine.image_side
        said = t[4](gelu(t[2](gelu(t[0](text)))))
        seen = i[4](gelu(i[2](gelu(i[0](image)))))
        expected = 10 * cosine_similarity(said, seen)[:, None]
        torch.testing.assert_close(cosine.scores("vcr", cosine(inputs)), expected)


def test_attention_sees_words_and_all_regions_and_no_padding() -> None:
    clip = tiny_clip()
    model = create_adapter("clip-attention-1-concat", clip, 0, heads={"vcr": 1})
    inputs = batch(clip)
    more = replace(
        inputs, features=torch.cat([inputs.features, torch.ones(3, 2, 24)], 1),
        boxes=torch.cat([inputs.boxes, torch.zeros(3, 2, 4)], 1),
        region_mask=torch.cat([inputs.region_mask, torch.tensor([[True, False]] * 3)], 1),
    )  # fmt: skip
    other = replace(more, features=more.features.clone())
    other.features[:, 2] = 7.0  # padding
    with torch.no_grad():
        plain, with_one, padded = (model.scores("vcr", model(each)) for each in (inputs, more, other))
    torch.testing.assert_close(padded, with_one, rtol=0, atol=1e-6)
    assert (with_one - plain).abs().min() > 1e-6


@pytest.mark.parametrize("name", ["clip-mlp-3-cosine", "clip-attention-1-concat"])
def test_an_adapter_comes_back_to_the_bit_with_its_clip(name: str, tmp_path: Path) -> None:
    clip = tiny_clip()
    model = create_adapter(name, clip, 3)
    model.add_heads({"vcr": 1, "snli_ve": 3}, seed=2)
    kind = KINDS["fusion"]
    kind.save(model, tmp_path / "student")
    assert kind.recognises(str(tmp_path))
    again = open_trained(str(tmp_path))
    assert isinstance(again, ClipAdapter) and again.config == model.config and again.name == model.name
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert kind.fingerprint(again) == kind.fingerprint(model)
    inputs = batch(clip)
    with torch.no_grad():
        assert torch.equal(again.scores("snli_ve", again(inputs)), model.scores("snli_ve", model(inputs)))
    cost = kind.cost(again)
    assert cost["parameters"] > cost["image_parameters"] > 0 and cost["flops_per_pair"] > 0


def test_new_stands_on_a_clip_with_weights() -> None:
    kind = KINDS["fusion"]
    spec = ModelSpec(model="clip-mlp-1-concat:petri-teacher-small")
    assert kind.recognises(str(spec.model))
    model = kind.new(spec, 1)
    assert model.name == spec.model and model.clip.name == "petri-teacher-small"
    for key, value in load_model("petri-teacher-small").state_dict().items():
        assert torch.equal(model.clip.state_dict()[key], value)
    with pytest.raises(UserError, match="it stands on a CLIP"):
        kind.new(ModelSpec(model="clip-mlp-1-concat"), 0)
    with pytest.raises(UserError, match="a name alone has random weights"):
        kind.new(ModelSpec(model="clip-mlp-1-concat:ViT-T-16"), 0)
    with pytest.raises(UserError, match="give the folder of a trained one"):
        kind.open(spec)
    with pytest.raises(UserError, match="an adapter on CLIP has none worth it"):
        kind.checkpoint_activations(model)
    with pytest.raises(UserError, match="has no head 'words'; leave it out"):
        model.add_heads({"words": 0}, seed=0)
    with pytest.raises(UserError, match="Did you mean 'clip-mlp-1-concat'"):
        create_adapter("clip-mlp-1-concta", model.clip)


def test_unfitting_inputs_are_named() -> None:
    clip = tiny_clip()
    model = create_adapter("clip-mlp-1-concat", clip, 0)
    inputs = batch(clip)
    with pytest.raises(UserError, match="a width of 5, and its CLIP embeds in 24"):
        model(replace(inputs, features=inputs.features[..., :5]))
    with pytest.raises(UserError, match="shifts no words"):
        model(inputs, word_shift=torch.zeros(3, 16, 24))
    shifted = model(inputs, region_shift=torch.ones(3, 1, 24))
    assert not torch.equal(shifted.pooled, model(inputs).pooled)


@pytest.mark.parametrize(("kind", "side", "cells", "width"), [("clip", 32, 16, 32), ("resnet", 64, 4, 256)])
def test_clips_grid_as_regions_of_a_fusion_model(kind: str, side: int, cells: int, width: int) -> None:
    clip = tiny_clip(kind)
    images = pixels(2, side)
    features, boxes, mask = grid_regions(clip, images)
    assert features.shape == (2, cells, width) and mask.all()
    _, tokens = clip.image_tokens(images)
    torch.testing.assert_close(features, tokens)
    model = create_fusion("petri-uniter", 0, region_width=width)
    ids = torch.full((2, 3), 2)
    model(FusionInputs(ids, ids * 0, ids > 0, features, boxes, mask)).pooled.square().sum().backward()
    assert any(value.grad is not None and value.grad.abs().max() > 0 for value in clip.clip.visual.parameters())


def test_grid_boxes_by_hand() -> None:
    assert grid_boxes(4).tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    with pytest.raises(UserError, match="its 5 image features are no square grid"):
        grid_boxes(5)
