"""Pictures without captions in a batch: what is compared with the teacher, what of pairs alone, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.objectives.clip_kd import crd, fd, icl
from clipdistill.objectives.contrastive import info_nce
from clipdistill.objectives.rkd import rkd_angle, rkd_distance
from clipdistill.tasks import ClipKD, Contrastive
from clipdistill.tasks.rkd import RKD
from clipdistill.tasks.teacher import StoredTeacher
from tests.tiny import TinyStudent, TinyTeacher, make_batch

ALONE = Ranks(0, 1, torch.device("cpu"))
CAPTIONS = [0, -1, 2, -1, -1, 1, 0, -1]
HAS = torch.tensor(CAPTIONS) >= 0


def batch(captions: list[int] = CAPTIONS) -> dict[str, Any]:
    """Texts of pictures without captions are noise, as an empty text's are."""
    return make_batch(len(captions)) | {"caption": torch.tensor(captions)}


def task(kind: Any = ClipKD, weights: dict[str, float] | None = None, share: float = 0.5, **options: Any) -> Any:
    torch.manual_seed(3)
    made = kind(TinyStudent(**options), [] if kind is Contrastive else [TinyTeacher(5)], weights, {}).double()
    made.captioned = share
    return made


def gradients(made: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


def test_each_term_by_hand() -> None:
    made = task()
    found = backward(made, batch(), ALONE)
    student, teacher = made.student, made.teachers[0]
    every = batch()
    image, text = student.encode_image(every["image/student"]), student.encode_text(every["text/student"])[HAS]
    t_image, t_text = teacher.image[:8], teacher.text[:8][HAS]
    p_image, p_text = made.project_image(image), made.project_text(text)
    scale = student.logit_scale
    expected = {
        "task": info_nce(image[HAS], text, scale),
        "icl": icl(p_image[HAS], p_text, t_image[HAS], t_text, made.icl_logit_scale.exp()),
        "crd": crd(image, text, scale, t_image, t_text, teacher.logit_scale),
        "fd": fd(p_image, t_image).mean() + fd(p_text, t_text).mean(),  # half of them have a caption, as expected
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_relations_of_pictures_to_other_pictures_texts_by_hand() -> None:
    """Three pictures and two texts: each picture chooses among two, each text among three."""
    image, text = torch.tensor([[1.0, 0], [0, 1], [1, 1]]).double(), torch.tensor([[1.0, 0], [0, 2]]).double()
    t_image, t_text = torch.tensor([[0.0, 1], [0, 1], [1, 0]]).double(), torch.tensor([[1.0, 0], [1, 1]]).double()
    unit = [torch.nn.functional.normalize(each, dim=1) for each in (image, text, t_image, t_text)]
    own, taught = 2.0 * unit[0] @ unit[1].T, 3.0 * unit[2] @ unit[3].T

    def divergence(of: Tensor, by: Tensor) -> Tensor:
        p = by.softmax(1)
        return (p * (p.log() - of.log_softmax(1))).sum(1).mean()

    by_hand = (divergence(own, taught) + divergence(own.T, taught.T)) / 2
    torch.testing.assert_close(crd(image, text, 2.0, t_image, t_text, 3.0), by_hand)
    torch.testing.assert_close(crd(image, text, 2.0, t_image, t_text, 3.0, chunk=2), by_hand)


@pytest.mark.parametrize("weights", [None, {"fd": 1.0}, {"crd": 1.0, "icl": 1.0, "gd": 1.0}, {"afd": 1.0, "mfd": 1.0}])
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_micro_batches_give_the_gradient_of_the_whole_batch(weights: Any, micro: int) -> None:
    options = {"mask_patch": 4, "mask_ratio": 0.0}
    made = task(weights=weights)
    made.settings = made.check_options(options)
    whole = backward(made, batch(), ALONE)
    expected = gradients(made)
    made.zero_grad(set_to_none=True)
    parts = backward(made, batch(), ALONE, micro)
    found = gradients(made)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name])


def test_without_a_teacher_they_aren_t_even_looked_at() -> None:
    made = task(Contrastive)
    backward(made, batch(), ALONE)
    found = gradients(made)
    alone = task(Contrastive, share=1.0)
    backward(
        alone, {name: value[HAS] if isinstance(value, Tensor) else value for name, value in batch().items()}, ALONE
    )
    expected = gradients(alone)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    # Nor do they move a BatchNorm's statistics.
    norm = task(Contrastive, norm=True)
    norm.encode(batch())
    other = task(Contrastive, norm=True, share=1.0)
    other.encode({name: value[HAS] if isinstance(value, Tensor) else value for name, value in batch().items()})
    torch.testing.assert_close(norm.student.image[1].running_mean, other.student.image[1].running_mean)


def test_what_an_empty_text_says_reaches_nothing() -> None:
    """Whatever stands where there is no caption, in the batch or in the teacher: losses and gradients are the same."""
    results = []
    for noise in (0, 1):
        made, given = task(), batch()
        given["text/student"] = torch.where(HAS[:, None], given["text/student"], noise)
        made.teachers[0].text[:8][~HAS] = 10.0 * noise
        results.append((backward(made, given, ALONE), gradients(made)))
    for name in results[0][0]:
        assert torch.equal(results[0][0][name], results[1][0][name])
    for name in results[0][1]:
        assert torch.equal(results[0][1][name], results[1][1][name])


@pytest.mark.parametrize("kind", [ClipKD, Contrastive, RKD])
def test_a_batch_without_any_caption(kind: Any) -> None:
    made = task(kind)
    found = backward(made, batch([-1] * 8), ALONE)
    assert all(torch.isfinite(value) for value in found.values()) and found["task"] == 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made).values())
    assert (kind is Contrastive) == (sum(float(g.abs().sum()) for g in gradients(made).values()) == 0)


def test_with_a_caption_each_nothing_changes() -> None:
    with_them, without = task(share=0.5), task(share=1.0)
    with_them.captioned = 1 - 1e-12  # a mixture with such pictures, none of which is in this batch
    found, expected = (backward(each, batch([0] * 8), ALONE) for each in (with_them, without))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_rkd_compares_all_pictures_and_the_texts_that_there_are() -> None:
    made = task(RKD)
    found = backward(made, batch(), ALONE)
    every, teacher = batch(), made.teachers[0]
    image, text = made.student.encode_image(every["image/student"]), made.student.encode_text(every["text/student"])
    for term, loss in {"distance": rkd_distance, "angle": rkd_angle}.items():
        torch.testing.assert_close(found[term], loss(image, teacher.image[:8]) + loss(text[HAS], teacher.text[:8][HAS]))


class Store:
    """What a StoredTeacher asks of a store."""

    meta = {"teacher": "t", "embed_dim": 2, "text_dim": 2}
    logit_scale = 1.0

    def rows(self, ids: Any) -> np.ndarray:
        return np.arange(len(ids))

    def image(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        return np.stack([rows, views], 1).astype(np.float32)

    def text(self, rows: np.ndarray, captions: np.ndarray) -> np.ndarray:
        assert (captions >= 0).all()
        return np.stack([rows, captions], 1).astype(np.float32)


def test_a_store_has_no_text_for_them() -> None:
    teacher = StoredTeacher(Store(), [str(row) for row in range(8)])  # type: ignore[arg-type]
    found = teacher.targets(batch() | {"view": torch.zeros(8, dtype=torch.int64)})
    expected = [[row, caption] if caption >= 0 else [0, 0] for row, caption in enumerate(CAPTIONS)]
    assert found["text"].tolist() == expected and found["image"][:, 0].tolist() == list(range(8))
