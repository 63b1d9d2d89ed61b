"""Batches are a pure function of (seed, epoch, number): whatever the workers, the ranks or where one starts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from data_files import encoded, picture, write_csv, write_pictures, write_shard

from clipdistill.data.fields import Caption, Label, Picture
from clipdistill.data.loader import Loader, evaluation_batches
from clipdistill.data.mixture import Mixture
from clipdistill.data.sources import open_source
from clipdistill.data.transforms import AugmentPlan, ImageView, apply
from clipdistill.errors import UserError

SMALL, LARGE = ImageView((8, 8)), ImageView((16, 16))
PLAN = AugmentPlan(crop_scale=(0.5, 1.0), flip=0.5, views=3, seed=1)


class Letters:
    """A tokenizer that can be pickled: the first 24 character codes."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.texts = 0

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.texts += len(texts)
        return torch.tensor([[ord(c) + self.offset for c in text.ljust(24)[:24]] for text in texts])


@pytest.fixture
def mixture(tmp_path) -> Mixture:
    one = open_source({"path": str(write_csv(tmp_path / "one", 17, captions=3)), "name": "one"})
    for number in range(2):
        write_shard(tmp_path / "two" / f"{number}.tar", 5 * number, 5, kind="jpg")
    return Mixture([(one, None), (open_source(str(tmp_path / "two")), None)], seed=0)


def loader(mixture: Mixture, **changes) -> Loader:
    options = {
        "images": {"student": SMALL, "teacher0": LARGE, "teacher1": SMALL},
        "tokenizers": {"student": Letters(), "teacher0": Letters(1)},
        "batch_size": 4,
        "plan": PLAN,
        "seed": 7,
    }
    values = options | changes
    fields = {f"image/{role}": Picture(view) for role, view in values.pop("images").items()}
    fields |= {f"text/{role}": Caption(tokenizer) for role, tokenizer in values.pop("tokenizers").items()}
    return Loader(mixture, {**fields, **values.pop("fields", {})}, **values)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key] for key, value in one.items()
    )


def test_what_is_in_a_batch(mixture) -> None:
    tokenizer = Letters()
    batches = list(loader(mixture, tokenizers={"student": tokenizer, "teacher0": Letters(1)}).epoch(2))
    assert len(batches) == loader(mixture).steps_per_epoch == 27 // 4
    assert len({int(row) for batch in batches for row in batch["sample"]}) == 24
    for batch in batches:
        assert batch["image/student"].shape == (4, 3, 8, 8) and batch["image/teacher0"].shape == (4, 3, 16, 16)
        assert batch["image/student"].dtype == torch.uint8
        assert batch["image/student"] is batch["image/teacher1"]
        assert batch["bad"] == [] and "label" not in batch
        for place, row in enumerate(batch["sample"].tolist()):
            sample = mixture[row]
            view, caption = int(batch["view"][place]), int(batch["caption"][place])
            assert view == PLAN.view_of(sample.id, 2)
            record = PLAN.record(sample.id, view)
            if sample.id.startswith("one"):  # JPEGs may be decoded smaller
                assert torch.equal(batch["image/teacher0"][place], apply(sample.image.open(), record, LARGE))
            assert torch.equal(batch["text/student"][place], Letters()([sample.captions[caption]])[0])
        assert torch.equal(batch["text/teacher0"], batch["text/student"] + 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_same_batches_for_any_number_of_workers_in_every_epoch(mixture, workers: int) -> None:
    alone, helped = loader(mixture), loader(mixture, workers=workers)
    for epoch in (0, 1):
        pairs = zip(alone.epoch(epoch), helped.epoch(epoch), strict=True)
        assert all(same(one, other) for one, other in pairs)


def test_spawned_workers_can_be_started(mixture) -> None:
    import pickle

    maker = loader(mixture, workers=1)._make
    job = (0, np.arange(4))
    assert same(pickle.loads(pickle.dumps(maker))[job], maker[job])


def test_ranks_side_by_side_are_one_process(mixture) -> None:
    whole = list(loader(mixture, batch_size=6).epoch(3))
    ranks = [list(loader(mixture, batch_size=2, rank=rank, world_size=3).epoch(3)) for rank in range(3)]
    assert len(whole) == len(ranks[0]) == 4
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            if torch.is_tensor(value):
                assert torch.equal(torch.cat([rank[step][key] for rank in ranks]), value), key


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_is_exact_after_an_epoch_that_was_left(mixture, workers: int) -> None:
    undisturbed = list(loader(mixture).epoch(5))
    again = loader(mixture, workers=workers)
    for number, _ in enumerate(again.epoch(4)):
        if number == 1:
            break
    resumed = list(again.epoch(5, start=2))
    assert len(resumed) == len(undisturbed) - 2
    assert all(same(one, other) for one, other in zip(undisturbed[2:], resumed, strict=True))


def test_the_global_random_state_is_left_alone(mixture) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(loader(mixture, workers=workers).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_and_epochs_differ(mixture) -> None:
    first = next(iter(loader(mixture).epoch(0)))
    assert not torch.equal(first["sample"], next(iter(loader(mixture).epoch(1)))["sample"])
    assert not torch.equal(first["sample"], next(iter(loader(mixture, seed=8).epoch(0)))["sample"])


def test_all_captions_and_all_views_come_before_a_repeat(mixture) -> None:
    seen: dict[int, list[tuple[int, int]]] = {row: [] for row in range(17)}
    for epoch in range(3):
        for batch in loader(mixture, batch_size=27).epoch(epoch):
            for row, view, caption in zip(*(batch[key].tolist() for key in ("sample", "view", "caption")), strict=True):
                if row < 17:
                    seen[row].append((view, caption))
    for row, pairs in seen.items():
        assert {view for view, _ in pairs} == {0, 1, 2} and {caption for _, caption in pairs} == {0, 1, 2}, row


def test_equal_tokenizers_are_run_once_and_known_captions_not_again(mixture) -> None:
    tokenizer = Letters()
    made = loader(mixture, tokenizers={"student": tokenizer, "teacher0": tokenizer}, batch_size=27)
    batch = next(iter(made.epoch(0)))
    assert batch["text/student"] is batch["text/teacher0"]
    assert tokenizer.texts == 27
    list(made.epoch(3))  # the captions of a new round may repeat the old ones in part
    list(made.epoch(0))
    assert tokenizer.texts <= 17 * 3 + 10


def test_bad_samples_are_replaced_alike_everywhere_and_reported(tmp_path) -> None:
    write_csv(tmp_path, 24)
    (tmp_path / "003.png").write_bytes(b"")
    (tmp_path / "011.png").write_text("<html>")
    mixture = Mixture([(open_source(str(tmp_path / "captions.csv")), None)], 0)
    whole = list(loader(mixture, batch_size=8).epoch(0))
    bad = [item for batch in whole for item in batch["bad"]]
    assert Counter(item["id"] for item in bad) == {"captions/003.png": 1, "captions/011.png": 1}
    assert "empty" in next(item["reason"] for item in bad if "003" in item["id"])
    for batch in whole:
        rows = batch["sample"].tolist()
        assert len(rows) == 8 and not {3, 11} & set(rows)
        assert len(set(rows)) == 8  # a stand-in is none of the batch's own
        assert torch.equal(batch["text/student"], Letters()([mixture[row].captions[0] for row in rows]))
    ranks = [list(loader(mixture, batch_size=4, rank=rank, world_size=2, workers=rank).epoch(0)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([rank[step]["sample"] for rank in ranks]), batch["sample"])
        assert [item for rank in ranks for item in rank[step]["bad"]] == batch["bad"]


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_is_bad_throughout_stops_with_one_line(tmp_path, workers: int) -> None:
    write_csv(tmp_path, 5)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    mixture = Mixture([(open_source(str(tmp_path / "captions.csv")), None)], 0)
    with pytest.raises(UserError, match="check the data") as caught:
        list(loader(mixture, workers=workers).epoch(0))
    assert "\n" not in str(caught.value)


def test_too_few_samples_and_no_captions(tmp_path, mixture) -> None:
    with pytest.raises(UserError, match="batch_size 28 .*27 samples"):
        loader(mixture, batch_size=14, world_size=2)
    write_pictures(tmp_path / "classes", ["a/1.png", "b/1.png"])
    plain = Mixture([(open_source(str(tmp_path / "classes")), None)], 0)
    with pytest.raises(UserError, match="classes/a/1.png.*templates"):
        loader(plain, batch_size=1)
    batch = next(iter(loader(plain, batch_size=2, tokenizers={}, fields={"label": Label()}).epoch(0)))
    assert sorted(batch["label"].tolist()) == [0, 1] and batch["caption"].tolist() == [-1, -1]


def test_evaluation_in_order_with_bad_ones_left_out(tmp_path) -> None:
    write_pictures(tmp_path, [f"{c}/{i}.png" for c in "ab" for i in range(4)])
    (tmp_path / "a" / "2.png").write_bytes(b"junk")
    source = open_source({"path": str(tmp_path), "templates": "a {}"})
    for workers in (0, 2):
        batches = list(evaluation_batches(source, LARGE, 3, workers))
        assert [batch["sample"].tolist() for batch in batches] == [[0, 1], [3, 4, 5], [6, 7]]
        assert batches[0]["bad"][0]["id"] == "a/2.png" and "not an image" in batches[0]["bad"][0]["reason"]
        assert batches[1]["label"].tolist() == [0, 1, 1]
        assert batches[1]["captions"] == [("a a",), ("a b",), ("a b",)]
        assert torch.equal(batches[2]["image/model"][1], apply(source[7].image.open(), None, LARGE))
    texts = list(evaluation_batches(source, None, 3, 0))
    assert texts[0]["sample"].tolist() == [0, 1, 2] and "image/model" not in texts[0]


def test_stored_views_are_the_views_that_training_shows(mixture) -> None:
    """A store is written view by view from `evaluation_batches`; its pixels must be those of the Loader, JPEGs too."""
    stored = {}
    for view in range(3):
        for batch in evaluation_batches(mixture, LARGE, 5, plan=PLAN, plan_view=view):
            for row, pixels in zip(batch["sample"].tolist(), batch["image/model"], strict=True):
                stored[row, view] = pixels
    for batch in loader(mixture, batch_size=9).epoch(4):
        for place, key in enumerate(zip(batch["sample"].tolist(), batch["view"].tolist(), strict=True)):
            assert torch.equal(stored[key], batch["image/teacher0"][place])


def test_pixels_of_a_view_do_not_depend_on_the_other_views(tmp_path) -> None:
    (tmp_path / "big.jpg").write_bytes(encoded(picture(0, (900, 700)), "JPEG"))
    (tmp_path / "t.csv").write_text("image,caption\nbig.jpg,x\n")
    mixture = Mixture([(open_source(str(tmp_path / "t.csv")), None)], 0)
    views = {"student": SMALL, "teacher0": ImageView((300, 300))}
    both = next(iter(loader(mixture, batch_size=1, images=views).epoch(0)))
    for role, view in views.items():
        alone = next(iter(loader(mixture, batch_size=1, images={role: view}).epoch(0)))
        assert torch.equal(alone[f"image/{role}"], both[f"image/{role}"])


def test_chosen_rows_in_the_order_asked(mixture) -> None:
    batches = list(evaluation_batches(mixture, SMALL, 2, rows=[9, 4, 20]))
    assert [batch["sample"].tolist() for batch in batches] == [[9, 4], [20]]
