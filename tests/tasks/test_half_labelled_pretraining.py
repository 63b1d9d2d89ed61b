"""Pretraining of questions of which some have no known answer: those are read, taught, and teach nothing themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from question_files import vcr_item, write_vcr
from test_targeted_terms import losses, made, student, taught

from clipdistill.data import Mixture
from clipdistill.data.question_texts import label_of, option_read
from clipdistill.data.sources import open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks.fusion_pretraining import FusionPretraining


@pytest.fixture(scope="module")
def clip() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


WEIGHTS = {"words": 1.0, "regions": 1.0, "matching": 1.0, "language": 0.05}


def half(folder: Path, clip: Any, unlabelled: bool = True) -> Mixture:
    """Two questions with answers, and the same and two more without."""
    spec = {"format": "vcr", "path": write_vcr(folder, [vcr_item(n, answer_label=2) for n in range(4)])}
    parts = [(open_source({**spec, "name": "known"}), 2)]
    parts += [(open_source({**spec, "name": "unknown", "unlabelled": True}), None)] if unlabelled else []
    mixture = Mixture(parts)
    mixture.regions = cache_regions(clip, mixture, None, folder / f"regions{len(parts)}")
    return mixture


def test_what_isnt_known_is_drawn_and_weighs_nothing_but_in_the_teachers_terms(clip: Any, tmp_path: Path) -> None:
    data = half(tmp_path, clip)
    read = [option_read(data[row], "answers") for row in range(6)]
    assert [label_of(data[row], "answers") for row in range(6)] == [2, 2, None, None, None, None]
    assert read[:2] == [2, 2] and len(set(read[2:])) > 1 and set(read[2:]) <= set(range(4))
    teacher = taught(clip, data, tmp_path, ("answers", "rationales"))
    task, batch = made(FusionPretraining, student("uniter", clip), data, teacher, WEIGHTS, reads="answers")
    assert batch["text_known"].tolist() == [True, True, False, False, False, False]
    found = losses(task, batch)
    for row, option in enumerate(read):  # the text that is read is the one that the teacher speaks of
        target = torch.from_numpy(teacher.store.texts(row, "answers", [option])[0]).double()
        torch.testing.assert_close(batch["taught/answers/text"][row], target)
    terms = backward(task, batch, Ranks.current(), None)
    weights = task.sample_weights(task.encode(batch), batch)
    assert "language" not in weights  # every question counts
    for term in ("words", "regions", "matching"):
        assert (weights[term][2:] == 0).all() and (weights[term][:2] > 0).any()
        own = (found[term][:2] * weights[term][:2]).sum() / weights[term][:2].sum()
        torch.testing.assert_close(terms[term].double(), own.double())
    torch.testing.assert_close(terms["language"].double(), found["language"].mean().double())


def test_known_answers_alone_are_weighed_as_ever(clip: Any, tmp_path: Path) -> None:
    data = half(tmp_path, clip, unlabelled=False)
    teacher = taught(clip, data, tmp_path, ("answers", "rationales"))
    task, batch = made(FusionPretraining, student("uniter", clip), data, teacher, WEIGHTS, reads="answers")
    assert "text_known" not in batch and "matching" not in task.sample_weights({}, batch)


def test_nothing_known_is_refused(clip: Any, tmp_path: Path) -> None:
    spec = {"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(0)]), "unlabelled": True}
    data = Mixture([(open_source(spec), None)])
    task = FusionPretraining(student("bert", clip), weights={"words": 1.0}, options={"reads": "rationales"})
    with pytest.raises(UserError, match="has no label of rationales, .*; set `task.reads` to question"):
        for field in task.fields(data).values():
            field.check(data)
