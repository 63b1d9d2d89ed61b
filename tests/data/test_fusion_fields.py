"""What fusion models read, made of samples: sequences of words with types and tags, and the regions of pictures."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from question_files import pair, question, vcr_item, write_snli_ve, write_vcr, write_vqa
from tiny_fusion import tiny_fusion

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.boxes import overlaps
from clipdistill.data.fields import Draw
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.fusion_regions import FusionRegions
from clipdistill.engine.micro_batches import split
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.batches import pointed_regions
from clipdistill.stores.region_cache import cache_regions


def batch(mixture: Mixture, size: int = 2, **fields: Any) -> dict[str, Any]:
    loader = Loader(mixture, fields, batch_size=size, plan=AugmentPlan(), seed=0, shuffle=False)
    return next(iter(loader.epoch(0)))


def vcr(folder: Path, *items: dict[str, Any]) -> Mixture:
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, list(items))}), None)])


def words(model: Any, found: dict[str, Any], name: str, *place: int) -> list[str]:
    ids = found[f"{name}/ids"][place][found[f"{name}/mask"][place]]
    return model.tokenizer.convert_ids_to_tokens(ids.tolist())


ITEM = {
    "question": ["is", [2], "red", "?"],
    "answer_choices": [["yes", [0]], ["no"], ["a", "circle"], ["no", [3], "."]],
    "rationale_choices": [["it", "is"], ["blue"], ["green"], [[2], "is"]],
}


def test_pairs_of_question_and_answer_as_each_architecture_has_them(tmp_path: Path) -> None:
    mixture = vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM, answer_label=3))
    for architecture, mark in (("uniter", 2), ("vl_bert", 0)):
        model = tiny_fusion(architecture, positions=48)
        found = batch(mixture, text=FusionTexts(model, "answers"))
        assert found["answers/ids"].shape == found["answers/types"].shape == (2, 4, found["answers/ids"].shape[2])
        # Object 2 is "Jessie", 0 "Casey".
        said = words(model, found, "answers", 0, 0)
        assert said == ["[CLS]", "is", "jessie", "red", "?", "[SEP]", "yes", "casey", "[SEP]"]
        there = found["answers/mask"][0, 0]
        last = 2 if architecture == "uniter" else 1
        assert found["answers/types"][0, 0][there].tolist() == [0] * 5 + [mark] + [last] * 3
        assert found["answers/tags"][0, 0][there].tolist() == [-1, -1, 2, -1, -1, -1, -1, 0, -1]
        assert not found["answers/ids"][0, 1][~found["answers/mask"][0, 1]].any()


def test_rationales_stand_behind_the_right_answer_or_each(tmp_path: Path) -> None:
    mixture = vcr(tmp_path, vcr_item(0, **ITEM, answer_label=2), vcr_item(1, **ITEM, answer_label=2))
    model = tiny_fusion("uniter", positions=48)
    found = batch(mixture, a=FusionTexts(model, "rationales"), b=FusionTexts(model, "rationales_of_each"))
    said = words(model, found, "rationales", 0, 1)
    assert said[-7:] == ["?", "[SEP]", "a", "circle", "[SEP]", "blue", "[SEP]"]
    types = found["rationales/types"][0, 1][found["rationales/mask"][0, 1]]
    assert types.tolist()[-7:] == [0, 2, 2, 2, 3, 3, 3]
    assert found["rationales_of_each/ids"].shape[:2] == (2, 16)
    assert words(model, found, "rationales_of_each", 0, 9) == said  # answer 2, rationale 1
    assert words(model, found, "rationales_of_each", 0, 4)[-6:] == ["[SEP]", "no", "[SEP]", "it", "is", "[SEP]"]
    berty = tiny_fusion("vl_bert", positions=48)
    found = batch(mixture, a=FusionTexts(berty, "rationales", name="r"))
    assert words(berty, found, "r", 0, 1)[-6:] == ["?", "a", "circle", "[SEP]", "blue", "[SEP]"]
    assert found["r/types"][0, 1][found["r/mask"][0, 1]].tolist()[-6:] == [0, 0, 0, 0, 1, 1]


def test_single_texts(tmp_path: Path) -> None:
    uniter, berty = tiny_fusion("uniter"), tiny_fusion("vl_bert")
    mixture = Mixture([(open_source({"format": "snli_ve", "path": write_snli_ve(tmp_path, [pair(1), pair(2)])}), None)])
    found = batch(mixture, text=FusionTexts(uniter, "hypothesis"))
    assert found["hypothesis/ids"].ndim == 2 and words(uniter, found, "hypothesis", 0)[-3:] == ["1", ".", "[SEP]"]
    folder = write_vqa(tmp_path / "vqa", [question(1, "is it red?"), question(2)], None)
    mixture = Mixture([(open_source({"format": "vqa_v2", "path": str(folder)}), None)])
    found = batch(mixture, text=FusionTexts(berty, "question"))
    # The answer's place: VL-BERT's head reads its [MASK].
    assert words(berty, found, "question", 0) == ["[CLS]", "is", "it", "red", "?", "[SEP]", "[MASK]", "[SEP]"]
    assert found["question/types"][0].tolist()[:8] == [0] * 6 + [1, 1]
    assert words(uniter, batch(mixture, text=FusionTexts(uniter, "question")), "question", 0)[-1] == "[SEP]"
    with pytest.raises(UserError, match="has no 'hypothesis', which the model reads; give data of format snli_ve"):
        FusionTexts(uniter, "hypothesis").check(mixture)


def test_too_long_texts_lose_the_end_of_the_longest(tmp_path: Path) -> None:
    model = tiny_fusion("uniter")
    item = vcr_item(0, **{**ITEM, "question": ["red"] * 9 + ["?"], "answer_choices": [["blue"] * 4] * 4})
    found = batch(vcr(tmp_path, item, item | {"annot_id": "b"}), text=FusionTexts(model, "answers", max_tokens=10))
    assert words(model, found, "answers", 0, 0) == [
        "[CLS]", *["red"] * 3, "[SEP]", *["blue"] * 4, "[SEP]",
    ]  # fmt: skip
    with pytest.raises(UserError, match="`task.max_tokens` is 25, and 'uniter' takes 24 tokens"):
        FusionTexts(model, "answers", max_tokens=25)
    with pytest.raises(UserError, match="'uniter' has 2 token types, and answers need 3"):
        FusionTexts(tiny_fusion("uniter", types=2), "answers")


def test_pairs_that_come_again_are_kept_apart_by_whom_their_words_name(tmp_path: Path) -> None:
    mixture, field = (
        vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM)),
        FusionTexts(tiny_fusion("uniter"), "answers"),
    )
    texts = field.texts(mixture[0])
    moved = [
        {name: text._replace(tags=tuple(tag._replace(region=1) for tag in text.tags)) for name, text in one.items()}
        for one in texts
    ]
    rows = [field.row(mixture[k], Draw(0, k, 0, 0, 0)) for k in range(2)]
    assert all(one is two for one, two in zip(*rows, strict=True))
    field.texts = lambda sample: moved  # type: ignore[method-assign]
    others = field.row(mixture[0], Draw(0, 0, 0, 0, 0))
    assert [one[:2] for one in others] == [one[:2] for one in rows[0]]
    assert {tag for one in others for tag in one[2]} == {-1, 1} != {tag for one in rows[0] for tag in one[2]}


def test_fields_are_compared_and_sent_to_workers() -> None:
    model = tiny_fusion("uniter")
    one = FusionTexts(model, "answers")
    assert one == FusionTexts(tiny_fusion("uniter", seed=3), "answers")
    assert one != FusionTexts(model, "rationales") and one != FusionTexts(model, "answers", max_tokens=9)
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.fixture(scope="module")
def clip() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


def test_regions_with_shares_and_objects(tmp_path: Path, clip: Any) -> None:
    mixture = vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM))
    with pytest.raises(UserError, match="`regions` is missing"):
        FusionRegions(mixture)
    mixture.regions = cache_regions(clip, mixture, None, tmp_path / "store", max_regions=3)
    found = batch(mixture, regions=FusionRegions(mixture))
    # Surest first: objects 2 (0.99), 0 (0.9), 1 (0.8); 3 (0.7) has no room, and its box is nobody else's.
    assert found["object_regions"].tolist() == [[1, 2, 0, -1]] * 2
    boxes = torch.tensor([[5, 0, 11, 10], [0, 0, 5, 9], [2, 1, 6, 9]]) / torch.tensor([12, 10, 12, 10])
    # The picture is 12 x 10, see question_files.
    torch.testing.assert_close(found["region_boxes"][0], boxes)
    assert found["regions"].shape == (2, 3, clip.embed_dim) and found["region_mask"].all()
    with pytest.raises(UserError, match=f"features have a width of {clip.embed_dim}, and `student.model` takes 6"):
        FusionRegions(mixture, width=6)


def test_other_regions_stand_for_the_objects_that_they_overlap_most(tmp_path: Path, clip: Any) -> None:
    class Halves:
        name, key = "halves", "halves-1"

        def find(self, images: Any) -> list[Any]:
            boxes = np.array([[0, 0, 6, 10], [6, 0, 12, 10]], np.float32)
            return [SimpleNamespace(boxes=boxes, scores=np.ones(2, np.float32), labels=("l", "r"))] * len(images)

    mixture = vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM))
    mixture.regions = cache_regions(clip, mixture, Halves(), tmp_path / "store")
    found = batch(mixture, regions=FusionRegions(mixture))
    assert found["object_regions"].tolist() == [[0, 0, 1, 1]] * 2


def test_a_batch_becomes_pairs_with_the_whole_image_before_the_regions(tmp_path: Path, clip: Any) -> None:
    mixture = vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM))
    mixture.regions = cache_regions(clip, mixture, None, tmp_path / "store", max_regions=6)
    model = tiny_fusion("uniter", region_width=clip.embed_dim, positions=48).float()
    fields = {"text": FusionTexts(model, "answers"), "regions": FusionRegions(mixture, clip.embed_dim)}
    found = batch(mixture, **fields)
    inputs = fusion_inputs(found, "answers")
    assert inputs.ids.shape[0] == 8 and inputs.features.shape == (8, 7, clip.embed_dim)
    torch.testing.assert_close(inputs.features[5, 0], found["regions"][1, :4].mean(0))
    assert inputs.boxes[3, 0].tolist() == [0, 0, 1, 1] and inputs.region_mask[0].tolist() == [True] * 5 + [False] * 2
    # "Jessie" is object 2, the surest box: region 0 of the store, 1 behind the whole image; "Casey" the next.
    assert inputs.tags is not None
    assert set(inputs.tags[0].tolist()) == {-1, 1, 2} and inputs.tags[0, 2] == 1
    assert model(inputs).pooled.shape == (8, 16)
    parts = [fusion_inputs(part, "answers") for part in split(found, 1)]
    assert torch.equal(torch.cat([part.ids for part in parts]), inputs.ids)
    assert torch.equal(fusion_inputs(found, "answers", slice(1, 2)).ids, parts[1].ids)


def test_words_of_objects_that_no_region_shows_point_nowhere() -> None:
    tags, objects = torch.tensor([[0, 1, -1, 2]]), torch.tensor([[4, -1, 0]])
    assert pointed_regions(tags, objects).tolist() == [[5, -1, -1, 1]]
    assert pointed_regions(torch.tensor([[-1, -1]]), torch.zeros(1, 0, dtype=torch.int64)).tolist() == [[-1, -1]]


def test_overlaps_by_hand() -> None:
    first, second = np.array([[0, 0, 2, 2]]), np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 2, 4, 4], [1, 1, 1, 1]])
    np.testing.assert_allclose(overlaps(first, second), [[1 / 7, 1, 0, 0]])
    assert overlaps(np.zeros((0, 4)), second).shape == (0, 4)


def test_adapters_on_clip_get_their_own_tokens(tmp_path: Path, clip: Any) -> None:
    model = SimpleNamespace(tokenizer=clip.tokenizer, vocabulary_key="clip", config=SimpleNamespace(), name="adapter")
    found = batch(vcr(tmp_path, vcr_item(0, **ITEM), vcr_item(1, **ITEM)), text=FusionTexts(model, "answers"))
    assert torch.equal(found["answers/ids"][1, 2], clip.tokenizer(["is Jessie red? a circle"])[0])
    assert found["answers/tags"].unique().tolist() == [-1] and found["answers/mask"].all()
