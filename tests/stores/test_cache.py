from __future__ import annotations

import contextlib
import dataclasses
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from tiny_teacher import PLAN, Pictures, TinyTeacher, live
from torch.nn import functional as F

from clipdistill.data import AugmentPlan, ImageView, Loader, Mixture, apply
from clipdistill.data.fields import Caption, Picture
from clipdistill.errors import UserError
from clipdistill.objectives import crd, fd
from clipdistill.stores import store_size_bytes

SHARD = "shard-00000-of-00001"


def test_lookups_by_sample_view_and_caption_are_the_live_features(write, teacher, mixture) -> None:
    store = write(teacher, mixture)
    rows = store.rows(["pictures/013", "pictures/000", "pictures/020"])
    assert rows.tolist() == [13, 0, 20]
    views = np.array([2, 0, 1])
    found = store.image(rows, views)
    assert found.dtype == np.float32
    for k in range(3):
        np.testing.assert_allclose(found[k], live(teacher, mixture, rows[k], views[k]), rtol=2**-11, atol=2**-24)
    others = store.image(rows, [0, 1, 2])
    assert np.abs(found - others).max() > 0.01  # another view is another target

    texts = [mixture[13].captions[1], mixture[0].captions[0], mixture[20].captions[2]]
    with torch.no_grad():
        expected = F.normalize(teacher.encode_text(teacher.tokenizer(texts))).numpy()
    np.testing.assert_allclose(store.text(rows, [1, 0, 2]), expected, rtol=2**-11, atol=2**-24)


def test_losses_from_the_store_are_the_live_teachers(write, teacher, mixture) -> None:
    store = write(teacher, mixture)
    loader = Loader(
        mixture,
        {"image/teacher0": Picture(ImageView((8, 8))), "text/teacher0": Caption(teacher.tokenizer)},
        batch_size=10,
        plan=PLAN,
        seed=3,
    )
    student = torch.randn(10, 16), torch.randn(10, 16)
    for epoch in range(3):  # each shows other views and captions
        batch = next(iter(loader.epoch(epoch)))
        rows = store.rows([mixture.ids[i] for i in batch["sample"]])
        stored = (
            torch.from_numpy(store.image(rows, batch["view"])),
            torch.from_numpy(store.text(rows, batch["caption"])),
        )
        with torch.no_grad():
            fresh = teacher.encode_image(batch["image/teacher0"]), teacher.encode_text(batch["text/teacher0"])
        assert crd(*student, 10.0, *stored, store.logit_scale).item() == pytest.approx(
            crd(*student, 10.0, *fresh, 100.0).item(), rel=2e-3
        )
        torch.testing.assert_close(fd(student[0], stored[0]), fd(student[0], fresh[0]), rtol=1e-3, atol=0)


def test_each_input_is_encoded_once_and_a_finished_store_costs_nothing(write, teacher, mixture) -> None:
    calls: list[tuple[int, int]] = []
    teacher.train()
    store = write(teacher, mixture, progress=lambda done, total: calls.append((done, total)))
    captions = sum(len(mixture[i].captions) for i in range(21))
    assert teacher.images == 21 * 3 and teacher.texts == captions == store.meta["rows"]["text"]
    assert calls[-1] == (21, 21) and calls == sorted(calls)
    assert teacher.training and teacher.dropout.training  # as it was, though it was encoded without dropout
    again = write(teacher, mixture)
    assert teacher.images == 21 * 3 and again.ids == store.ids == mixture.ids


def test_equal_captions_of_a_block_are_encoded_once(write, teacher) -> None:
    class Template(Pictures):
        def __getitem__(self, index: int) -> Any:
            sample = super().__getitem__(index)
            return type(sample)(sample.id, sample.image, ("a photo", "a photo", f"photo {index % 2}"))

    store = write(teacher, Mixture([(Template(8), None)]))
    assert teacher.texts == 3
    assert np.array_equal(store.text([5], [0]), store.text([2], [1]))
    assert not np.array_equal(store.text([5], [2]), store.text([2], [2]))


def test_a_file_where_the_folder_should_be_is_one_line(write, teacher, mixture, tmp_path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(UserError, match="can't be written .*; choose another folder"):
        write(teacher, mixture)


MISMATCHES = {
    "the teacher": {"fingerprint": "weights-1"},
    "the augmentation plan": {"plan": AugmentPlan(crop_scale=(0.9, 1.0), views=3, seed=7)},
    "the number of views: the store has 3, now it is 2": {
        "plan": AugmentPlan(crop_scale=(0.5, 1.0), flip=0.5, views=2, seed=7)
    },
    "the data": {"mixture": Mixture([(Pictures(21, word="other"), None)])},
    "the precision: the store has float16, now it is float32": {"dtype": "float32"},
    "the kind of features: the store has embedding, now it is tower": {"features": "tower"},
}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("words", MISMATCHES)
def test_another_store_in_the_folder_is_refused_naming_the_part(write, teacher, mixture, words, finished) -> None:
    teacher.fails_at = None if finished else 15
    with contextlib.suppress(KeyboardInterrupt):
        write(teacher, mixture)
    options = {"mixture": mixture, **MISMATCHES[words]}
    with pytest.raises(UserError, match=f"{words}.*choose another folder or delete") as error:
        write(TinyTeacher(), **options)
    assert "\n" not in str(error.value)


def test_bad_samples_are_flagged_and_have_no_image_target(write, teacher) -> None:
    mixture = Mixture([(Pictures(21, bad=(5, 6, 7, 4)), None)])  # a whole batch of 4 among them
    store = write(teacher, mixture, max_bad_share=0.2)
    store.verify()
    assert sorted(store.bad) == [f"pictures/00{i}" for i in (4, 5, 6, 7)]
    assert "cannot identify" in store.bad["pictures/005"] or store.bad["pictures/005"]
    with pytest.raises(UserError, match="no image target for pictures/006"):
        store.image([3, 6], [0, 0])
    assert np.abs(store.text([6], [0])).sum() > 0  # captions need no picture
    np.testing.assert_allclose(store.image([8], [1])[0], live(teacher, mixture, 8, 1), rtol=2**-10, atol=1e-6)


def test_a_plan_without_fixed_views_is_refused_before_anything(write, teacher, mixture, tmp_path) -> None:
    with pytest.raises(UserError, match="data.augment.views.*fixed number of views"):
        write(teacher, mixture, plan=AugmentPlan(flip=0.5))
    assert teacher.calls == 0 and not (tmp_path / "store").exists()
    store = write(teacher, mixture, plan=AugmentPlan())  # no augmentation: one view is all there is
    assert store.views == 1


def test_tower_features_keep_their_lengths_and_widths(write, teacher, mixture) -> None:
    store = write(teacher, mixture, features="tower")
    assert (store.meta["embed_dim"], store.meta["text_dim"], store.logit_scale) == (20, 24, 1.0)
    sample = mixture[9]
    pixels = apply(sample.image.open(), PLAN.record(sample.id, 1), ImageView((8, 8)))
    with torch.no_grad():
        image = teacher.image_tower_features(pixels[None]).numpy()
        text = teacher.text_tower_features(teacher.tokenizer([sample.captions[0]])).numpy()
    assert np.linalg.norm(image) > 500
    np.testing.assert_allclose(store.image([9], [1]), image, rtol=2**-10, atol=1e-2)
    np.testing.assert_allclose(store.text([9], [0]), text, rtol=2**-10, atol=1e-5)


def test_float32_is_exact(write, teacher, mixture) -> None:
    store = write(teacher, mixture, dtype="float32")
    np.testing.assert_allclose(store.image([4], [1])[0], live(teacher, mixture, 4, 1), rtol=1e-5, atol=1e-7)


def test_nan_stops_and_names_the_input(write, teacher, mixture) -> None:
    with torch.no_grad():
        teacher.text_tower.weight[ord("7")] = float("nan")
    with pytest.raises(UserError, match="tiny gives NaN or infinity as text of 'pictures/007'"):
        write(teacher, mixture)


def test_space_is_asked_for_before_the_work(write, teacher, mixture, monkeypatch, tmp_path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"needs 0\.0 MB more and the disk has 0\.0 MB"):
        write(teacher, mixture)
    assert teacher.calls == 0 and not (tmp_path / "store").exists()


def test_forecast_of_size_is_what_it_takes(write, mixture, tmp_path) -> None:
    write(TinyTeacher(dim=512), mixture)
    real = sum(f.stat().st_size for f in (tmp_path / "store").rglob("*.f16"))
    captions = sum(len(mixture[i].captions) for i in range(21))
    assert store_size_bytes(21, 3, captions, 512) == real + 21 * 64 == (21 * 3 + captions) * 512 * 2 + 21 * 64


VALUES = {"question": ["how many?", "what colour?"], "choices": [{"a": 1, "b": [2]}, {"a": 1, "b": [3]}]}


class Asked(Pictures):
    """Pictures with a question and choices. The source's own fingerprint doesn't know of them."""

    def __init__(self, **values: Any) -> None:
        super().__init__(6)
        self.values = {**VALUES, **values}

    def __getitem__(self, index: int) -> Any:
        fields = {name: values[index % 2] for name, values in self.values.items()}
        return dataclasses.replace(super().__getitem__(index), fields=fields)


def test_a_store_is_stale_once_fields_that_it_depends_on_change(write, teacher) -> None:
    fields = ("question", "choices")
    first = Mixture([(Asked(), None)])
    store = write(teacher, first, fields=fields)
    write(teacher, Mixture([(Asked(choices=[{"b": [2], "a": 1}, {"b": [3], "a": 1}]), None)]), fields=fields)
    store.check(fields=first.fields_fingerprint(fields))
    changed = Mixture([(Asked(choices=[{"a": 1, "b": [2]}, {"a": 1, "b": [4]}]), None)])
    assert changed.fingerprint() == first.fingerprint()  # nothing else would have told
    line = "^[^\n]*the samples' field 'choices': its values aren't those of the store[^\n]*$"
    with pytest.raises(UserError, match=line) as error:
        write(teacher, changed, fields=fields)
    assert "question" not in str(error.value)
    with pytest.raises(UserError, match=line):
        store.check(fields=changed.fields_fingerprint(["choices"]))
    store.check(fields=changed.fields_fingerprint(["question"]))
    with pytest.raises(UserError, match="the samples' field 'question'"):  # of a store that never looked at it
        write(teacher, first, folder="other").check(fields=first.fields_fingerprint(["question"]))


def test_several_sources_in_one_store(write, teacher) -> None:
    mixture = Mixture([(Pictures(9), 5), (Pictures(7, name="more"), None)], seed=1)
    store = write(teacher, mixture)
    assert store.ids == mixture.ids
    store.check(sources={"more": "more 7 caption"})
    with pytest.raises(UserError, match="the data source 'more' has changed"):
        store.check(sources={"more": "more 7 words"})
