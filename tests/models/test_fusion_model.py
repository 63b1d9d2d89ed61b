"""FusionModel beside its forward parity: attention weights, heads, inputs, starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.models.fusion import create_fusion, with_whole_image
from clipdistill.models.fusion.filling import fill
from clipdistill.models.fusion.released import from_released, to_released
from tests.models.tiny_fusion import ARCHITECTURES, tiny_fusion, tiny_inputs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_weights_where_the_eager_implementation_is_asked(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()
    with pytest.raises(UserError, match=r"sdpa gives no weights; set_attention\('eager'\)"):
        model(inputs, weights=True)
    with torch.no_grad():
        plain = model(inputs)
        model.set_attention("eager")
        output = model(inputs, weights=True)
        again = model(inputs)
    assert plain.attention is None and again.attention is None
    torch.testing.assert_close(output.sequence, plain.sequence, rtol=0, atol=1e-12)
    assert output.attention is not None and len(output.attention) == 2
    size = 7 + 4 + (architecture == "vl_bert")
    for weights in output.attention:
        assert weights.shape == (3, 2, size, size)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, size).double(), rtol=0, atol=1e-12)
        assert weights.permute(0, 3, 1, 2)[~output.mask].abs().max() == 0  # nothing looks at padding


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shapes_and_where_heads_read(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()
    output = model(inputs)
    words = torch.zeros(3, 7, dtype=torch.bool)
    words[0, 1] = words[2, 3] = True
    some = model.scores("words", output, where=words)
    assert some.shape == (2, 312)
    torch.testing.assert_close(some, model.scores("words", output)[words], rtol=0, atol=1e-12)
    assert model.scores("region_features", output, where=inputs.region_mask).shape == (9, 6)
    assert model.scores("region_classes", output).shape == (3, 4, 4)
    assert model.scores("matching", output).shape == (3, 2) and model.scores("snli_ve", output).shape == (3, 3)
    options = model.scores("vcr", output)
    assert options.shape == (3, 2 if architecture == "uniter" else 1)
    assert torch.equal(model.option_scores(options), options[:, -1])


def test_vl_bert_answers_from_the_last_mask_and_says_where_there_is_none() -> None:
    model, inputs = tiny_fusion("vl_bert"), tiny_inputs()
    ids = inputs.ids.clone()
    ids[0, 2] = 4  # a second one, before it
    inputs = replace(inputs, ids=ids)
    output = model(inputs)
    shifted = output.sequence.detach().clone()
    shifted[0, 5] += 1
    moved = replace(output, sequence=shifted)
    before, after = model.scores("vqa", output, inputs), model.scores("vqa", moved, inputs)
    assert not torch.equal(before[0], after[0]) and torch.equal(before[1:], after[1:])
    ids = inputs.ids.clone()
    ids[1, 3], ids[1, 6] = 9, 4  # only in the padding
    with pytest.raises(UserError, match=r"text 1 of the batch has no \[MASK\]"):
        model.scores("vqa", output, replace(inputs, ids=ids))
    with pytest.raises(UserError, match="give `inputs` too"):
        model.scores("vqa", output)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_are_added_from_a_seed(architecture: str) -> None:
    model = tiny_fusion(architecture, heads={})
    with pytest.raises(UserError, match="has no head 'vqa'; it has none"):
        model.scores("vqa", model(tiny_inputs()))
    state = torch.get_rng_state()
    model.add_heads({"vqa": 11}, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.heads == {"vqa": 11} and not model.heads["vqa"].training
    assert model.scores("vqa", model(tiny_inputs()), tiny_inputs()).shape == (3, 11)
    first = model.heads["vqa"].out.weight.clone()
    model.add_heads({"vqa": 11}, seed=4)
    assert torch.equal(model.heads["vqa"].out.weight, first)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unfitting_inputs_are_named(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()
    with pytest.raises(UserError, match="region features have a width of 5, and the model takes 6"):
        model(replace(inputs, features=inputs.features[..., :5]))
    long = torch.ones(3, 25, dtype=torch.long)
    room = 24 if architecture == "uniter" else 22
    with pytest.raises(UserError, match=f"texts have 25 tokens; cut them to {room}"):
        model(replace(inputs, ids=long, types=long, text_mask=long.bool(), tags=None))


def test_the_whole_image_comes_first_with_a_feature_or_the_mean() -> None:
    inputs = tiny_inputs()
    features, boxes, mask = with_whole_image(inputs.features, inputs.boxes, inputs.region_mask)
    assert features.shape == (3, 5, 6) and boxes[:, 0].tolist() == [[0, 0, 1, 1]] * 3 and mask[:, 0].all()
    torch.testing.assert_close(features[1, 0], inputs.features[1, :2].mean(0))
    assert torch.equal(features[:, 1:], inputs.features) and torch.equal(mask[:, 1:], inputs.region_mask)
    given = with_whole_image(inputs.features, inputs.boxes, inputs.region_mask, inputs.features[:, 3])[0]
    assert torch.equal(given[:, 0], inputs.features[:, 3])


@pytest.mark.parametrize("name", ["petri-uniter", "petri-uniter-tags", "petri-vl-bert"])
def test_petri_models_start_with_words_and_pictures_of_one_length(name: str) -> None:
    """A whole-picture vector that is longer than a word's drowns it: both within a factor of two."""
    model = create_fusion(name, 0)
    inputs = tiny_inputs()
    features = torch.randn(3, 4, 576, generator=torch.Generator().manual_seed(0))
    inputs = replace(inputs.to("cpu", torch.float32), features=features)
    embeddings = model.embeddings
    with torch.no_grad():
        if name == "petri-vl-bert":
            words = embeddings.words(inputs.ids).norm(dim=-1).mean()
            represented = torch.randn(3, 4, 64).relu()
            visual = embeddings.text_visual_norm(represented).norm(dim=-1).mean()
        elif name == "petri-uniter-tags":
            words = embeddings.words(inputs.ids).norm(dim=-1).mean()
            visual = embeddings.tag_norm(embeddings.feature(features)).norm(dim=-1).mean()
        else:
            sequence = embeddings(inputs)[0].norm(dim=-1)
            words, visual = sequence[:, :7].mean(), sequence[:, 7:].mean()
    assert 0.5 < float(visual / words) < 2


def test_released_vl_bert_starts_without_pictures() -> None:
    model = create_fusion("petri-vl-bert", 0, visual_scale=0.0)
    assert model.embeddings.text_visual_norm.weight.abs().max() == 0
    other = tiny_inputs().to("cpu", torch.float32)
    first = replace(other, features=torch.randn(3, 4, 576))
    second = replace(other, features=torch.randn(3, 4, 576))
    with torch.no_grad():
        assert torch.equal(model(first).sequence, model(second).sequence)


def test_a_checkpoint_of_the_authors_fills_a_uniter_with_tags() -> None:
    plain, tagged = tiny_fusion("uniter"), tiny_fusion("uniter", 1, tags=True)
    before = tagged.embeddings.tag_norm.weight.clone()
    fill(tagged, from_released(to_released(plain, "pretraining")))
    assert torch.equal(tagged.encoder.layer[0].output.dense.weight, plain.encoder.layer[0].output.dense.weight)
    assert torch.equal(tagged.embeddings.tag_norm.weight, before)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_learns(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs(hidden=True)
    mask = inputs.region_mask.clone()
    mask[1] = False  # a text without a picture
    inputs = replace(inputs, region_mask=mask)
    output = model(inputs)
    scores = [model.scores(head, output, inputs).square().sum() for head in model.heads]  # type: ignore[arg-type]
    torch.stack(scores).sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert [
        n for n, v in model.named_parameters() if v.grad.abs().max() == 0 and "attention.self.key.bias" not in n
    ] == []
