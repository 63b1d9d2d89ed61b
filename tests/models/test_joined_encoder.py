"""JoinedEncoder: towers from local files, projections, locking."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_models import pixels_of, stir, write_text_tower

from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.models import JoinedEncoder, create_joined, fingerprint, load_model

TEXTS = ["a red circle", "two blue squares left", "left"]


@pytest.fixture
def image_weights(tmp_path):
    """A classifier's weights as timm publishes them, head included."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet").eval()
    stir(network)
    save_file(network.state_dict(), tmp_path / "tower.safetensors")
    return tmp_path / "tower.safetensors"


@pytest.fixture
def spec(tmp_path, image_weights):
    return {
        "image_tower": "test_efficientnet",
        "image_weights": image_weights,
        "text_tower": str(write_text_tower(tmp_path / "text")),
        "embed_dim": 12,
    }


def test_features_are_those_of_the_towers_themselves(spec, image_weights):
    """The image tower before its classifier; the text tower's tokens averaged over the text, not the padding."""
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    model = JoinedEncoder(spec).double()
    network = timm.create_model("test_efficientnet")
    network.load_state_dict(load_file(image_weights))
    network.reset_classifier(0)
    network.double().eval()
    pixels = pixels_of(model)
    own = network.pretrained_cfg
    mean, std = (torch.tensor(own[key]).double().view(1, 3, 1, 1) for key in ("mean", "std"))
    x = (pixels.double() / 255 - mean) / std
    torch.testing.assert_close(model.image_tower_features(pixels), network(x), rtol=0, atol=1e-6)

    tokenizer, bert = (kind.from_pretrained(spec["text_tower"]) for kind in (AutoTokenizer, AutoModel))
    bert.double().eval()
    expected = []
    for text in TEXTS:  # one at a time, so there is no padding at all
        hidden = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state
        expected.append(hidden[0].mean(dim=0))
    found = model.text_tower_features(model.tokenizer(TEXTS))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("projection", ["linear", "mlp"])
def test_projected_features_are_the_embeddings(spec, projection):
    model = JoinedEncoder({**spec, "projection": projection}).double()
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    image, text = model(pixels, tokens)
    assert image.shape == (2, 12) and text.shape == (3, 12)
    assert torch.equal(image, model.project_image(model.image_tower_features(pixels)))
    assert torch.equal(text, model.project_text(model.text_tower_features(tokens)))
    torch.testing.assert_close(model.clip.encode_image(model.normalise_pixels(pixels)), image, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.clip.encode_text(tokens), text, rtol=0, atol=1e-12)
    pooled, features = model.text_tokens(tokens)
    torch.testing.assert_close(pooled, text, rtol=0, atol=1e-12)
    assert features.shape == (3, 32, 16) and len(model.token_offsets(TEXTS)[0]) == 32


def test_locked_towers_neither_learn_nor_drift(spec):
    model = JoinedEncoder(spec)
    model.lock_towers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    image, text = model(pixels_of(model, 3), model.tokenizer(TEXTS))
    (image * text).sum().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"clip.visual.head.proj.weight", "clip.text.proj.weight"}
    assert not model.image_tower_features(pixels_of(model)).requires_grad
    model.unlock_towers()
    assert model.train().image_tower_features(pixels_of(model)).requires_grad
    assert model.clip.visual.trunk.training


def test_training_the_projections_leaves_the_towers_fingerprint(spec):
    model = JoinedEncoder(spec)
    towers, whole = fingerprint(model, towers_only=True), fingerprint(model)
    with torch.no_grad():
        model.clip.text.proj.weight.add_(1)
    assert fingerprint(model, towers_only=True) == towers and fingerprint(model) != whole
    with torch.no_grad():
        next(model.clip.text.transformer.parameters()).add_(1)
    assert fingerprint(model, towers_only=True) != towers


def test_saved_and_opened_again_after_the_parts_are_gone(spec, tmp_path):
    import shutil

    model = create_joined(spec)
    save_student(model, tmp_path / "saved")
    shutil.rmtree(spec["text_tower"])
    spec["image_weights"].unlink()
    (tmp_path / "saved").rename(tmp_path / "moved")
    again = load_model(tmp_path / "moved")
    assert isinstance(again, JoinedEncoder) and fingerprint(again) == fingerprint(model)
    tokens = model.tokenizer(TEXTS)
    assert torch.equal(again.tokenizer(TEXTS), tokens)
    assert torch.equal(again.encode_text(tokens), model.encode_text(tokens))
    save_student(again, tmp_path / "once more")
    assert fingerprint(load_model(tmp_path / "once more")) == fingerprint(model)
    for name in ("moved", "once more"):
        assert str(tmp_path) not in (tmp_path / name / "open_clip_config.json").read_text()


def test_the_saved_folder_opens_in_open_clip_from_inside(spec, tmp_path, monkeypatch):
    import open_clip

    model = create_joined(spec)
    save_student(model, tmp_path / "saved")
    monkeypatch.chdir(tmp_path / "saved")
    theirs, _, _ = open_clip.create_model_and_transforms("local-dir:.")
    tokens = open_clip.get_tokenizer("local-dir:.")(TEXTS)
    x = model.normalise_pixels(pixels_of(model))
    torch.testing.assert_close(theirs.eval().encode_image(x), model.encode_image(pixels_of(model)), rtol=0, atol=1e-6)
    torch.testing.assert_close(theirs.encode_text(tokens), model.encode_text(tokens), rtol=0, atol=1e-6)


def test_a_text_tower_that_open_clip_has_no_entry_for(spec, tmp_path):
    from transformers import AutoModel

    folder = str(write_text_tower(tmp_path / "distil", kind="distilbert"))
    model = create_joined({**spec, "text_tower": folder})
    tokens = model.tokenizer(TEXTS)
    mask = (tokens != 0).long()
    theirs = AutoModel.from_pretrained(folder).eval()
    hidden = theirs(input_ids=tokens, attention_mask=mask).last_hidden_state
    expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(model.text_tower_features(tokens), expected, rtol=0, atol=1e-6)
    save_student(model, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert torch.equal(again.encode_text(tokens), model.encode_text(tokens))


def test_an_image_tower_with_a_hidden_layer_in_its_head(spec):
    """open_clip sizes the projection of these wrongly, and they fail when run."""
    model = create_joined({**spec, "image_tower": "lcnet_035", "image_weights": None, "image_size": 32})
    assert model.encode_image(pixels_of(model)).shape == (2, 12)


def test_a_vision_transformer_at_another_resolution(spec, tmp_path):
    model = create_joined({**spec, "image_tower": "test_vit", "image_weights": None, "image_size": 64})
    assert model.preprocess["size"] == [64, 64]
    assert model.image_tokens(pixels_of(model))[1].shape == (2, 16, 64)
    save_student(model, tmp_path / "saved")
    assert fingerprint(load_model(tmp_path / "saved")) == fingerprint(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_towr": "x"}, "Did you mean 'image_tower'"),
        ({"image_tower": "tf_efficientnet_lite9"}, "Did you mean 'tf_efficientnet_lite"),
        ({"image_tower": None}, "'image_tower' is missing"),
        ({"projection": "cubic"}, "'linear' or 'mlp'"),
        ({"image_weights": "/nowhere/x.safetensors"}, "/nowhere/x.safetensors doesn't exist"),
        ({"image_weights": "pretrained"}, "hf download timm/test_efficientnet"),
        ({"text_tower": "/nowhere/text"}, "/nowhere/text doesn't exist"),
        ({"text_tower": "some/encoder"}, "hf download some/encoder"),
        ({"context_length": 33}, "has only 32 positions"),
        ({"image_tower": "test_resnet"}, "doesn't fit test_resnet"),
    ],
)
def test_mistakes_get_one_line(spec, change, message):
    with pytest.raises(UserError) as caught:
        create_joined({**spec, **change})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_one_tower_locked_while_the_other_trains(spec):
    """What a small image encoder in front of a finished sentence encoder needs."""
    model = JoinedEncoder(spec)
    model.lock_towers(image=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = model.tokenizer(TEXTS)
    free = JoinedEncoder(spec)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the second time, the text tower's answers come from its memo
        optimizer.zero_grad()
        (model.encode_image(pixels_of(model, 3)) * model.encode_text(tokens)).sum().backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("clip.text.transformer") for name in changed)
    assert "clip.text.proj.weight" in changed and any(name.startswith("clip.visual.trunk") for name in changed)
    torch.testing.assert_close(model.text_tower_features(tokens), free.text_tower_features(tokens), rtol=0, atol=1e-5)


def test_padding_is_not_paid_for_and_not_felt(spec):
    model = JoinedEncoder(spec).double()
    long = model.text_tower_features(model.tokenizer([TEXTS[2], "a red circle left of two blue squares"]))[0]
    alone = model.text_tower_features(model.tokenizer([TEXTS[2]]))[0]
    torch.testing.assert_close(alone, long, rtol=0, atol=1e-12)
    nothing = torch.full((1, 32), model.clip.text.config.pad_token_id)
    assert model.text_tower_features(nothing).shape == (1, 16)
