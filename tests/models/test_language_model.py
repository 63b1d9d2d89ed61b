"""BERT as a fusion model: transformers' own names, shapes and numbers; it sees no picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertTokenizer

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, open_trained
from clipdistill.models.fusion import FusionModel, config, create_fusion, fusion_config
from clipdistill.models.fusion.batches import texts_alone
from clipdistill.models.fusion.measures import parameter_counts
from clipdistill.models.fusion.released import from_released, released_config, to_released
from clipdistill.models.named import PETRI_WORDPIECE
from clipdistill.recipe import ModelSpec
from tests.models.tiny_fusion import TINY, tiny_config, tiny_fusion, tiny_inputs

KIND = KINDS["fusion"]
APART = ("cls.seq_relationship.", "cls.predictions.decoder.bias", "bert.embeddings.position_ids")


def theirs(kind: Any, sizes: config.FusionConfig, words: int | None = None) -> Any:
    return kind(
        BertConfig(
            vocab_size=words or sizes.vocabulary,
            hidden_size=sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.attention_heads,
            intermediate_size=sizes.hidden,
            max_position_embeddings=sizes.positions,
            type_vocab_size=sizes.types,
            layer_norm_eps=1e-12,
            initializer_range=0.3,
        )  # fmt: skip
    ).eval()


@pytest.mark.parametrize("name", ["bert-base", "bert-large"])
def test_full_size_models_have_transformers_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = FusionModel(fusion_config(name), name=name)
        wanted = theirs(BertForPreTraining, model.config).state_dict()
    assert model.config.layers == {"bert-base": 12, "bert-large": 24}[name]
    found = from_released(wanted)
    assert (found.architecture, found.stage, found.unknown) == ("bert", "pretraining", ())
    assert {k: v.shape for k, v in found.state.items()} == {k: v.shape for k, v in model.state_dict().items()}
    written = to_released(model, "pretraining")
    assert {k: v.shape for k, v in written.items()} == {
        k: v.shape for k, v in wanted.items() if not k.startswith(APART)
    }
    assert released_config(found) == model.config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A BERT as transformers writes it, with more words than our configuration says."""
    monkeypatch.setitem(config.NAMED, "tiny-bert", {**tiny_config("bert"), "vocabulary": 300})
    torch.manual_seed(0)
    theirs(BertForPreTraining, fusion_config("tiny-bert"), 312).save_pretrained(tmp_path / "bert")
    BertTokenizer.from_pretrained(PETRI_WORDPIECE, do_lower_case=True).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_folder_of_transformers_gives_its_numbers_and_its_words(folder: Path) -> None:
    model = KIND.new(ModelSpec(model=f"tiny-bert:{folder}"), 1)
    reference = BertForPreTraining.from_pretrained(folder).eval()
    inputs = tiny_inputs().to("cpu", torch.float32)
    alone = texts_alone(inputs.ids, inputs.types, inputs.text_mask)
    with torch.no_grad():
        output = model(alone)
        given = {"input_ids": alone.ids, "token_type_ids": alone.types, "attention_mask": alone.text_mask.long()}
        plain = reference.bert(**given)
        torch.testing.assert_close(output.pooled, plain.pooler_output)
        torch.testing.assert_close(output.text[alone.text_mask], plain.last_hidden_state[alone.text_mask])
        scores, wanted = model.scores("words", output), reference(**given).prediction_logits
        torch.testing.assert_close(scores[alone.text_mask], wanted[alone.text_mask], rtol=1e-4, atol=1e-4)
    assert model.tokenizer("a Red circle")["input_ids"] == [2, *model.tokenizer("a red circle")["input_ids"][1:]]
    KIND.save(model, folder / "again")
    again = open_trained(str(folder / "again"))
    assert KIND.fingerprint(again) == KIND.fingerprint(model) and again.sees == "nothing"


def test_masked_language_models_have_no_pooler_and_may(folder: Path) -> None:
    BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    first, second = (KIND.new(ModelSpec(model=f"tiny-bert:{folder}"), seed) for seed in (1, 2))
    assert torch.equal(first.embeddings.words.weight, second.embeddings.words.weight)
    assert not torch.equal(first.pooler.dense.weight, second.pooler.dense.weight)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        KIND.load(f"tiny-bert:{folder}")


def test_it_sees_no_region_and_costs_none() -> None:
    model, inputs = tiny_fusion("bert"), tiny_inputs()
    assert not any("region" in name or "feature" in name or "box" in name for name in model.state_dict())
    with pytest.raises(UserError, match="sees no region; give texts alone"):
        model(inputs)
    alone = texts_alone(inputs.ids, inputs.types, inputs.text_mask)
    output = model(alone)
    assert output.regions == 0 and output.sequence.shape == (3, 7, TINY["width"])
    with pytest.raises(IndexError, match="no image token"):
        _ = output.image
    longer = torch.cat([inputs.ids, inputs.ids[:, :1]], dim=1), torch.cat([inputs.types, inputs.types[:, :1]], dim=1)
    padded = texts_alone(*longer, torch.cat([inputs.text_mask, torch.zeros(3, 1, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(model(padded).pooled, output.pooled)
    pointing = replace(alone, tags=torch.ones_like(alone.ids))
    assert torch.equal(model(pointing).pooled, output.pooled)
    with pytest.raises(UserError, match="has no head 'matching'"):
        model.scores("matching", output)
    cost = KIND.cost(create_fusion("petri-bert", 0))
    layers = 2 * (2 * 94 * (4 * 64 * 64 + 2 * 64 * 256))
    assert cost["image_parameters"] == 0 and cost["flops_per_pair"] < layers
    counts = parameter_counts(model)
    shared = sum(v.numel() for part in (model.encoder, model.pooler) for v in part.parameters())
    heads = sum(v.numel() for name, v in model.heads.named_parameters() if not name.startswith("words."))
    assert counts["text"] == counts["total"] - shared - heads and counts["image"] == 0
