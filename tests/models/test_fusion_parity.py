"""The forward pass of UNITER and VL-BERT against the authors' equations, written again in plain torch.

The reference takes one pair at a time without any padding, packs words and regions as the authors do, and reads weights
under the authors' names.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clipdistill.models.fusion import FusionInputs, FusionModel
from clipdistill.models.fusion.released import to_released
from tests.models.tiny_fusion import ARCHITECTURES, tiny_fusion, tiny_inputs

Weights = dict[str, Tensor]
HEAD_STAGES = {"vcr": "vcr", "snli_ve": "snli_ve", "vqa": "vqa"}


def affine(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def layers(w: Weights, root: str, x: Tensor, heads: int) -> Tensor:
    """x [S, D], nothing hidden: BERT's post-norm layers."""
    count = 1 + max(int(k.split("layer.")[1].split(".")[0]) for k in w if k.startswith(f"{root}encoder.layer."))
    for number in range(count):
        at = f"{root}encoder.layer.{number}"
        parts = [affine(w, f"{at}.attention.self.{each}", x) for each in ("query", "key", "value")]
        size, mixed = x.shape[1] // heads, []
        for h in range(heads):
            q, k, v = (part[:, h * size : (h + 1) * size] for part in parts)
            mixed.append((q @ k.T / math.sqrt(size)).softmax(-1) @ v)
        attended = affine(w, f"{at}.attention.output.dense", torch.cat(mixed, 1))
        x = norm(w, f"{at}.attention.output.LayerNorm", x + attended)
        between = gelu(affine(w, f"{at}.intermediate.dense", x))
        x = norm(w, f"{at}.output.LayerNorm", x + affine(w, f"{at}.output.dense", between))
    return x


def one(inputs: FusionInputs, row: int) -> tuple[Tensor, ...]:
    """Ids, types, tags, features, boxes and hidden of one pair, without padding."""
    words, regions = inputs.text_mask[row], inputs.region_mask[row]
    hidden = torch.zeros_like(regions) if inputs.hidden_regions is None else inputs.hidden_regions[row]
    assert inputs.tags is not None
    return (
        inputs.ids[row][words], inputs.types[row][words], inputs.tags[row][words], inputs.features[row][regions],
        inputs.boxes[row][regions], hidden[regions],
    )  # fmt: skip


def uniter(w: Weights, inputs: FusionInputs, row: int, heads: int) -> Tensor:
    ids, types, _, features, boxes, hidden = one(inputs, row)
    at = "uniter.embeddings"
    place = w[f"{at}.position_embeddings.weight"][: len(ids)]
    kinds = w[f"{at}.token_type_embeddings.weight"]
    text = norm(w, f"{at}.LayerNorm", w[f"{at}.word_embeddings.weight"][ids] + place + kinds[types])
    at = "uniter.img_embeddings"
    features = torch.where(hidden[:, None], 0.0, features) + w[f"{at}.mask_embedding.weight"][hidden.long()]
    x1, y1, x2, y2 = boxes.T
    seven = torch.stack([x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], 1)
    seen = norm(w, f"{at}.img_layer_norm", affine(w, f"{at}.img_linear", features))
    seen = seen + norm(w, f"{at}.pos_layer_norm", affine(w, f"{at}.pos_linear", seven)) + kinds[1]
    return layers(w, "uniter.", torch.cat([text, norm(w, f"{at}.LayerNorm", seen)]), heads)


def vl_bert(w: Weights, inputs: FusionInputs, row: int, heads: int, waves: int) -> Tensor:
    ids, types, tags, features, boxes, hidden = one(inputs, row)
    features = torch.where(hidden[:, None], w["object_mask_visual_embedding.weight"], features)
    rows = [torch.empty(0, 8 * waves + features.shape[1], dtype=torch.float64)]
    for box, feature in zip(boxes.tolist(), features, strict=True):
        x1, y1, x2, y2 = box
        numbers = []
        for value in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1):
            angles = [value * 100 / 1000 ** (k / waves) for k in range(waves)]
            numbers += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        rows.append(torch.cat([torch.tensor(numbers, dtype=torch.float64), feature])[None])
    seen = affine(w, "image_feature_extractor.obj_downsample.1", torch.cat(rows)).clamp_min(0)
    carried = seen[tags.clamp_min(0)] if len(seen) else w["aux_text_visual_embedding.weight"].expand(len(ids), -1)
    in_text = norm(w, "vlbert.visual_ln_text", carried)
    words = w["vlbert.word_embeddings.weight"][ids] + in_text
    said = w["object_linguistic_embeddings.weight"].expand(len(seen), -1)
    said = torch.where(hidden[:, None], w["object_mask_word_embedding.weight"], said)
    objects = norm(w, "vlbert.visual_ln_object", seen) + said
    n, m = len(ids), len(seen)
    places = torch.tensor([*range(n), *[n] * m, n + 1])
    kinds = torch.cat([types, torch.full((m + 1,), 2)])
    x = torch.cat([words, objects, w["vlbert.end_embedding.weight"]])
    x = x + w["vlbert.position_embeddings.weight"][places] + w["vlbert.token_type_embeddings.weight"][kinds]
    return layers(w, "vlbert.", norm(w, "vlbert.embedding_LayerNorm", x), heads)


def reference(model: FusionModel, inputs: FusionInputs, row: int) -> Tensor:
    w = to_released(model, "pretraining")
    if model.config.architecture == "uniter":
        return uniter(w, inputs, row, model.config.attention_heads)
    return vl_bert(w, inputs, row, model.config.attention_heads, model.config.coordinates)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_sequence_is_that_of_the_authors_equations(architecture: str, attention: str, hidden: bool) -> None:
    model, inputs = tiny_fusion(architecture, attention=attention), tiny_inputs(hidden=hidden)
    root = "uniter." if architecture == "uniter" else "vlbert."
    weights = to_released(model, "pretraining")
    with torch.no_grad():
        output = model(inputs)
    for row in range(3):
        expected = reference(model, inputs, row)
        torch.testing.assert_close(output.sequence[row][output.mask[row]], expected, rtol=0, atol=1e-10)
        pooled = torch.tanh(affine(weights, f"{root}pooler.dense", expected[0]))
        torch.testing.assert_close(output.pooled[row], pooled, rtol=0, atol=1e-10)
        words = int(inputs.text_mask[row].sum())
        torch.testing.assert_close(output.image[row], expected[words], rtol=0, atol=1e-10)
        torch.testing.assert_close(output.cls[row], expected[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_texts_without_pictures(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()
    mask = inputs.region_mask.clone()
    mask[1] = False
    one_alone = replace(inputs, region_mask=mask)
    none = replace(
        inputs, features=inputs.features[:, :0], boxes=inputs.boxes[:, :0], region_mask=inputs.region_mask[:, :0]
    )
    for given in (one_alone, none):
        with torch.no_grad():
            output = model(given)
        for row in range(3):
            expected = reference(model, given, row)
            torch.testing.assert_close(output.sequence[row][output.mask[row]], expected, rtol=0, atol=1e-10)
    with pytest.raises(IndexError, match="no image token"):
        _ = output.image


def head_reference(model: FusionModel, head: str, x: Tensor, pooled: Tensor, masked: Tensor) -> Tensor:
    """x [S, D] words or regions, as the head reads."""
    uniter_heads = model.config.architecture == "uniter"
    w = to_released(model, HEAD_STAGES.get(head, "pretraining"))  # type: ignore[arg-type]
    if head == "words":
        at = "cls.predictions" if uniter_heads else "vlbert.mlm_head.predictions"
        x = norm(w, f"{at}.transform.LayerNorm", gelu(affine(w, f"{at}.transform.dense", x)))
        return x @ w[f"{at}.decoder.weight"].T + w[f"{at}.bias"]
    if head == "region_features":
        x = norm(w, "feat_regress.net.2", gelu(affine(w, "feat_regress.net.0", x)))
        return x @ w["feat_regress.weight"] + w["feat_regress.bias"]
    if head == "region_classes":
        if uniter_heads:
            x = norm(w, "region_classifier.net.2", gelu(affine(w, "region_classifier.net.0", x)))
            return affine(w, "region_classifier.net.3", x)
        x = gelu(affine(w, "vlbert.mvrc_head.transform.dense", x))
        return affine(w, "vlbert.mvrc_head.region_cls_pred", x)
    if head == "matching":
        return affine(w, "itm_output" if uniter_heads else "vlbert.relationsip_head.caption_image_relationship", pooled)
    if uniter_heads:
        at = "vcr_output" if head == "vcr" else "vqa_output"
        between = affine(w, f"{at}.0", pooled)
        between = norm(w, f"{at}.2", between.clamp_min(0) if head == "vcr" else gelu(between))
        return affine(w, f"{at}.3", between)
    if head == "vqa":
        return affine(w, "final_mlp.2", norm(w, "final_mlp.0.LayerNorm", gelu(affine(w, "final_mlp.0.dense", masked))))
    return affine(w, "final_mlp.1", pooled)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_are_those_of_the_authors(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()
    with torch.no_grad():
        output = model(inputs)
        for head in model.heads:
            if head == "region_features" and architecture == "vl_bert":
                continue  # theirs doesn't regress features
            found = model.scores(head, output, inputs)
            for row, place in enumerate((5, 3, 2)):
                x = output.text[row] if head == "words" else output.objects[row]
                expected = head_reference(model, head, x, output.pooled[row], output.text[row, place])
                torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-10)


def padded(inputs: FusionInputs, words: int, regions: int) -> FusionInputs:
    """The same pairs with more padding, full of other numbers."""

    def longer(x: Tensor, by: int, fill: float) -> Tensor:
        return torch.cat([x, torch.full((len(x), by, *x.shape[2:]), fill, dtype=x.dtype)], dim=1)

    assert inputs.tags is not None and inputs.hidden_regions is not None
    return replace(
        inputs, ids=longer(inputs.ids, words, 4), types=longer(inputs.types, words, 1),
        text_mask=longer(inputs.text_mask, words, False), tags=longer(inputs.tags, words, 1),
        features=longer(inputs.features, regions, 7.0), boxes=longer(inputs.boxes, regions, 0.3),
        region_mask=longer(inputs.region_mask, regions, False),
        hidden_regions=longer(inputs.hidden_regions, regions, True),
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_of_words_and_regions_changes_nothing(architecture: str, attention: str) -> None:
    model, inputs = tiny_fusion(architecture, attention=attention), tiny_inputs(hidden=True)
    more = padded(inputs, 5, 3)
    with torch.no_grad():
        short, long = model(inputs), model(more)
        for row in range(3):
            torch.testing.assert_close(
                long.sequence[row][long.mask[row]], short.sequence[row][short.mask[row]], rtol=0, atol=1e-12
            )
        torch.testing.assert_close(long.image, short.image, rtol=0, atol=1e-12)
        for head in ("vcr", "vqa"):
            torch.testing.assert_close(
                model.scores(head, long, more), model.scores(head, short, inputs), rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_regions_have_no_order(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()[:1]
    order = torch.tensor([2, 0, 3, 1])
    assert inputs.tags is not None
    back = torch.empty_like(order)
    back[order] = torch.arange(4)
    # VL-BERT's untagged words look at region 0, so they are told where it went.
    tags = back[inputs.tags.clamp_min(0)]
    moved = replace(inputs, features=inputs.features[:, order], boxes=inputs.boxes[:, order], tags=tags)
    with torch.no_grad():
        before, after = model(inputs), model(moved)
    torch.testing.assert_close(after.objects, before.objects[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(after.text, before.text, rtol=0, atol=1e-12)


def test_vl_berts_objects_share_the_position_after_the_text_and_end_has_the_next() -> None:
    model, inputs = tiny_fusion("vl_bert"), tiny_inputs()
    for place, changes in {6: False, 7: True, 8: True, 9: False}.items():
        with torch.no_grad():
            before, _ = model.embeddings(inputs)
            model.embeddings.positions.weight[place] += torch.linspace(0, 1, 16)
            after, mask = model.embeddings(inputs)
        moved = (before - after).abs().amax(-1) > 1e-9
        # Row 0 has 7 words: word 6 is the last, then four objects, then [END].
        expected = torch.zeros(12, dtype=torch.bool)
        if place == 6:
            expected[6] = True
        elif changes:
            expected[slice(7, 11) if place == 7 else slice(11, 12)] = True
        assert moved[0].tolist() == expected.tolist() and mask[0].all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_words_have_an_order(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture), tiny_inputs()[:1]
    swapped = inputs.ids.clone()
    swapped[0, 1], swapped[0, 2] = inputs.ids[0, 2], inputs.ids[0, 1]
    with torch.no_grad():
        apart = (model(inputs).cls - model(replace(inputs, ids=swapped)).cls).abs().max()
    assert apart > 1e-3


def test_uniters_words_carry_no_region_unless_tags_are_asked_for() -> None:
    inputs = tiny_inputs()[:1]
    features = inputs.features.clone()
    features[0, 2] += 1  # word 1 points to region 2
    other = replace(inputs, features=features)
    for tags, words in ((False, []), (True, [1])):
        model = tiny_fusion("uniter", tags=tags)
        with torch.no_grad():
            moved = (model.embeddings(inputs)[0] - model.embeddings(other)[0]).abs().amax(-1)[0] > 1e-9
        assert moved[:7].nonzero().flatten().tolist() == words and moved[7:].nonzero().flatten().tolist() == [2]
        boxes = inputs.boxes.clone()
        boxes[0, 2] *= 0.5
        with torch.no_grad():
            moved = (model.embeddings(inputs)[0] - model.embeddings(replace(inputs, boxes=boxes))[0]).abs().amax(-1)[0]
        assert (moved[:7] > 1e-9).nonzero().flatten().tolist() == words  # where it lies, too


def test_a_tagged_word_carries_its_region_in_vl_bert() -> None:
    inputs = tiny_inputs()[:1]
    features = inputs.features.clone()
    features[0, 2] += 1  # word 1 points to region 2
    other = replace(inputs, features=features)
    for untagged, words in (("whole_image", [1]), ("nothing", [1])):
        model = tiny_fusion("vl_bert", untagged=untagged)
        with torch.no_grad():
            moved = (model.embeddings(inputs)[0] - model.embeddings(other)[0]).abs().amax(-1)[0] > 1e-9
        assert moved[:7].nonzero().flatten().tolist() == words
    features = inputs.features.clone()
    features[0, 0] += 1  # the whole image
    other = replace(inputs, features=features)
    for untagged, words in (("whole_image", [0, 2, 3, 4, 5, 6]), ("nothing", [4])):
        model = tiny_fusion("vl_bert", untagged=untagged)
        with torch.no_grad():
            moved = (model.embeddings(inputs)[0] - model.embeddings(other)[0]).abs().amax(-1)[0] > 1e-9
        assert moved[:7].nonzero().flatten().tolist() == words  # word 4 is tagged with region 0
