"""DCLIP's meta-teacher as the released code has it: its forward pass written once more, its tokens, its start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.models.cross_attention import CrossAttention
from clipdistill.models.meta_teacher import MetaTeacher
from tests.models.tiny_meta_teacher import WIDTH, inputs, teacher


def released_target(meta: MetaTeacher, regions: Tensor, tokens: Tensor) -> Tensor:
    """What the released code makes of one picture's regions [M, D] and one caption's tokens [L, D], in plain torch."""

    def attended(layer: CrossAttention, query: Tensor, context: Tensor) -> Tensor:
        attention = nn.MultiheadAttention(WIDTH, layer.heads, batch_first=True).double()
        parts = (layer.query, layer.key, layer.value)
        weights = {"in_proj_weight": torch.cat([x.weight for x in parts]), "out_proj.weight": layer.out.weight}
        biases = {"in_proj_bias": torch.cat([x.bias for x in parts]), "out_proj.bias": layer.out.bias}
        attention.load_state_dict(weights | biases)
        moved = query + attention(query[None], context[None], context[None])[0][0]
        return nn.functional.layer_norm(moved, (WIDTH,), layer.norm.weight, layer.norm.bias)

    def aggregated(rows: Tensor) -> Tensor:
        likeness = torch.stack([nn.functional.cosine_similarity(row, rows.mean(0), dim=0) for row in rows])
        return (likeness / 2.0).softmax(0) @ rows

    text, image = attended(meta.to_text, tokens, regions), attended(meta.to_regions, regions, tokens)
    return 0.5 * aggregated(text) + 0.5 * aggregated(image)


def test_released_is_the_released_codes_forward_pass() -> None:
    meta, given = teacher(variant="released"), inputs()
    with torch.no_grad():
        for parameter in meta.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # biases and norms too
    given[1][1, 2], given[5][0, 3] = False, False  # and padding: the second has two regions, the first three tokens
    expected = [
        released_target(meta, given[0][0], given[4][0, :3]),
        released_target(meta, given[0][1, :2], given[4][1]),
    ]
    torch.testing.assert_close(meta(*given), torch.stack(expected), rtol=0, atol=1e-12)


def test_released_sees_the_words_between_start_and_end() -> None:
    given = inputs(words=5)
    given[5] = torch.tensor([[True, True, True, True, False], [True, True, False, False, False]])
    names = ("regions", "region_mask", "region_scores", "region_areas", "tokens", "token_mask", "text")
    found = dict(zip(names, given, strict=True))
    mask = [[False, True, True, False, False], [False, True, False, False, False]]  # no word: the end stays
    seen = teacher(variant="released").inputs(found)
    assert seen[5].tolist() == mask
    torch.testing.assert_close(seen[4].norm(dim=2), torch.ones(2, 5).double())
    paper = teacher().inputs({**found, "token_mask": found["token_mask"].float()})
    assert all(torch.equal(one, other) for one, other in zip(paper, given, strict=True))


def test_released_starts_as_torchs_attention_and_has_no_other_options() -> None:
    layer = MetaTeacher(64, variant="released").to_text
    torch_layer = nn.MultiheadAttention(64, 8)
    for mine, theirs in (
        (layer.value.weight, torch_layer.in_proj_weight),
        (layer.out.weight, torch_layer.out_proj.weight),
    ):
        assert mine.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.01)
        assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.05)
    assert not layer.query.bias.any() and not layer.out.bias.any()
    for other in ({"attention": "one_way"}, {"clusters": 3}, {"rotary": True}):
        with pytest.raises(UserError, match="`variant`: the released code has"):
            teacher(variant="released", **other)


def test_a_released_variant_of_before_is_refused(tmp_path: Path) -> None:
    meta = teacher(variant="released").float()
    meta.save(tmp_path)
    assert MetaTeacher.load(tmp_path).fingerprint() == meta.fingerprint()
    config = tmp_path / "meta_teacher.json"
    before = json.loads(config.read_text())
    del before["released"]
    config.write_text(json.dumps(before))
    with pytest.raises(UserError, match="earlier `variant: released`"):
        MetaTeacher.load(tmp_path)
