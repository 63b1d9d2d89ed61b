"""Every spelling of MODEL, and what is said when it can't be had."""

from __future__ import annotations

import json
import shutil
import zipfile

import open_clip
import pytest
import torch
from tiny_models import CONFIGS, TEXTS, encoder, pixels_of

from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.models import create_model, fingerprint, load_model, loading, parameter_counts
from clipdistill.models.named import SHIPPED_TOKENIZER, model_config, our_models

NAME = "petri-tiny-student"


def message_of(name):
    with pytest.raises(UserError) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_name_and_a_weights_file(suffix, tmp_path):
    model = create_model(NAME, seed=5)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":  # as open_clip's own training leaves it
        state = {f"module.{key}": value for key, value in model.clip.state_dict().items()}
        torch.save({"epoch": 3, "name": "x", "state_dict": state}, path)
    else:
        from safetensors.torch import save_file

        save_file(model.clip.state_dict(), path)
    found = load_model(f"{NAME}:{path}")
    assert fingerprint(found) == fingerprint(model)
    assert found.name == f"{NAME}:weights.{suffix}" and not found.training


class Payload:
    """A pickle that runs code when it is opened."""

    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pt")
    assert str(tmp_path / "evil.pt") in message_of(f"{NAME}:{tmp_path / 'evil.pt'}")
    assert not Payload.ran


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(create_model("petri-student", seed=0).clip.state_dict(), tmp_path / "other.pt")
    assert "doesn't load into 'petri-tiny-student'" in message_of(f"{NAME}:{tmp_path / 'other.pt'}")


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_student(create_model(NAME, seed=0), tmp_path / "whole")
    path.write_bytes((tmp_path / "whole" / "open_clip_model.safetensors").read_bytes()[:1000])
    assert str(path) in message_of(f"{NAME}:{path}")


def test_a_tag_trained_with_quick_gelu_gets_quick_gelu_and_its_own_preprocessing(tmp_path, monkeypatch):
    """open_clip only warns here (ViT-B-32:openai), and its embeddings are then wrong."""
    source = create_model(NAME, seed=1)
    torch.save(source.clip.state_dict(), tmp_path / "w.pt")
    entry = {"hf_hub": "x/y/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda _name, tag: entry if tag == "openai" else {})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda _cfg: str(tmp_path / "w.pt"))
    found = load_model(f"{NAME}:openai")
    assert found.config["model_cfg"]["quick_gelu"] is True
    assert found.preprocess["mean"] == [0.1, 0.2, 0.3] and found.preprocess["interpolation"] == "bilinear"
    assert found.preprocess["size"] == [64, 64]
    kinds = {type(module).__name__ for module in found.clip.modules()}
    assert "QuickGELU" in kinds and "GELU" not in kinds
    save_student(found, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert torch.equal(again.encode_image(pixels_of(found)), found.encode_image(pixels_of(found)))


def test_a_run_gives_its_student(tmp_path):
    model = encoder("clip")
    save_student(model, tmp_path / "run" / "student")
    (tmp_path / "run" / "recipe.yaml").write_text("task: clip_kd\n")
    found = load_model(tmp_path / "run")
    assert fingerprint(found) == fingerprint(model) and found.name == "tiny-clip"
    assert fingerprint(load_model(f"local-dir:{tmp_path / 'run' / 'student'}")) == fingerprint(model)


def test_a_run_without_student_yet(tmp_path):
    (tmp_path / "recipe.yaml").write_text("task: clip_kd\n")
    assert "--resume" in message_of(tmp_path)


def test_folders_that_are_no_models(tmp_path):
    assert "neither open_clip_config.json nor config.json" in message_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "model_type is 'bert'" in message_of(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{half")
    assert str(tmp_path / "open_clip_config.json") in message_of(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert "no 'model_cfg'" in message_of(tmp_path)


def test_a_folder_without_weights(tmp_path):
    save_student(encoder("clip"), tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    assert "open_clip_model.safetensors" in message_of(tmp_path)


def test_a_transformers_folder_that_lacks_something(tmp_path):
    save_student(encoder("clip"), tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    (tmp_path / "open_clip_model.safetensors").unlink()
    assert load_model(tmp_path).embed_dim == 24
    for path in tmp_path.glob("*token*"):
        shutil.move(path, tmp_path.parent / path.name)
    assert "has no tokenizer files" in message_of(tmp_path)
    shutil.move(tmp_path.parent / "tokenizer.json", tmp_path / "tokenizer.json")
    (tmp_path / "model.safetensors").unlink()
    assert "model.safetensors" in message_of(tmp_path)


def test_both_layouts_of_a_folder_are_one_model(tmp_path):
    save_student(encoder("clip"), tmp_path)
    ours = load_model(tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    theirs = load_model(tmp_path)
    assert torch.equal(theirs.encode_image(pixels_of(ours)), ours.encode_image(pixels_of(ours)))
    assert torch.equal(theirs.tokenizer(TEXTS), ours.tokenizer(TEXTS)) and theirs.preprocess == ours.preprocess


def test_a_hub_repository(tmp_path, monkeypatch):
    import huggingface_hub

    model = encoder("clip")
    save_student(model, tmp_path)
    asked = []

    def snapshot(repository, allow_patterns):
        asked.append((repository, tuple(allow_patterns)))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    found = load_model("hf-hub:owner/name")
    assert fingerprint(found) == fingerprint(model) and found.name == "hf-hub:owner/name"
    assert all(repository == "owner/name" for repository, _ in asked)


def test_shipped_weights_may_be_half_precision(tmp_path, monkeypatch):
    model = create_model("petri-teacher", seed=0)
    save_student(model, tmp_path / "petri-teacher", dtype=torch.float16)
    monkeypatch.setattr(loading, "WEIGHTS_FOLDER", tmp_path)
    found = load_model("petri-teacher")
    assert all(p.dtype == torch.float32 for p in found.parameters())
    tokens = model.tokenizer(TEXTS)
    torch.testing.assert_close(found.encode_text(tokens), model.encode_text(tokens), rtol=0, atol=1e-2)


def test_a_teacher_that_is_not_there_is_no_random_model(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "WEIGHTS_FOLDER", tmp_path)
    assert "aren't in this installation" in message_of("petri-teacher")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ViT-B-33", ["Did you mean 'ViT-B-32'"]),
        ("petri-studnt", ["Did you mean 'petri-student'"]),
        ("ViT-B-33:openai", ["Did you mean 'ViT-B-32'"]),
        ("ViT-B-32:opnai", ["Did you mean 'openai'"]),
        ("ViT-T-16:nowhere.pt", ["no such pretrained tag or file"]),
        ("runs/nowhere", ["no such folder"]),
        ("ViT-B-32:openai", ["hf download timm/vit_base_patch32_clip_224.openai", "ViT-B-32:/path/to"]),
        ("hf-hub:owner/name", ["hf download owner/name", "local folder"]),
        ("ViT-B-16-SigLIP", ["hf download timm/ViT-B-16-SigLIP"]),
        ("roberta-ViT-B-32", ["hf download roberta-base"]),
    ],
)
def test_names_that_lead_nowhere(name, parts, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = message_of(name)
    assert all(part in message for part in parts), message


def test_a_text_tower_that_is_not_there():
    text = {"hf_model_name": "some/encoder", "hf_tokenizer_name": SHIPPED_TOKENIZER, "context_length": 16}
    cfg = {"embed_dim": 8, "vision_cfg": CONFIGS["clip"]["vision_cfg"], "text_cfg": text}
    with pytest.raises(UserError, match="hf download some/encoder"):
        loading.assemble("mine", {"model_cfg": cfg})


def test_a_configuration_that_open_clip_does_not_know():
    cfg = {**CONFIGS["clip"], "vision_cfg": {**CONFIGS["clip"]["vision_cfg"], "widht": 3}}
    with pytest.raises(UserError, match="widht"):
        loading.assemble("mine", {"model_cfg": cfg})


def test_students_of_the_paper():
    """CLIP-KD's ViT-T/16 and ViT-S/16; OpenAI's spelling of a name finds the same configuration."""
    tiny, small = model_config("ViT-T-16"), model_config("ViT-S-16")
    assert (tiny["vision_cfg"]["width"], tiny["vision_cfg"]["layers"], tiny["text_cfg"]["width"]) == (192, 12, 384)
    assert tiny["vision_cfg"].get("head_width", 64) * 3 == 192 and tiny["embed_dim"] == 512
    assert (small["vision_cfg"]["width"], small["vision_cfg"]["layers"], small["text_cfg"]["width"]) == (384, 12, 384)
    assert model_config("ViT-B/32") == model_config("ViT-B-32")


@pytest.mark.parametrize("name", [name for name in our_models() if name.startswith("petri-")])
def test_petri_models_run_and_are_small(name):
    model = create_model(name, seed=0)
    image, text = model(pixels_of(model), model.tokenizer(TEXTS[:2]))
    assert image.shape == text.shape == (2, model.embed_dim) and model.preprocess["size"] == [64, 64]
    assert model.tokenizer.vocab_size == model.config["model_cfg"]["text_cfg"]["vocab_size"]
    assert parameter_counts(model)["total"] < (6_000_000 if "teacher" in name else 1_200_000)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    model = create_model("petri-tiny-student", seed=0)
    with torch.no_grad():
        model.clip.positional_embedding[3, 5] = value
    save_student(model, tmp_path / "student")
    said = message_of(str(tmp_path / "student"))
    assert "open_clip_model.safetensors: `positional_embedding` holds NaN or infinity" in said


def test_a_zip_is_no_weights_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("../outside.txt", "no")
    assert str(tmp_path / "x.pt") in message_of(f"{NAME}:{tmp_path / 'x.pt'}")
    assert not (tmp_path.parent / "outside.txt").exists()
