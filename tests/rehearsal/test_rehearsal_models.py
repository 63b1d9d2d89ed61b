"""Models that stand for published ones: their shapes are the published ones, and they open by the published names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.models.diffusion import load_diffusion
from clipdistill.models.tokenisation import make_tokenizer
from clipdistill.recipe import ModelSpec
from clipdistill.rehearsal import other_drafts
from clipdistill.rehearsal.clip_drafts import clip_draft
from clipdistill.rehearsal.drafts import Draft
from clipdistill.rehearsal.other_drafts import denoiser_draft, fusion_draft, vlm_draft
from clipdistill.rehearsal.words import write_words


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(drafts: list[Draft]) -> None:
    for draft in drafts:
        if draft.write is not None:
            draft.write()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("CompVis/stable-diffusion-v1-4", 859_520_964 + 123_060_480 + 83_653_863),  # UNet, text encoder, VAE
        ("stabilityai/stable-diffusion-2-1-base", 865_910_724 + 340_387_840 + 83_653_863),
    ],
)
def test_diffusion_models_have_the_published_sizes(name: str, parameters: int) -> None:
    assert denoiser_draft(name)[0].parameters == parameters
    (smaller,) = denoiser_draft(name, 2)
    assert smaller.parameters < 0.6 * parameters and "2 times narrower" in smaller.note


def test_language_models_have_the_published_sizes() -> None:
    *_, draft = vlm_draft("vlm:blind+Qwen/Qwen2-0.5B")
    assert draft.parameters == 494_032_768 and "made-up vocabulary of as many tokens (151,646)" in draft.note
    with pytest.raises(UserError, match="nothing on this machine says its shape"):
        vlm_draft("vlm:blind+someone/unknown-7b")


def test_clips_of_the_hub_have_the_published_sizes() -> None:
    *_, draft = clip_draft("ViT-B-16-SigLIP:webli")
    assert abs(draft.parameters - 203.2e6) < 0.2e6
    *_, draft = clip_draft("runs/clip_kd/teacher_vit_b16")
    assert draft.name == "runs/clip_kd/teacher_vit_b16" and abs(draft.parameters - 149.6e6) < 0.1e6


def test_a_made_up_vocabulary_is_as_large_and_opens_by_its_name() -> None:
    write_words(Path("timm/some-clip"), 900)
    text = {"hf_tokenizer_name": "timm/some-clip", "context_length": 16, "tokenizer_kwargs": {"clean": "canonicalize"}}
    tokenizer = make_tokenizer(text, "some-clip")
    rows = tokenizer(["a red circle", "a blue square left of it"])
    assert tokenizer.vocab_size == 900 and rows.shape == (2, 16)
    assert rows.max() < 900 and (rows[0] != rows[1]).any() and rows[0, 3] == tokenizer.special_ids()["eos"]


TINY = {
    "vocabulary": 400, "width": 16, "layers": 1, "attention_heads": 2, "hidden": 16, "region_width": 8,
    "tokenizer": "bert-base-cased", "lower_case": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "more"),
    [("uniter", {"types": 4, "heads": {"vcr": 2}}), ("vl_bert", {"types": 3, "coordinates": 4, "heads": {"vcr": 1}})],
)
def test_a_fusion_models_checkpoint_has_the_authors_names_and_fills_it(architecture: str, more: dict[str, Any]) -> None:
    Path("tiny.json").write_text(json.dumps({"architecture": architecture, **TINY, **more}))
    drafts = fusion_draft("tiny.json:data/weights/tiny.pt", 1, True)
    assert [draft.name for draft in drafts] == ["bert-base-cased", "data/weights/tiny.pt"]
    assert "made-up vocabulary" in drafts[0].note and drafts[1].trained
    make(drafts)
    model = KINDS["fusion"].new(ModelSpec(model="tiny.json:data/weights/tiny.pt"), 0)
    assert model.config.architecture == architecture and len(model.tokenizer) == 400


def test_a_vlm_is_put_together_of_what_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
             "intermediate_size": 64, "vocab_size": 600, "tie_word_embeddings": True}  # fmt: skip
    monkeypatch.setitem(other_drafts.LANGUAGE, "Qwen/Qwen2-0.5B", shape)
    monkeypatch.setattr(other_drafts, "QWEN_WORDS", 590)
    name = "vlm:petri-teacher-small+Qwen/Qwen2-0.5B"
    make(vlm_draft(name, 1, True))
    model = KINDS["vlm"].new(ModelSpec(model=name), 0)
    assert model.language_model.config.hidden_size == 32 and len(model.tokenizer) == 591  # <image>


def test_a_diffusion_model_opens_by_its_hub_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = {"sample_size": 8, "block_out_channels": (8, 8), "cross_attention_dim": 8, "norm_num_groups": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "attention_head_dim": 2,
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "layers_per_block": 1}  # fmt: skip
    text = {"vocab_size": 49408, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "max_position_embeddings": 77}  # fmt: skip
    parts = [
        lambda: UNet2DConditionModel(**unet),
        lambda: CLIPTextModel(CLIPTextConfig(**text)),
        lambda: AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8),
    ]
    monkeypatch.setattr(other_drafts, "_diffusion_parts", lambda *_: parts)
    make(denoiser_draft("CompVis/stable-diffusion-v1-4"))
    model = load_diffusion("CompVis/stable-diffusion-v1-4")
    assert model.name == "stable-diffusion-v1-4" and model.prediction_type == "epsilon"
    assert len(model.alphas_cumprod) == 1000 and denoiser_draft("CompVis/stable-diffusion-v1-4")[0].write is None
