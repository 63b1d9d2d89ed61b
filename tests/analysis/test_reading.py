"""Attention read from models: by hand, whatever the padding and the batches, and nothing in the model is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clipdistill.analysis.importance import ImportanceOptions
from clipdistill.analysis.reading import read_importance, reading, special_ids, without_attention
from clipdistill.data.low_shot import LowShot
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.clip_adapter import create_adapter
from tests.analysis.asked_questions import asked, tiny
from tests.models.tiny_fusion import ARCHITECTURES, tiny_inputs


def alone(model: Any, source: Any, one: str, option: int) -> np.ndarray:
    """Text and vision of one pair without any padding, summed position by position: [L, H, 2]."""
    pairs = asked(model, source.part(LowShot(1, 0, "", (one,))))
    (batch,) = pairs.batches()
    inputs = fusion_inputs(batch, "answers").to("cpu", torch.float64)[option : option + 1]
    words = int(inputs.text_mask.sum())
    found = []
    with reading(model, torch.device("cpu")):
        for layer in model(inputs, weights=True).attention:
            asks = layer[0, :, 0]  # [H, S]
            regions = torch.arange(inputs.ids.shape[1], inputs.ids.shape[1] + inputs.boxes.shape[1])
            seen = asks[:, regions[inputs.region_mask[0]]].sum(1)
            end = asks[:, -1] if model.config.architecture == "vl_bert" else 0 * seen
            found.append(torch.stack([asks[:, :words].sum(1) + end, seen], dim=-1))
    return torch.stack(found).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [4, 12, 64])
def test_right_pairs_by_hand_in_any_batch(architecture: str, batch_size: int, source: Any) -> None:
    model = tiny(architecture)
    found = read_importance(asked(model, source, batch_size), "answers", ImportanceOptions())
    assert found.ids == tuple(f"val-{k}" for k in range(6)) and found.values.shape == (6, 2, 2, 3)
    for row, one in enumerate(found.ids):
        np.testing.assert_allclose(found.values[row, ..., :2], alone(model, source, one, row % 4), atol=1e-6)
    np.testing.assert_allclose(found.values[..., :2].sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_variant_counts_padding(architecture: str, source: Any) -> None:
    options = ImportanceOptions(queries="all", tokens="mean", special="renormalised", pairs="all")
    model = tiny(architecture)
    apart, together = (read_importance(asked(model, source, size), "answers", options) for size in (4, 64))
    np.testing.assert_allclose(apart.values, together.values, atol=1e-7)
    assert apart.tokens == pytest.approx(together.tokens)


def test_all_pairs_are_the_mean_of_a_questions_four(source: Any) -> None:
    model = tiny("uniter")
    found = read_importance(asked(model, source), "answers", ImportanceOptions(pairs="all"))
    wanted = np.mean([alone(model, source, "val-3", option) for option in range(4)], axis=0)
    np.testing.assert_allclose(found.values[3, ..., :2], wanted, atol=1e-6)
    whole = [len(words.split()) for words in ["Why", "How many red stars", "Where", "Who of these people"]]
    # [CLS] question [SEP] answer [SEP]; two regions or one, and the whole image.
    assert found.tokens[1] == 3 and 2 < found.tokens[2] < 3 and found.tokens[0] > np.mean(whole)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_the_same_with_either_attention(architecture: str) -> None:
    model, inputs = tiny(architecture).eval(), tiny_inputs()
    answers = {}
    for attention in ("sdpa", "eager"):
        model.set_attention(attention)
        with torch.no_grad():
            answers[attention] = model.scores("vcr", model(inputs), inputs)
    torch.testing.assert_close(answers["sdpa"], answers["eager"], atol=1e-9, rtol=1e-9)


def test_a_model_comes_back_as_it_was(source: Any) -> None:
    model = tiny("vl_bert").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    read_importance(asked(model, source), "answers", ImportanceOptions())
    assert model.attention == "sdpa" and model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(layer.attention.self._forward_hooks for layer in model.encoder.layer)
    with pytest.raises(ZeroDivisionError), reading(model, torch.device("cpu")):
        assert model.attention == "eager" and not model.training
        raise ZeroDivisionError
    assert model.attention == "sdpa" and model.training


def test_weights_are_shown_a_layer_at_a_time() -> None:
    model, inputs = tiny("uniter", attention="eager").eval(), tiny_inputs()
    seen: list[tuple[int, torch.Tensor]] = []
    with torch.no_grad(), model.watching(lambda number, weights: seen.append((number, weights))):
        model(inputs)
    with torch.no_grad():
        whole = model(inputs, weights=True).attention
    assert [number for number, _ in seen] == [0, 1]
    for (_, one), other in zip(seen, whole, strict=True):
        assert torch.equal(one, other)
    model.set_attention("sdpa")
    with pytest.raises(UserError, match="sdpa gives no weights"), model.watching(lambda *_: None):
        pass


def test_unknown_words_are_words() -> None:
    tokenizer = tiny("uniter").tokenizer
    marks = {tokenizer.convert_ids_to_tokens(number) for number in special_ids(tokenizer)}
    assert marks == {"[CLS]", "[SEP]", "[MASK]", "[PAD]"} and tokenizer.unk_token_id is not None


def test_without_labels_the_right_pair_is_unknown(source: Any) -> None:
    source.unlabelled = True
    with pytest.raises(UserError, match="--pairs right: 'a/name/val-0' has no 'answer_label'"):
        read_importance(asked(tiny("uniter"), source), "answers", ImportanceOptions())
    found = read_importance(asked(tiny("uniter"), source), "answers", ImportanceOptions(pairs="all"))
    assert len(found.ids) == 6


def test_models_whose_attention_is_not_over_both() -> None:
    clip = create_model("petri-tiny-student", 0)
    assert "adapter on a frozen CLIP" in str(without_attention(create_adapter("clip-attention-1-concat", clip, 0)))
    assert "sees no picture" in str(without_attention(tiny("bert")))
    assert "is a dual_encoder" in str(without_attention(clip))
    assert without_attention(tiny("vl_bert")) is None
