"""The kind `fusion`: made, opened, recognised, saved, measured; round trips to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, kind_of, open_trained
from clipdistill.models.fusion import FusionModel, create_fusion, released
from clipdistill.models.fusion.config import SHIPPED_WORDPIECE
from clipdistill.models.fusion.measures import parameter_counts
from clipdistill.models.fusion.released import to_released
from clipdistill.models.fusion.saving import CONFIG, WEIGHTS
from clipdistill.recipe import ModelSpec
from tests.models.tiny_fusion import ARCHITECTURES, tiny_config, tiny_fusion, tiny_inputs

KIND = KINDS["fusion"]
PETRI = ("petri-uniter", "petri-vl-bert")


def same(first: FusionModel, second: FusionModel) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", PETRI)
def test_new_is_a_function_of_the_seed_and_leaves_torchs_state(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model = KIND.new(ModelSpec(model=name), 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(model, KIND.new(ModelSpec(model=name), 3)) and not same(model, KIND.new(ModelSpec(model=name), 4))
    assert kind_of(model) is KIND and not model.training and model.name == name
    assert model.tokenizer("a red circle")["input_ids"][0] == 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_comes_back_to_the_bit(architecture: str, tmp_path: Path) -> None:
    model = tiny_fusion(architecture).float()
    KIND.save(model, tmp_path / "student")
    for name in (tmp_path, tmp_path / "student"):  # a RUN and its folder
        assert KIND.recognises(str(name))
        again = open_trained(str(name))
        assert same(model, again) and again.config == model.config and again.name == model.name
        assert KIND.fingerprint(again) == KIND.fingerprint(model)
        inputs = tiny_inputs().to("cpu", torch.float32)
        with torch.no_grad():
            assert torch.equal(model(inputs).sequence, again(inputs).sequence)
        assert again.tokenizer("a Red circle?") == model.tokenizer("a Red circle?")
        assert all(value.requires_grad for value in again.parameters())
    KIND.save(again, tmp_path / "twice")
    for file in (tmp_path / "student").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes()
        assert str(tmp_path) not in file.read_bytes().decode("utf-8", "ignore")


def test_fingerprints_see_weights_settings_and_vocabulary() -> None:
    model = tiny_fusion("vl_bert")
    prints = {KIND.fingerprint(model), KIND.fingerprint(tiny_fusion("vl_bert", 1))}
    prints.add(KIND.fingerprint(tiny_fusion("vl_bert", untagged="nothing")))
    prints.add(KIND.fingerprint(tiny_fusion("vl_bert", tokenizer=False)))
    assert len(prints) == 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_authors_checkpoint_opens_by_its_file(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of VL-BERT's input are sines and cosines in the released models: 24 = 8 * 3.
    heads = {"vcr": 2 if architecture == "uniter" else 1}
    if architecture == "vl_bert":
        heads["region_classes"] = 81
    model = create_fusion(tiny_config(architecture, attention_heads=1, region_width=24, heads=heads), 0)
    path = tmp_path / "released.pt"
    torch.save({"model_state": to_released(model, "vcr")}, path)
    assert KIND.recognises(str(path))
    with pytest.raises(UserError, match=r"`hf download bert-base-uncased`"):
        open_trained(str(path))  # its vocabulary isn't on this machine
    monkeypatch.setitem(released.CASED, 312, SHIPPED_WORDPIECE)
    again = open_trained(str(path))
    assert again.name == "released" and again.config.heads == heads
    inputs = tiny_inputs().to("cpu", torch.float32)
    inputs = replace(inputs, features=inputs.features.repeat(1, 1, 4))
    with torch.no_grad():
        assert torch.equal(again.scores("vcr", again(inputs)), model.scores("vcr", model(inputs)))


def test_a_configuration_filled_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipdistill.models.fusion import config

    sizes = {**tiny_config("uniter"), "heads": {"words": 0}, "types": 2}
    monkeypatch.setitem(config.NAMED, "tiny-pretrained", sizes)
    monkeypatch.setitem(config.NAMED, "tiny-vcr", {**sizes, "types": 4, "heads": {"vcr": 2}})
    model = create_fusion("tiny-pretrained", 0)
    path = tmp_path / "villa.pt"
    torch.save(to_released(model, "pretraining"), path)
    spec = ModelSpec(model=f"tiny-vcr:{path}")
    assert KIND.recognises(str(spec.model))
    first, second = KIND.new(spec, 1), KIND.new(spec, 2)
    assert torch.equal(first.encoder.layer[1].output.dense.weight, model.encoder.layer[1].output.dense.weight)
    assert torch.equal(first.embeddings.types.weight[3], model.embeddings.types.weight[0])
    assert not torch.equal(first.heads["vcr"].out.weight, second.heads["vcr"].out.weight)
    assert first.name == "tiny-vcr" and list(first.heads) == ["vcr"]


def test_wrong_names_and_damaged_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a name alone has random weights; add a checkpoint"):
        KIND.open(ModelSpec(model="petri-uniter"))
    with pytest.raises(UserError, match="Did you mean 'petri-uniter'"):
        create_fusion("petri-unitre")
    with pytest.raises(UserError, match=r"unknown key `widht`. Did you mean 'width'"):
        create_fusion("petri-uniter", widht=3)
    with pytest.raises(UserError, match="3 don't share a width of 64"):
        create_fusion("petri-uniter", attention_heads=3)
    with pytest.raises(
        UserError, match=r"bert-base-cased' can't be opened; fetch it with `hf download bert-base-cased`"
    ):
        KIND.new(ModelSpec(model="uniter-base"), 0)
    with pytest.raises(UserError, match="has 312 words and the model 20"):
        create_fusion("petri-uniter", vocabulary=20)
    KIND.save(tiny_fusion("uniter"), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"short")
    with pytest.raises(UserError, match="can't be read as a fusion model"):
        open_trained(str(tmp_path))
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "layers": "two"}))
    with pytest.raises(UserError, match="`layers`"):
        open_trained(str(tmp_path))
    (tmp_path / CONFIG).write_text('{"model_type": "clip"}')
    assert not KIND.recognises(str(tmp_path)) and not KIND.recognises("ViT-B-32:openai")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cost_counts_both_sides(architecture: str) -> None:
    model = tiny_fusion(architecture, heads={}).float()
    cost = KIND.cost(model)
    assert set(cost) == {"parameters", "image_parameters", "text_parameters", "flops_per_pair", "images_per_second"}
    assert cost["parameters"] == sum(value.numel() for value in model.parameters())
    layers = sum(v.numel() for part in (model.encoder, model.pooler) for v in part.parameters())
    tables = (312 + 24 + (4 if architecture == "uniter" else 3)) * 16
    norm = 2 * 16
    if architecture == "uniter":
        image = (6 * 16 + 16) + (7 * 16 + 16) + 6 + 3 * norm
        assert (cost["text_parameters"], cost["image_parameters"]) == (tables + norm, image)
        assert cost["parameters"] == layers + tables + norm + image
    else:
        image = ((24 + 6) * 16 + 16) + 4 * 16 + 6 + 2 * norm
        assert (cost["text_parameters"], cost["image_parameters"]) == (tables, image)
        assert cost["parameters"] == layers + tables + norm + image
    # 22 words and 36 regions, [END]: at least the layers' matrix products
    tokens = 22 + 36 + (architecture == "vl_bert")
    assert cost["flops_per_pair"] > 2 * tokens * 2 * (4 * 16 * 16 + 2 * 16 * 24) and cost["images_per_second"] > 0
    assert parameter_counts(model)["total"] == cost["parameters"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpointed_activations_give_the_same_gradients(architecture: str) -> None:
    inputs = tiny_inputs()
    found = []
    for on in (False, True):
        model = tiny_fusion(architecture).train()
        if on:
            KIND.checkpoint_activations(model)
        torch.manual_seed(5)
        output = model(inputs)
        (output.pooled.square().sum() + model.scores("words", output).logsumexp(-1).sum()).backward()
        found.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=0)


def test_compiling_reaches_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny_fusion("uniter"), []
    monkeypatch.setattr(type(model.encoder), "compile", lambda self: seen.append(self))
    KIND.compile(model)
    assert seen == [model.encoder]
