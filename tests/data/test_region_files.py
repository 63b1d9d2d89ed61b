"""Files of region features: what is read from each layout, how pictures find their records, and what is refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipdistill.data.region_files import BadRecord, Names, RegionFile, open_region_file, read_keys
from clipdistill.errors import UserError
from tests.data import region_records as made

FOUND = {f"COCO_val2014_{k:012d}": made.regions(k) for k in (9, 25)}


def written(layout: str, folder: Path) -> RegionFile:
    if layout in ("tsv", "tsv of ten"):
        file = folder / "features.tsv"
        columns = 6 if layout == "tsv" else 10
        file.write_text("".join(made.tsv_line(name, found, columns) for name, found in FOUND.items()))
        return open_region_file("tsv", file)
    if layout == "npz":
        for name, found in FOUND.items():
            (folder / f"{name.lower()}.npz").write_bytes(made.npz_bytes(found))
        return open_region_file("npz", folder)
    if layout.startswith("lmdb"):
        pack = made.npz_bytes if layout == "lmdb of npz" else made.msgpack_bytes
        values = {f"{name.lower()}.npz": pack(found) for name, found in FOUND.items()}
        return open_region_file("lmdb", made.write_lmdb(folder / "all", values))
    ragged, ids = layout == "hdf5 below each other", folder / "ids.json"
    ids.write_text(json.dumps({str(int(name[-12:])): row for row, name in enumerate(FOUND)}))
    file = made.write_hdf5(folder / "trainval.hdf5", FOUND.values(), ids=None, ragged=ragged)
    return open_region_file("hdf5", file, ids)


LAYOUTS = ["tsv", "tsv of ten", "npz", "lmdb of npz", "lmdb of msgpack", "hdf5", "hdf5 below each other"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_regions(layout: str, tmp_path: Path) -> None:
    file = written(layout, tmp_path)
    names = Names(file.names).of([f"{name}.jpg" for name in FOUND])
    assert None not in names and len(set(names)) == 2
    for name, found in zip(names, FOUND.values(), strict=True):
        record = file.read(str(name))
        half = layout not in ("tsv", "tsv of ten", "hdf5", "hdf5 below each other")
        np.testing.assert_allclose(record.features, found["features"], rtol=1e-3 if half else 0, atol=2e-3 * half)
        size = np.array(record.size or (1, 1))
        scale = 1 if layout.startswith("tsv") else 1 / made.SIDE
        np.testing.assert_allclose(record.boxes, found["boxes"] * scale, atol=1e-3)
        assert size.tolist() == ([made.SIDE] * 2 if layout.startswith("tsv") else [1, 1])
        if layout in ("tsv of ten", "npz") or layout.startswith("lmdb"):
            np.testing.assert_allclose(record.scores, found["conf"], atol=1e-3)
        else:
            assert record.scores is None
        if layout == "npz" or layout.startswith("lmdb"):
            np.testing.assert_array_equal(record.classes, found["soft_labels"])
    if layout == "tsv of ten":
        assert file.read(str(names[0])).labels == ("class 3", "class 4", "class 5")


def test_a_tsv_that_names_its_columns(tmp_path: Path) -> None:
    found = made.regions(0)
    lines = ["image_id\tboxes\tfeatures\timage_h\timage_w\n"]
    lines.append("\t".join(["a", made.encoded(found["boxes"]), made.encoded(found["features"]), "10", "30"]) + "\n")
    (tmp_path / "t.tsv").write_text("".join(lines))
    file = open_region_file("tsv", tmp_path / "t.tsv")
    assert file.names == ["a"] and file.read("a").size == (30, 10)
    np.testing.assert_array_equal(file.read("a").features, found["features"])


def test_ids_in_an_hdf5(tmp_path: Path) -> None:
    file = open_region_file("hdf5", made.write_hdf5(tmp_path / "a.hdf5", FOUND.values(), ids=["x", "y"], ragged=False))
    assert file.names == ["x", "y"]
    np.testing.assert_array_equal(file.read("y").features, FOUND["COCO_val2014_000000000025"]["features"])


def test_how_pictures_find_their_records() -> None:
    names = Names(["flickr30k_000001000092795.npz", "Movie/Clip@3.npz", "9", "other@3"])
    assert names.of(["1000092795.jpg", "movie/clip@3.jpg", "COCO_train2014_000000000009.jpg"]) == [
        "flickr30k_000001000092795.npz", "Movie/Clip@3.npz", "9",
    ]  # fmt: skip
    assert names.of(["frame@3.jpg"]) == [None]  # two records end with 3
    assert names.of(["a@9.jpg", "b@9.jpg"]) == [None, None]  # and here two pictures end with 9
    assert Names(["first", "second"], {"x.jpg": "second"}).of(["x.jpg", "y.jpg"]) == ["second", None]


def test_keys_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"a.jpg": 5}')
    assert read_keys(tmp_path / "keys.json") == {"a.jpg": "5"}
    for content, why in (("[1]", "not an object"), ("{", "not JSON"), (None, "no such file")):
        if content is None:
            (tmp_path / "keys.json").unlink()
        else:
            (tmp_path / "keys.json").write_text(content)
        with pytest.raises(UserError, match=f"`keys`: .*{why}"):
            read_keys(tmp_path / "keys.json")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: line[:-9], "'features' isn't whole base64; the file may be cut short"),
        (lambda line: line.replace("\t3\t", "\t4\t"), "12 numbers of boxes and 18 of features for 4 boxes"),
        (lambda line: line.rpartition("\t")[0], "5 columns, not 6"),
        (lambda line: line.replace("\t3\t", "\tthree\t"), "no numbers as its size or count of boxes"),
        (lambda line: line.replace("\t20\t20", "\t0\t20"), "a picture of 0 x 20"),
    ],
)
def test_broken_lines_are_bad_records(tmp_path: Path, change: Any, why: str) -> None:
    whole = made.tsv_line("good", made.regions(0))
    (tmp_path / "t.tsv").write_text(whole + change(made.tsv_line("bad", made.regions(1)).rstrip("\n")) + "\n")
    file = open_region_file("tsv", tmp_path / "t.tsv")
    assert file.read("good").features.shape == (3, made.WIDTH)
    with pytest.raises(BadRecord, match=why):
        file.read("bad")


def test_broken_npz_and_msgpack(tmp_path: Path) -> None:
    import msgpack

    found = made.regions(0)
    content = made.npz_bytes(found)
    (tmp_path / "torn.npz").write_bytes(content[: len(content) // 2])
    np.savez(tmp_path / "bare.npz", features=found["features"])
    np.savez(tmp_path / "code.npz", features=np.array([{}], dtype=object), norm_bb=np.zeros((1, 4)))
    np.savez(tmp_path / "odd.npz", features=found["features"], norm_bb=np.zeros((2, 6)))
    np.savez(tmp_path / "nan.npz", features=np.full((1, 4), np.nan), norm_bb=np.zeros((1, 6)))
    file = open_region_file("npz", tmp_path)
    reasons = {"torn": "a broken NPZ", "bare": "no 'norm_bb'", "code": "a broken NPZ .*pickle", "odd": "for 3 features",
               "nan": "NaN or infinity"}  # fmt: skip
    for name, why in reasons.items():
        with pytest.raises(BadRecord, match=why):
            file.read(f"{name}.npz")
    evil = msgpack.packb({"features": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"}})
    file = open_region_file("lmdb", made.write_lmdb(tmp_path / "db", {"evil": evil, "text": b"\xc1\xc1"}))
    with pytest.raises(BadRecord, match="objects in it"):
        file.read("evil")
    with pytest.raises(BadRecord, match="neither NPZ nor msgpack"):
        file.read("text")


def test_what_cannot_be_opened_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.tsv").write_text("a\tb\n")
    (tmp_path / "t.hdf5").write_bytes(b"nothing of the kind")
    cases = {
        ("tsf", "x"): "`layout`: no layout 'tsf'. Did you mean",
        ("tsv", "none.tsv"): "no such TSV",
        ("tsv", "t.tsv"): "lines of 2 columns; bottom-up attention's have 6 and LXMERT's 10",
        ("npz", "none"): "no such folder of NPZ files",
        ("npz", "empty"): "no NPZ file in it",
        ("lmdb", "empty"): "no LMDB there",
        ("hdf5", "none.hdf5"): "no such HDF5 file",
        ("hdf5", "t.hdf5"): "not an HDF5 file, or cut short",
    }
    for (layout, name), why in cases.items():
        with pytest.raises(UserError, match=why):
            open_region_file(layout, tmp_path / name)
    with pytest.raises(UserError, match="`ids`: tsv names its pictures itself"):
        open_region_file("tsv", tmp_path / "t.tsv", ids="x.json")


def test_ids_of_an_hdf5_that_do_not_fit(tmp_path: Path) -> None:
    file = made.write_hdf5(tmp_path / "a.hdf5", FOUND.values(), ids=None, ragged=False)
    with pytest.raises(UserError, match="no data set 'ids' .* give `ids`: a JSON"):
        open_region_file("hdf5", file)
    for content, why in (
        ('{"9": 7}', "2 pictures, and its ids say 7 for 9"),
        ("3", "neither an object"),
        ("\x80", "not JSON; a pickle isn't read"),
    ):
        ids = tmp_path / f"{len(content)}.json"
        ids.write_text(content)
        with pytest.raises(UserError, match=why):
            open_region_file("hdf5", file, ids)


@pytest.mark.parametrize(("layout", "package"), [("lmdb", "lmdb"), ("hdf5", "h5py")])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, package: str
) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x")
    path = tmp_path if layout == "lmdb" else tmp_path / "data.mdb"
    usual = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf"layout {layout}: {package} isn't installed; .pip install 'clipdistill\[reg"):
        open_region_file(layout, path)
