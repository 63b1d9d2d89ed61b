"""What is taken from a model is really gone: answers don't depend on it any more."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from clipdistill.analysis.ablation import (
    OtherPictures,
    ablate,
    changed_inputs,
    next_other,
    with_masked_question,
    without_picture,
)
from clipdistill.analysis.reading import special_ids
from clipdistill.data import Mixture
from clipdistill.data.low_shot import LowShot
from clipdistill.errors import UserError
from clipdistill.evaluate.suites.base import Job
from clipdistill.models.fusion import fusion_inputs
from tests.analysis.asked_questions import Sparse, asked, tiny
from tests.models.tiny_fusion import tiny_inputs


def answers(model: Any, inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.scores("vcr", model(inputs), inputs)
    return found


@pytest.mark.parametrize(("architecture", "more"), [("uniter", {}), ("uniter", {"tags": True}), ("vl_bert", {})])
def test_without_the_picture_no_answer_depends_on_it(architecture: str, more: dict[str, Any]) -> None:
    model, inputs = tiny(architecture, **more).eval(), tiny_inputs()
    other = dataclasses.replace(inputs, features=inputs.features.flip(0) + 1)
    assert not torch.allclose(answers(model, inputs), answers(model, other))
    with changed_inputs(model, without_picture):
        one, two = answers(model, inputs), answers(model, other)
    torch.testing.assert_close(one, two)
    assert not model._forward_pre_hooks


def test_masked_are_the_questions_words_and_no_others(source: Any) -> None:
    model = tiny("uniter", tags=True)
    (batch,) = asked(model, source, 64).batches()
    inputs = fusion_inputs(batch, "answers")
    mask = model.tokenizer.mask_token_id
    hidden = with_masked_question(inputs, special_ids(model.tokenizer), mask)
    was, now = (model.tokenizer.convert_ids_to_tokens(each.ids[0][each.text_mask[0]]) for each in (inputs, hidden))
    end = was.index("[SEP]")
    assert now[0] == "[CLS]" and set(now[1:end]) == {"[MASK]"} and now[end:] == was[end:]
    assert inputs.tags is not None and hidden.tags is not None
    assert (inputs.tags[0, 1:end] > 0).any() and (hidden.tags[0, 1:end] == -1).all()


def test_every_question_gets_the_next_other_picture() -> None:
    assert next_other(list("aabbca")) == [2, 2, 4, 4, 5, 2]
    assert next_other(list("aab")) == [2, 2, 0]
    with pytest.raises(UserError, match="all questions show one picture"):
        next_other(list("aaa"))


def test_other_pictures_have_their_own_regions_and_this_ones_questions(source: Any) -> None:
    other = OtherPictures(source)
    assert other.pictures[:3] == ["green.jpg", "blue.jpg", "red.jpg"]  # the third's next question shows blue as well
    assert other[0].image == source[1].image and other[0].fields["question"] == source[0].fields["question"]
    own, exchanged = (next(iter(asked(tiny("uniter"), each, 64).batches())) for each in (source, other))
    np.testing.assert_array_equal(own["answers/ids"], exchanged["answers/ids"])
    store = Sparse(Mixture([(source, None)]))
    rows = [store.ids.index(one) for one in Mixture([(other, None)]).picture_ids]  # type: ignore[list-item]
    assert rows == [1, 2, 0, 0, 1, 0]


def test_a_picture_with_fewer_objects_leaves_words_pointing_nowhere(source: Any) -> None:
    other = OtherPictures(source)
    boxes = source[1].regions.boxes

    class Fewer:
        name, ids, classes, skipped, pictures = source.name, source.ids, None, (), source.pictures

        def __getitem__(self, row: int) -> Any:
            sample = source[row]
            few = dataclasses.replace(sample.regions, boxes=boxes[:0], scores=boxes[:0, 0], labels=())
            return dataclasses.replace(sample, regions=few) if row == 1 else sample

    other.source = Fewer()
    found = other[0].regions
    assert found is not None and len(found.boxes) == len(boxes) and not found.boxes.any()


def test_measures_of_a_model(source: Any) -> None:
    model = tiny("vl_bert").float()
    store = Sparse(Mixture([(source, None)]))
    job = Job(model, torch.device("cpu"), 8)
    found = ablate(job, "vcr", source, store)
    assert list(found) == ["as_it_is", "no_picture", "other_picture", "no_question"]
    pairs = asked(model, source, 64)
    (batch,) = pairs.batches()
    with torch.no_grad():
        ranks = model.option_scores(pairs.scores(batch, "answers")).reshape(-1, 4)
    label = torch.arange(6) % 4
    # The store of `asked` and that of the measure have the same regions.
    assert found["as_it_is"] == pytest.approx(float((ranks.argmax(1) == label).float().mean()))
    with pytest.raises(UserError, match="one picture"):
        ablate(job, "vcr", source.part(LowShot(2, 0, "", ("val-2", "val-3"))), store)
