"""Mixtures: stated counts by seed, unique ids, errors; and the order of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import write_csv, write_shard

from clipdistill.data.mixture import Mixture
from clipdistill.data.order import SHARDS_TOGETHER, epoch_order
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources import open_source
from clipdistill.errors import UserError


def csv(tmp_path, name: str, count: int):
    return open_source({"path": str(write_csv(tmp_path / name, count)), "name": name})


def test_counts_and_ids_by_seed(tmp_path) -> None:
    one, two = csv(tmp_path, "one", 20), csv(tmp_path, "two", 5)
    mixture = Mixture([(one, 8), (two, None)], seed=3)
    assert len(mixture) == 13 and mixture.counts() == {"one": 8, "two": 5}
    assert len(set(mixture.ids)) == 13 and mixture.ids[8:] == [f"two/{i:03d}.png" for i in range(5)]
    assert [mixture[i].id for i in range(13)] == mixture.ids
    assert mixture[8].captions == two[0].captions
    assert Mixture([(one, 8), (two, None)], seed=3).ids == mixture.ids
    assert Mixture([(one, 8), (two, None)], seed=4).ids[:8] != mixture.ids[:8]


def test_a_source_is_drawn_alike_in_any_company(tmp_path) -> None:
    one, two = csv(tmp_path, "one", 20), csv(tmp_path, "two", 20)
    alone = Mixture([(one, 7)], seed=0).ids
    assert Mixture([(two, 3), (one, 7)], seed=0).ids[3:] == alone
    other = [one_id.replace("two/", "one/") for one_id in Mixture([(two, 7)], seed=0).ids]
    assert other != alone  # two sources of one length aren't drawn in step


def test_mistakes(tmp_path) -> None:
    one = csv(tmp_path, "one", 4)
    for parts, message in (
        ([], "at least one source"),
        ([(one, 5)], "5 samples asked of data source 'one', which has 4"),
        ([(one, 0)], "at least 1"),
        ([(one, 1), (one, 2)], "two data sources are called 'one'"),
    ):
        with pytest.raises(UserError, match=message):
            Mixture(parts, seed=0)


def test_fingerprint_follows_the_draw(tmp_path) -> None:
    one = csv(tmp_path, "one", 9)
    prints = [Mixture([(one, 5)], seed).fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


class Asked:
    """Three samples with a question and choices; the source's own fingerprint doesn't know of them."""

    name, classes, ids = "asked", None, ["a", "b", "c"]

    def __init__(self, **values: object) -> None:
        self.values = {"question": "how many?", "choices": ["one", {"x": 1, "y": 2}], "score": 0.5} | values

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], ImageRef.from_bytes(b""), fields=self.values if index else {"score": 1})

    def fingerprint(self) -> str:
        return "asked"


def test_fields_have_fingerprints_of_their_own() -> None:
    def prints(*names: str, **values: object) -> dict[str, str]:
        return Mixture([(Asked(**values), None)]).fields_fingerprint(names)

    names = ("question", "choices")
    before = prints(*names)
    assert set(before) == set(names) and len(set(before.values())) == 2
    assert prints(*reversed(names)) == before and prints("question") == {"question": before["question"]}
    assert prints(*names, choices=["one", {"y": 2, "x": 1}]) == before  # the order of keys is nothing
    assert prints(*names, choices=({"x": 1, "y": 2}, "one"))["choices"] != before["choices"]  # that of values is
    assert prints(*names, question="how much?") == before | prints("question", question="how much?")
    assert prints("question", question="how much?") != {"question": before["question"]}
    assert prints("question", question=None) != Mixture([(Asked(), 1)]).fields_fingerprint(("score",))
    drawn = Mixture([(Asked(), None)]).without({"asked/a"}).fields_fingerprint(("question",))
    assert drawn["question"] != before["question"]  # other samples
    arrays = [np.arange(3), np.arange(3), np.arange(3.0), np.int64(3), 3]
    one, same, other, number, plain = (prints("choices", choices=value)["choices"] for value in arrays)
    assert one == same != other and number == plain
    assert prints() == {}
    with pytest.raises(UserError, match="no sample has a field 'answer'"):
        prints("question", "answer")
    with pytest.raises(UserError, match=r"asked/b: field 'question' can't be fingerprinted \(a object\)"):
        prints("question", question=object())


def test_classes_only_when_all_agree(tmp_path) -> None:
    plain = csv(tmp_path, "plain", 2)
    (tmp_path / "plain" / "l.csv").write_text("image,label\n000.png,x\n001.png,y\n")
    labelled = open_source({"path": str(tmp_path / "plain" / "l.csv"), "label": "label"})
    assert Mixture([(labelled, None)], 0).classes == ("x", "y")
    assert Mixture([(labelled, None), (plain, None)], 0).classes is None


def test_order_is_a_permutation_by_seed_and_epoch(tmp_path) -> None:
    mixture = Mixture([(csv(tmp_path, "one", 30), None), (csv(tmp_path, "two", 10), None)], 0)
    orders = [epoch_order(mixture, *key) for key in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[3])
    assert np.array_equal(epoch_order(mixture, 0, 5, shuffle=False), np.arange(40))


def test_order_over_shards_stays_within_a_few_and_mixes_with_other_sources(tmp_path) -> None:
    shards, rows = 4 * SHARDS_TOGETHER, 5
    for number in range(shards):
        write_shard(tmp_path / "wds" / f"{number:03d}.tar", rows * number, rows)
    sharded = open_source(str(tmp_path / "wds"))
    order = epoch_order(Mixture([(sharded, None)], 0), 0, 0)
    assert sorted(order) == list(range(shards * rows))
    windows = (order // rows).reshape(4, -1)
    assert all(len(set(window)) == SHARDS_TOGETHER for window in windows)
    assert sorted(set(windows[0])) != list(range(SHARDS_TOGETHER))  # the shards themselves are shuffled
    assert len(set(windows[0][:rows])) > 1  # and rows go across them
    mixture = Mixture([(sharded, 60), (csv(tmp_path, "one", 20), None)], 0)
    order = epoch_order(mixture, 0, 0)
    assert sorted(order) == list(range(80))
    shares = [(part >= 60).sum() for part in order.reshape(4, 20)]
    assert min(shares) >= 3 and max(shares) <= 7  # each quarter has about its 5


def test_without_leaves_the_others_as_they_were(tmp_path) -> None:
    whole = Mixture([(csv(tmp_path, "a", 5), None), (csv(tmp_path, "b", 4), 3)], seed=1)
    gone = {whole.ids[1], whole.ids[6]}
    less = whole.without(gone)
    assert less.ids == [one for one in whole.ids if one not in gone] and len(whole) == 8
    assert [less[i].captions for i in range(len(less))] == [
        whole[i].captions for i, one in enumerate(whole.ids) if one not in gone
    ]
    assert less.counts() == {"a": 4, "b": 2} and less.fingerprint() != whole.fingerprint()
    assert [list(part) for part, _ in less.layout()] == [[0, 1, 2, 3], [4, 5]]


def test_a_repeated_source_comes_so_often_in_an_epoch(tmp_path) -> None:
    parts = [(csv(tmp_path, "few", 4), None), (csv(tmp_path, "many", 30), None)]
    once, often = Mixture(parts, seed=0), Mixture(parts, seed=0, repeat=(5, 1))
    assert (once.visits, often.visits, len(often)) == (34, 50, 34)
    assert often.ids == once.ids and often.fingerprint() == once.fingerprint()
    for shuffle in (True, False):
        order = epoch_order(often, 0, 0, shuffle)
        assert np.bincount(order).tolist() == [5] * 4 + [1] * 30
        assert np.bincount(epoch_order(once, 0, 0, shuffle)).tolist() == [1] * 34
    halves = np.split(epoch_order(often, 0, 3), 2)
    assert [int((half < 4).sum()) for half in halves] == [10, 10]  # dealt evenly
    assert not np.array_equal(epoch_order(often, 0, 0), epoch_order(often, 0, 1))
    less = often.without({often.ids[0]})
    assert less.visits == 45 and np.bincount(epoch_order(less, 0, 0)).tolist() == [5] * 3 + [1] * 30
