"""DCLIP's meta-teacher: masks, region weights, clusters, rotary positions, variants."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from clipdistill.errors import UserError
from clipdistill.models import load_model
from clipdistill.models.clusters import assign_clusters, pool, pool_clusters
from clipdistill.models.cross_attention import CrossAttention, rotate
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.region_weights import region_weights
from clipdistill.models.token_embeddings import token_embeddings
from tests.models.tiny_meta_teacher import WIDTH, inputs, teacher

ATTENTION = ("bidirectional", "one_way", "average", "none")


@pytest.mark.parametrize(
    "options",
    [{"variant": "released"}]
    + [{"attention": kind, "clusters": clusters} for kind in ATTENTION for clusters in (1, 3)],
)
def test_padding_changes_nothing(options: dict[str, object]) -> None:
    meta = teacher(**options)
    given = inputs()
    padded = [
        torch.cat([x, torch.full((2, 2, *x.shape[2:]), 7.0).to(x.dtype) * (x.dtype != torch.bool)], dim=1)
        if x.ndim > 1 and k != 6
        else x
        for k, x in enumerate(given)
    ]
    torch.testing.assert_close(meta(*padded), meta(*given), rtol=0, atol=1e-12)


def test_order_of_regions_changes_nothing_without_rotary_positions() -> None:
    given, order = inputs(), torch.tensor([2, 0, 1])
    moved = [x[:, order] if k < 4 else x for k, x in enumerate(given)]
    torch.testing.assert_close(teacher()(*moved), teacher()(*given), rtol=0, atol=1e-12)
    assert not torch.allclose(teacher(rotary=True)(*moved), teacher(rotary=True)(*given), atol=1e-6)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(8).double(), torch.randn(8).double()
    turned_q, turned_k = rotate(q.expand(10, 8)), rotate(k.expand(10, 8))
    products = turned_q @ turned_k.T
    for distance in range(-9, 10):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    assert abs(products[0, 1] - products[1, 0]) > 1e-3
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(10))


def test_region_weights_by_hand() -> None:
    text = torch.tensor([[1.0, 0.0]])
    regions = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]]])
    mask = torch.tensor([[True, True, True, False]])
    scores, areas = torch.tensor([[0.5, 1.0, 1.0, 1.0]]), torch.tensor([[0.5, 0.1, 0.5, 0.5]])
    # confidence x 4a(1-a) x (1+cos)/2: 0.5 x 1 x 1; 1 x 0.36 x 0.5; 1 x 1 x 0 (floored at 1e-6). Mean 1 over three.
    raw = torch.tensor([0.5, 0.18, 1e-6])
    expected = torch.cat([raw * 3 / raw.sum(), torch.zeros(1)])
    torch.testing.assert_close(region_weights(regions, mask, scores, areas, text)[0], expected)


def test_one_whole_picture_region_keeps_its_weight() -> None:
    one = torch.ones(1, 1)
    found = region_weights(torch.randn(1, 1, 4), one.bool(), one, one, torch.randn(1, 4))
    assert found.item() == pytest.approx(1.0)


def test_clusters_by_hand() -> None:
    east, north, west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    near = [0.999, 0.0447]
    regions = torch.tensor([[east, near, north, west, [0.0, 0.0]]]).double()
    mask = torch.tensor([[True, True, True, True, False]])
    assigned = assign_clusters(regions, mask, 3)[0].tolist()
    assert assigned[0] == assigned[1] and len(set(assigned[:4])) == 3
    # Equal queries and no temperature to speak of: plain means, of the clusters (3) or of all regions (1).
    prior, query = torch.ones(1, 5).double(), torch.zeros(1, 2).double()
    one = pool_clusters(regions, mask, query, 1.0, 1, torch.zeros(1, 5, dtype=torch.long), prior)
    torch.testing.assert_close(one, regions[:, :4].mean(dim=1))
    three = pool_clusters(regions, mask, query, 1.0, 3, assign_clusters(regions, mask, 3), prior)
    torch.testing.assert_close(three, (regions[:, :2].mean(dim=1) + regions[:, 2] + regions[:, 3]) / 3)


def test_fewer_regions_than_clusters() -> None:
    regions, mask = torch.randn(1, 4, 8).double(), torch.tensor([[True, False, False, False]])
    assigned = assign_clusters(regions, mask, 3)
    pooled = pool_clusters(regions, mask, torch.randn(1, 8).double(), 2.0, 3, assigned, torch.ones(1, 4).double())
    torch.testing.assert_close(pooled, regions[:, 0])


def test_pooling_temperature_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double()
    query = torch.tensor([[2.0, 0.0]]).double()
    share = torch.tensor([0.5, 0.0]).exp()  # cosines 1 and 0 at temperature 2
    expected = (share / share.sum()).double()[None]
    there = torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(pool(tokens, there, query, 2.0), expected, rtol=0, atol=1e-7)


def test_the_papers_target_by_hand() -> None:
    meta = MetaTeacher(2, heads=1).double()
    for layer in (meta.to_text, meta.to_regions):  # even attention, values passed on as they are, no LayerNorm
        layer.norm = nn.Identity()
        for part, weight in (("query", 0), ("key", 0), ("value", 1), ("out", 1)):
            getattr(layer, part).load_state_dict({"weight": weight * torch.eye(2), "bias": torch.zeros(2)})
    regions, tokens = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]]).double(), torch.tensor([[[0.0, 5.0]]]).double()
    there, ones = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2).double()
    scores = torch.tensor([[0.6, 0.2]], dtype=torch.double)
    found = meta(regions, there, scores, ones / 2, tokens, there[:, :1], ones)
    # Equal areas, equal cosines to the text: weights 1.5 and 0.5, so (1.5, 0) and (0, 0.5) are seen. The text (0, 1)
    # adds their mean: (0.75, 1.25). The regions add that: (2.25, 1.25) and (0.75, 1.75), whose mean is (1.5, 1.5).
    cosines = [3.5 / math.sqrt(2 * (2.25**2 + 1.25**2)), 2.5 / math.sqrt(2 * (0.75**2 + 1.75**2))]
    first, second = 1.5 * math.exp(cosines[0] / 2), 0.5 * math.exp(cosines[1] / 2)
    share = first / (first + second)
    expected = [0.75 + 1.5 * share, 1.75 - 0.5 * share]
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.double), rtol=0, atol=1e-12)


def test_what_each_ablation_sees_of_the_caption() -> None:
    given = inputs()
    other_words = [*given[:4], torch.randn(2, 4, WIDTH).double(), *given[5:]]
    for attention, sees in (("bidirectional", True), ("one_way", True), ("average", False), ("none", False)):
        meta = teacher(attention=attention)
        assert torch.allclose(meta(*given), meta(*other_words)) is not sees, attention
    other_text = [*given[:6], -given[6]]
    assert not torch.allclose(teacher(attention="average")(*given), teacher(attention="average")(*other_text))


def test_attention_gradients() -> None:
    layer = CrossAttention(8, 2, rotary=True).double()
    query = torch.randn(1, 2, 8, dtype=torch.double, requires_grad=True)
    context = torch.randn(1, 3, 8, dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    assert torch.autograd.gradcheck(lambda q, c: layer(q, c, mask), (query, context))
    layer(query, context, mask).sum().backward()
    assert context.grad is not None and not context.grad[0, 2].any() and context.grad[0, 0].any()


def test_saved_and_opened(tmp_path: Path) -> None:
    meta = teacher(clusters=3, rotary=True, itm=True).float()
    meta.save(tmp_path / "teacher")
    again = MetaTeacher.load(tmp_path / "teacher")
    assert again.config == meta.config and again.fingerprint() == meta.fingerprint()
    assert "released" not in meta.config  # what earlier versions saved, and what their stores are keyed by
    (tmp_path / "teacher" / "meta_teacher.json").write_text("{")
    with pytest.raises(UserError, match="can't be read as a meta-teacher"):
        MetaTeacher.load(tmp_path / "teacher")
    with pytest.raises(UserError, match="heads"):
        MetaTeacher(16, heads=5)


def test_the_end_of_text_row_is_the_text() -> None:
    model = load_model("petri-teacher-small")
    ids = model.tokenizer(["a red circle", "a large striped blue square above a small green ring"])
    with torch.no_grad():
        text, tokens, mask = token_embeddings(model, ids)
        torch.testing.assert_close(text, model.encode_text(ids))
    last = mask.sum(dim=1) - 1
    torch.testing.assert_close(tokens[torch.arange(2), last], text, rtol=1e-5, atol=1e-5)
    assert mask.sum(dim=1)[0] < mask.sum(dim=1)[1] < ids.shape[1]


def test_both_attention_layers_shape_the_papers_target() -> None:
    meta = teacher(attention="bidirectional")
    meta(*inputs()).sum().backward()
    for layer in (meta.to_text, meta.to_regions):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in (layer.query.weight, layer.value.weight))
