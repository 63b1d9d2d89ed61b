"""Fusion models of a user's own sizes, in a .json file, and models that start from a BERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, open_trained
from clipdistill.models.named import PETRI_WORDPIECE
from clipdistill.recipe import ModelSpec
from tests.models.tiny_fusion import tiny_config

KIND = KINDS["fusion"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """Three layers, as transformers writes them."""
    torch.manual_seed(0)
    sizes = BertConfig(
        vocab_size=312, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40, initializer_range=0.3,
    )  # fmt: skip
    BertModel(sizes).save_pretrained(tmp_path / "bert")
    BertTokenizer.from_pretrained(PETRI_WORDPIECE, do_lower_case=True).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def written(folder: Path, architecture: str, **changes: Any) -> str:
    (folder / "small.json").write_text(json.dumps(tiny_config(architecture, heads={}, **changes)))
    return str(folder / "small.json")


def test_a_file_of_sizes_is_a_model_with_new_weights(tmp_path: Path) -> None:
    name = written(tmp_path, "uniter", layers=1)
    assert KIND.recognises(name)
    model = KIND.new(ModelSpec(model=name), 3)
    assert (model.name, model.config.layers, model.config.width) == ("small", 1, 16)
    KIND.save(model, tmp_path / "saved")
    assert open_trained(str(tmp_path / "saved")).config == model.config


@pytest.mark.parametrize("architecture", ["uniter", "vl_bert", "bert"])
def test_it_starts_from_a_bert_with_its_words_and_first_layers(architecture: str, tmp_path: Path, bert: Path) -> None:
    name = written(tmp_path, architecture, vocabulary=99)
    model, theirs = KIND.new(ModelSpec(model=f"{name}:{bert}"), 1), BertModel.from_pretrained(bert)
    other = KIND.new(ModelSpec(model=f"{name}:{bert}"), 2)
    own, again, state = model.state_dict(), other.state_dict(), theirs.state_dict()
    assert model.config.vocabulary == 312  # the folder's, whatever the file says
    assert torch.equal(own["embeddings.words.weight"], state["embeddings.word_embeddings.weight"])
    assert torch.equal(own["embeddings.positions.weight"], state["embeddings.position_embeddings.weight"][:24])
    types = state["embeddings.token_type_embeddings.weight"]
    assert torch.equal(own["embeddings.types.weight"], torch.cat([types, *[types[:1]] * (model.config.types - 2)]))
    norm = "embeddings.norm.weight" if architecture == "vl_bert" else "embeddings.text_norm.weight"
    assert torch.equal(own[norm], state["embeddings.LayerNorm.weight"])
    layers = [key for key in own if key.startswith("encoder.")]
    assert len(layers) == 32 and all(torch.equal(own[key], state[key]) for key in [*layers, "pooler.dense.weight"])
    assert (
        model.tokenizer("a Red circle")["input_ids"] == BertTokenizer.from_pretrained(bert)("a red circle")["input_ids"]
    )
    drawn = {"uniter": "embeddings.feature.weight", "vl_bert": "embeddings.region.weight"}.get(architecture)
    assert drawn is None or not torch.equal(own[drawn], again[drawn])


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(UserError, match=r"this BERT can't start 'small': 16 missing: encoder\.layer\.3"):
        KIND.new(ModelSpec(model=f"{written(tmp_path, 'uniter', layers=4)}:{bert}"), 0)
    with pytest.raises(UserError, match=r"is 312 x 16 and not 312 x 32"):
        KIND.new(ModelSpec(model=f"{written(tmp_path, 'uniter', width=32)}:{bert}"), 0)
    with pytest.raises(UserError, match=r"small\.json': .*hiden"):
        KIND.new(ModelSpec(model=written(tmp_path, "uniter", hiden=3)), 0)
    (tmp_path / "other.json").write_text("{}")
    assert not KIND.recognises(str(tmp_path / "other.json"))


def test_a_clip_vil_of_own_sizes_starts_from_a_bert(tmp_path: Path, bert: Path) -> None:
    name = written(tmp_path, "clip_vil", types=4, vocabulary=99)
    spec = f"{name}:petri-teacher-small+{bert}"
    model, state = KIND.new(ModelSpec(model=spec), 1), BertModel.from_pretrained(bert).state_dict()
    assert model.name == "small:petri-teacher-small" and model.sees == "pixels" and KIND.recognises(spec)
    assert (model.config.vocabulary, model.config.region_width, model.config.layers) == (312, 512, 2)
    own = model.state_dict()
    assert torch.equal(own["embeddings.words.weight"], state["embeddings.word_embeddings.weight"])
    key = "encoder.layer.1.output.dense.weight"
    assert torch.equal(own[key], state[key])
    KIND.save(model, tmp_path / "saved")
    again = open_trained(str(tmp_path / "saved"))
    assert KIND.fingerprint(again) == KIND.fingerprint(model)
    with pytest.raises(UserError, match=r"an adapter has no words that could start from '.*'; leave it out"):
        KIND.new(ModelSpec(model=f"clip-mlp-1-concat:petri-teacher-small+{bert}"), 1)
    with pytest.raises(UserError, match="it stands on a CLIP; name it too"):
        KIND.new(ModelSpec(model=name), 1)
