"""Region stores from files: which regions are kept, what is bad and named, what is dropped and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipdistill.data import Mixture, open_source
from clipdistill.data.pictures import Pictures
from clipdistill.data.region_files import open_region_file
from clipdistill.errors import UserError
from clipdistill.stores.region_cache import write_regions
from clipdistill.stores.region_files import FileRegions
from tests.data import region_records as made


def pictures(folder: Path, count: int) -> Mixture:
    rows = ["filepath,caption"]
    for k in range(count):
        Image.new("RGB", (made.SIDE, made.SIDE)).save(folder / f"p{k}.png")
        rows.append(f"p{k}.png,text {k}")
    (folder / "t.csv").write_text("\n".join(rows))
    return Mixture([(open_source({"format": "csv", "path": str(folder / "t.csv")}), None)])


def keys(mixture: Mixture) -> dict[str, str]:
    return {one: f"p{row}" for row, one in enumerate(mixture.ids)}


def tsv(folder: Path, records: dict[str, Any], columns: int = 10) -> Any:
    file = folder / "features.tsv"
    file.write_text("".join(made.tsv_line(name, found, columns) for name, found in records.items()))
    return open_region_file("tsv", file)


def many(count: int, sure: int) -> dict[str, np.ndarray]:
    found = made.regions(count, count)
    found["conf"] = np.where(np.arange(count) < sure, 0.9, 0.2).astype(np.float32)  # 0.2 isn't above 0.2
    return found


@pytest.mark.parametrize(
    ("there", "sure", "kept"),
    [(30, 20, 20), (30, 4, 10), (6, 2, 6), (130, 120, 100)],  # between 10 and 100, and no more than there are
)
def test_as_many_as_are_sure_between_ten_and_a_hundred(tmp_path: Path, there: int, sure: int, kept: int) -> None:
    mixture = pictures(tmp_path, 1)
    found = many(there, sure)
    maker = FileRegions(tsv(tmp_path, {"p0": found}), "tsv", keys=keys(mixture))
    store = write_regions(maker, mixture, tmp_path / "store")
    assert store is not None
    looked = store.lookup([0], 100)
    assert int(looked["mask"].sum()) == kept and store.meta["max_regions"] == 100
    np.testing.assert_allclose(looked["features"][0, :kept], found["features"][:kept], atol=2e-3)


def test_the_surest_come_first_with_their_boxes_names_and_classes(tmp_path: Path) -> None:
    mixture = pictures(tmp_path, 1)
    found = made.regions(1)
    found["conf"] = np.array([0.3, 0.8, 0.5], np.float32)
    (tmp_path / "npz").mkdir()
    (tmp_path / "npz" / "p0.npz").write_bytes(made.npz_bytes(found))
    maker = FileRegions(
        open_region_file("npz", tmp_path / "npz"), "npz", keys=keys(mixture), min_regions=1, min_score=0.4
    )
    store = write_regions(maker, mixture, tmp_path / "store")
    assert store is not None and store.class_count == 4 and len(store.regions(0).boxes) == 2
    looked = store.lookup([0], 3)
    order = [1, 2]
    np.testing.assert_allclose(looked["boxes"][0, :2], found["boxes"][order], atol=1e-2)  # pixels of the picture
    np.testing.assert_allclose(looked["shares"][0, :2], found["boxes"][order] / made.SIDE, atol=1e-3)
    np.testing.assert_allclose(looked["scores"][0], [0.8, 0.5, 0], atol=1e-3)
    sides = (found["boxes"][order, 2:] - found["boxes"][order, :2]) / made.SIDE
    np.testing.assert_allclose(looked["areas"][0, :2], sides.prod(axis=1), atol=1e-3)
    np.testing.assert_array_equal(store.classes([0], 3)[0, :2], found["soft_labels"][order])
    plain = write_regions(FileRegions(tsv(tmp_path, {"p0": found}), "tsv", keys=keys(mixture)), mixture, tmp_path / "b")
    assert plain is not None and plain.regions(0).labels == ("class 4", "class 5", "class 3")
    with pytest.raises(UserError, match="has no class probabilities of its regions"):
        plain.classes([0], 3)


def test_what_is_wrong_with_a_picture_is_named_and_counted(tmp_path: Path) -> None:
    mixture = pictures(tmp_path, 6)
    outside, all_outside = made.regions(2), made.regions(3)
    outside["boxes"][0], outside["boxes"][1] = (25, 25, 30, 30), (-5, -5, 10, 40)
    all_outside["boxes"] += 100
    records = {
        "p0": made.regions(0),
        "p1": made.regions(1, width=4),
        "p2": outside,
        "p3": all_outside,
        "p4": made.regions(4),
    }
    file = tsv(tmp_path, records)
    text = file.path.read_text().splitlines(keepends=True)
    file.path.write_text("".join([*text[:-1], text[-1][:-9] + "\n"]))  # the last line's base64 is cut short
    maker = FileRegions(open_region_file("tsv", file.path), "tsv", keys=keys(mixture), min_regions=1)
    store = write_regions(maker, mixture, tmp_path / "store", max_bad_share=0.9)
    assert store is not None
    names = mixture.ids
    assert store.bad[names[1]] == "features of a width of 4, and the file's first have 6"
    assert store.bad[names[3]] == "none of its 3 boxes lies inside of the 20 x 20 picture"
    assert store.bad[names[4]] == "'features' isn't whole base64; the file may be cut short"
    assert store.bad[names[5]] == "no features of it in features.tsv" and len(store.bad) == 4
    assert store.dropped == {names[2]: "1 of 3 boxes outside of the picture, or without area, such as (25, 25, 30, 30)"}
    assert store.regions(2).boxes[0].tolist() == [0, 0, 10, 20]  # what reaches over the edge is cut to it
    with pytest.raises(UserError, match=r"4 of 6 pictures can't be read, more than data.max_bad_share = 0.1 \("):
        write_regions(maker, mixture, tmp_path / "strict", max_bad_share=0.1)


def test_missing_pictures_are_named_before(tmp_path: Path) -> None:
    mixture = pictures(tmp_path, 3)
    maker = FileRegions(tsv(tmp_path, {"zebra": made.regions(0)}), "tsv", keys={mixture.ids[0]: "zebra"})
    with pytest.raises(
        UserError, match=r"has no features of 2 of 3 pictures \(t/.*p1.*its records are called zebra and"
    ):
        maker.check(Pictures(mixture), 0.01)
    maker.check(Pictures(mixture), 0.7)


def test_another_file_or_choice_is_refused(tmp_path: Path) -> None:
    mixture = pictures(tmp_path, 1)
    first = FileRegions(tsv(tmp_path, {"p0": made.regions(0)}), "tsv", keys=keys(mixture))
    write_regions(first, mixture, tmp_path / "store")
    with pytest.raises(UserError, match="min_score: the store has 0.2, now it is 0.5"):
        write_regions(FileRegions(first.file, "tsv", keys=keys(mixture), min_score=0.5), mixture, tmp_path / "store")
    with pytest.raises(UserError, match="as in the file, 10 at least, now it is as in the file, 3 at least"):
        write_regions(FileRegions(first.file, "tsv", keys=keys(mixture), min_regions=3), mixture, tmp_path / "store")
    other = FileRegions(tsv(tmp_path, {"p0": made.regions(9)}), "tsv", keys=keys(mixture))
    with pytest.raises(UserError, match="the provider: the store has"):
        write_regions(other, mixture, tmp_path / "store")


def test_a_file_without_a_whole_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\t20\t20\t1\tAAAA\tAAAA\n")
    with pytest.raises(UserError, match="no record can be read .a: 'boxes' isn't whole base64|no record can be read"):
        FileRegions(open_region_file("tsv", tmp_path / "t.tsv"), "tsv")
