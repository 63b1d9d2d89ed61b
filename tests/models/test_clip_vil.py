"""CLIP-ViL: regions are the grid of an image tower, whose gradient is there or not; saved, costed, fingerprinted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, open_trained
from clipdistill.models import create_model, load_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.clip_vil import ClipViL, create_clip_vil, grid_facts
from clipdistill.models.fusion.measures import example, parameter_counts, run_example
from clipdistill.models.measures import counted_flops
from clipdistill.recipe import ModelSpec
from tests.models.tiny_fusion import TINY

KIND = KINDS["fusion"]
SIZES = {key: value for key, value in TINY.items() if key != "region_width"}
TOWERS = {"vit": "petri-tiny-student", "resnet": "petri-teacher-small"}


def tiny(tower: str, **changes: Any) -> ClipViL:
    clip = load_model(TOWERS[tower]) if tower == "resnet" else create_model(TOWERS[tower], seed=0)
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "heads": {"vqa": 3}}
    return create_clip_vil("petri-clip-vil", clip, 0, **{**SIZES, **quiet, **changes})


def batch_of(model: ClipViL, size: int = 2) -> dict[str, Any]:
    batch = example(model, size)
    generator = torch.Generator().manual_seed(0)
    picture = batch["image/student"]
    batch["image/student"] = torch.randint(256, picture.shape, generator=generator, dtype=torch.uint8)
    batch["object_regions"] = torch.tensor([[1, -1]] * size)
    batch["text/tags"] = batch["text/tags"].clone()
    batch["text/tags"][:, 2], batch["text/tags"][:, 3] = 0, 1
    return batch


@pytest.mark.parametrize("tower", TOWERS)
def test_regions_are_the_towers_cells_row_by_row(tower: str) -> None:
    model = tiny(tower)
    batch = batch_of(model)
    seen = model.see(batch)
    _, cells = model.clip.image_tokens(batch["image/student"])
    assert torch.equal(seen["regions"], cells) and cells.shape[1] == model.grid**2
    assert model.config.region_width == model.region_width == cells.shape[2]
    inputs = fusion_inputs(seen, "text")
    assert inputs.tags is not None and inputs.tags[0, :4].tolist() == [-1, -1, 2, -1]  # the whole image is region 0
    torch.testing.assert_close(inputs.features[:, 0], cells.mean(dim=1))
    step = 1 / model.grid
    torch.testing.assert_close(inputs.boxes[0, 2], torch.tensor([step, 0, 2 * step, step]))


@pytest.mark.parametrize("tower", TOWERS)
def test_the_gradient_reaches_the_tower_and_all_that_asks_for_one(tower: str) -> None:
    model = tiny(tower)

    def backward() -> dict[str, Any]:
        model.zero_grad()
        inputs = fusion_inputs(model.see(batch_of(model)), "text")
        model.scores("vqa", model(inputs), inputs).square().sum().backward()
        return {name: value.grad for name, value in model.named_parameters()}

    found = backward()
    asked = {name for name, value in model.named_parameters() if value.requires_grad and name.startswith("clip.")}
    visual = {name for name, _ in model.named_parameters() if name.startswith("clip.clip.visual.")}
    unused = {name for name in visual if "attnpool" in name or name.endswith("visual.proj")}
    assert asked == visual - unused and unused
    assert all(found[name] is not None and found[name].abs().max() > 0 for name in asked)
    assert all(found[name] is None for name in found if name.startswith("clip.") and name not in asked)
    model.train_tower(False)
    assert not any(value is not None for name, value in backward().items() if name.startswith("clip."))
    assert not model.see(batch_of(model))["regions"].requires_grad
    model.train_tower(True)
    assert {name for name, value in model.named_parameters() if value.requires_grad} >= asked


def test_batch_norms_keep_their_statistics_in_training() -> None:
    model = tiny("resnet").train()
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    assert model.encoder.training and not any(module.training for module in model.clip.modules())
    alone, both = model.see(batch_of(model, 1))["regions"], model.see(batch_of(model, 2))["regions"]
    torch.testing.assert_close(alone[0], both[0])
    assert all(torch.equal(before[name], value) for name, value in model.clip.state_dict().items())


def test_eager_and_sdpa_give_the_same_numbers() -> None:
    model = tiny("vit").double()
    inputs = fusion_inputs(model.see(batch_of(model)), "text").to("cpu", torch.float64)
    with torch.no_grad():
        plain = model(inputs)
        model.set_attention("eager")
        again = model(inputs, weights=True)
    torch.testing.assert_close(again.sequence, plain.sequence, rtol=0, atol=1e-12)
    assert again.attention is not None and again.attention[0].shape[-1] == inputs.ids.shape[1] + 1 + model.grid**2


@pytest.mark.parametrize("tower", TOWERS)
def test_a_saved_one_comes_back_to_the_bit_with_its_own_tower(tower: str, tmp_path: Path) -> None:
    model = tiny(tower)
    with torch.no_grad():
        for value in model.clip.clip.visual.parameters():
            value.mul_(1.01)
    KIND.save(model, tmp_path / "student")
    again = open_trained(str(tmp_path))
    assert isinstance(again, ClipViL) and KIND.fingerprint(again) == KIND.fingerprint(model)
    assert again.name == model.name == f"petri-clip-vil:{TOWERS[tower]}" and again.config == model.config
    batch = batch_of(model)
    with torch.no_grad():
        assert torch.equal(run_example(model, batch), run_example(again, batch))
    asked = [{name for name, value in one.named_parameters() if value.requires_grad} for one in (model, again)]
    assert asked[0] == asked[1] and again.tokenizer("a red circle") == model.tokenizer("a red circle")
    # What lies inside is a CLIP of its own, with the tower as it is now.
    clip = load_model(tmp_path / "student" / "clip")
    pixels = batch["image/student"]
    assert torch.equal(clip.image_tokens(pixels)[1], model.clip.image_tokens(pixels)[1])
    with torch.no_grad():
        next(again.clip.clip.visual.parameters()).add_(1e-3)
    prints = {KIND.fingerprint(model), KIND.fingerprint(again)}
    model.preprocess["mean"] = [0.1, 0.2, 0.3]
    assert len(prints | {KIND.fingerprint(model)}) == 3


def test_cost_counts_the_tower_and_no_text_tower() -> None:
    model = tiny("vit", heads={})
    cost, counts = KIND.cost(model), parameter_counts(model)
    visual = sum(value.numel() for value in model.clip.clip.visual.parameters())
    own = sum(value.numel() for name, value in model.named_parameters() if not name.startswith("clip."))
    assert cost["parameters"] == visual + own and counts["image"] > visual
    assert KINDS["dual_encoder"].cost(model.clip)["image_parameters"] == visual
    parts = []
    with torch.no_grad():
        seen = model.see(example(model, 1))
        for work in (lambda: model.see(example(model, 1)), lambda: model(fusion_inputs(seen, "text"))):
            with counted_flops() as counter:
                work()
            parts.append(counter.get_total_flops())
    layers = 2 * (22 + 1 + 64) * 2 * (4 * 16 * 16 + 2 * 16 * 24)
    assert parts[0] > 0 and parts[1] > layers and cost["flops_per_pair"] == sum(parts)
    assert cost["images_per_second"] > 0


def test_names_that_open_one_and_names_that_do_not(tmp_path: Path) -> None:
    spec = ModelSpec(model="petri-clip-vil:petri-teacher-small")
    assert KIND.recognises(str(spec.model))
    first, second = KIND.new(spec, 1), KIND.new(spec, 2)
    assert torch.equal(first.clip.clip.visual.conv1.weight, load_model("petri-teacher-small").clip.visual.conv1.weight)
    assert not torch.equal(first.embeddings.words.weight, second.embeddings.words.weight)
    with pytest.raises(UserError, match="it stands on a CLIP; name it too"):
        KIND.new(ModelSpec(model="petri-clip-vil"), 1)
    with pytest.raises(UserError, match="random weights; give the folder of a trained one"):
        KIND.load("petri-clip-vil:petri-teacher-small")
    with pytest.raises(UserError, match=r"Did you mean 'petri-clip-vil'"):
        create_clip_vil("petri-clip-vill", first.clip)
    with pytest.raises(UserError, match="takes features of 3, and its CLIP has 512"):
        create_clip_vil("petri-clip-vil", first.clip, region_width=3)
    assert grid_facts(first.clip)[:2] == (4, 512)
    del tmp_path


@pytest.mark.parametrize("tower", TOWERS)
def test_checkpointed_activations_give_the_same_gradients(tower: str) -> None:
    found = []
    for on in (False, True):
        model = tiny(tower).train()
        if on:
            KIND.checkpoint_activations(model)
        run_example(model, batch_of(model)).square().sum().backward()
        found.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys() and any(name.startswith("clip.") for name in found[0])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)
