"""CSV/TSV/JSONL, Karpathy, COCO and ImageFolder, written as they are found in the wild."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_files import picture, write_csv, write_karpathy, write_pictures

from clipdistill.data.sources import Source, open_source
from clipdistill.errors import UserError


def table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> str:
    write_pictures(folder, ["a.png", "b.png", "c d.png"])
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


def captions(source: Source) -> dict[str, tuple[str, ...]]:
    return {source[i].id: source[i].captions for i in range(len(source))}


def test_csv_rows_of_one_image_become_one_sample(tmp_path) -> None:
    path = table(tmp_path, "filepath,caption\na.png,one\nb.png,other\na.png,two\na.png,one\n")
    source = open_source({"format": "csv", "path": path})
    assert captions(source) == {"a.png": ("one", "two"), "b.png": ("other",)}
    assert isinstance(source, Source) and source.name == "t" and source.classes is None
    assert np.array_equal(np.asarray(source[1].image.open()), np.asarray(picture(1)))


def test_windows_table_with_mark_blank_lines_quotes_and_backslashes(tmp_path) -> None:
    write_pictures(tmp_path, ["sub/x.png"])
    text = '\ufeffImage ,Caption\r\n\r\na.png,"says ""hi"", twice\r\nover lines"\r\n\r\nsub\\x.png,  spaced   out \r\n'
    source = open_source(table(tmp_path, text))
    assert captions(source) == {"a.png": ('says "hi", twice over lines',), "sub/x.png": ("spaced out",)}


def test_utf16_semicolons_and_tabs(tmp_path) -> None:
    path = table(tmp_path, "image\tcaption\na.png\tgrün\n", "excel.csv", "utf-16")
    assert captions(open_source(path)) == {"a.png": ("grün",)}
    path = table(tmp_path, "image;caption\na.png;one, two\n", "semi.csv")
    assert captions(open_source(path)) == {"a.png": ("one, two",)}
    path = table(tmp_path, "image\tcaption\na.png\tone, two\n", "t.tsv")
    assert captions(open_source({"format": "tsv", "path": path})) == {"a.png": ("one, two",)}


def test_wrong_encoding_names_the_line(tmp_path) -> None:
    path = table(tmp_path, "image,caption\na.png,fine\nb.png,grün\n", encoding="latin-1")
    with pytest.raises(UserError, match="t.csv: line 3 is not utf-8.*'encoding'"):
        open_source(path)
    assert captions(open_source({"path": path, "encoding": "latin-1"}))["b.png"] == ("grün",)


def test_any_column_names_and_several_caption_columns(tmp_path) -> None:
    path = table(tmp_path, "pic,en,de,kind\na.png,dog,Hund,animal\nb.png,,Auto,thing\n")
    spec = {"format": "csv", "path": path, "image": "pic", "caption": ["en", "de"], "label": "kind", "fields": ["kind"]}
    source = open_source(spec)
    assert captions(source) == {"a.png": ("dog", "Hund"), "b.png": ("Auto",)}
    assert source.classes == ("animal", "thing") and source[1].label == 1 and source[1].fields == {"kind": "thing"}
    path = table(tmp_path, "file,caption_1,caption_2\na.png,x,y\n", "numbered.csv")
    assert captions(open_source(path)) == {"a.png": ("x", "y")}


def test_jsonl_lists_dicts_and_broken_lines(tmp_path) -> None:
    lines = [
        '{"file_name": "a.png", "captions": ["one", "", "two"]}',
        "",
        '{"file_name": "b.png", "captions": [{"raw": "three"}]}',
        '{"file_name": "c d.png", "capti',
    ]
    source = open_source(table(tmp_path, "\r\n".join(lines), "t.jsonl"))
    assert captions(source) == {"a.png": ("one", "two"), "b.png": ("three",)}
    assert source.skipped == [("line 4", "not JSON")]


def test_what_is_left_out_is_listed_with_its_reason(tmp_path) -> None:
    source = open_source(table(tmp_path, "image,caption\na.png,ok\nb.png,\n,lost\nc d.png,too,many\n"))
    assert len(source) == 1
    assert dict(source.skipped) == {
        "b.png": "no caption that isn't empty",
        "line 4": "no value in column 'image'",
        "line 5": "3 values for 2 columns",
    }


def test_ids_of_a_column_are_made_unique(tmp_path) -> None:
    path = table(tmp_path, "key,image,caption\n7,a.png,x\n7,b.png,y\n7#2,c d.png,z\n")
    assert list(captions(open_source({"path": path, "id": "key"}))) == ["7", "7#2", "7#2#2"]


def test_split_column(tmp_path) -> None:
    path = table(tmp_path, "image,caption,split\na.png,x,train\nb.png,y,test\n")
    assert list(captions(open_source(f"{path}@test"))) == ["b.png"]
    with pytest.raises(UserError, match="no rows with split 'dev'; there are test, train"):
        open_source(f"csv:{path}@dev")


def test_pictures_beside_in_images_or_elsewhere(tmp_path) -> None:
    write_csv(tmp_path, 2)
    (tmp_path / "images").mkdir()
    for name in ("000.png", "001.png"):
        (tmp_path / name).rename(tmp_path / "images" / name)
    open_source(str(tmp_path / "captions.csv"))[0].image.open()
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="000.png.*set 'root'"):
        open_source(str(tmp_path / "captions.csv"))
    spec = {"path": str(tmp_path / "captions.csv"), "root": str(tmp_path / "elsewhere")}
    open_source(spec)[0].image.open()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, "which column is the image.*'a', 'b'"),
        ("image,b\na.png,2\n", {}, "which column is the caption"),
        ("image,caption\na.png,x\n", {"caption": "captoin"}, "no column 'captoin'.*Did you mean 'caption'"),
        ("image,caption\na.png,x\n", {"captoin": "caption"}, "no option 'captoin'.*Did you mean 'caption'"),
        ("image,caption\n", {}, "t.csv: no rows"),
        ("", {}, "t.csv: no rows"),
        ("image,caption\na.png,\n", {}, "no usable rows.*a.png: no caption"),
        ("image,caption\na.png,x\n", {"separator": "||"}, "separator"),
    ],
)
def test_mistakes_are_named(tmp_path, text: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_source({"format": "csv", "path": table(tmp_path, text), **options})
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_format(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        open_source({"format": "csv", "path": str(tmp_path / "none.csv")})
    with pytest.raises(UserError, match="unknown data format 'karpaty'.*Did you mean 'karpathy'"):
        open_source({"format": "karpaty", "path": "x"})
    with pytest.raises(UserError, match="'csv' needs a 'path'"):
        open_source({"format": "csv"})
    with pytest.raises(UserError, match="'csv' takes one path"):
        open_source({"format": "csv", "path": ["a.csv", "b.csv"]})


def test_fingerprint_follows_content_and_not_place(tmp_path) -> None:
    write_csv(tmp_path / "one", 3)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    prints = [open_source(str(tmp_path / folder / "captions.csv")).fingerprint() for folder in ("one", "two")]
    assert prints[0] == prints[1]
    text = (tmp_path / "two" / "captions.csv").read_text()
    (tmp_path / "two" / "captions.csv").write_text(text.replace("picture 1", "picture one"))
    assert open_source(str(tmp_path / "two" / "captions.csv")).fingerprint() != prints[0]
    picture(99, (50, 50)).save(tmp_path / "one" / "001.png")
    assert open_source(str(tmp_path / "one" / "captions.csv")).fingerprint() != prints[0]


def test_karpathy_splits_and_layouts(tmp_path) -> None:
    path = write_karpathy(tmp_path, {"train": 3, "restval": 2, "test": 1})
    source = open_source({"format": "karpathy", "path": str(path), "split": "train+restval"})
    assert len(source) == 5 and source.name == "tiny"
    assert source[0].captions == ("train 0 sentence 0", "train 0 sentence 1")
    source[4].image.open()
    with pytest.raises(UserError, match="no split 'val'; it has restval, test, train"):
        open_source(f"{path}@val")
    flat = tmp_path / "images"  # the same pictures without COCO's "filepath" folders
    flat.mkdir()
    for image in (tmp_path / "coco").rglob("*.png"):
        image.rename(flat / image.name)
    open_source(f"karpathy:{path}@test")[0].image.open()


def test_karpathy_boxes_from_ground_truth_and_from_a_detector(tmp_path) -> None:
    path = write_karpathy(tmp_path, {"test": 2})
    categories = [{"id": 3, "name": "dog"}]
    box = {"image_id": 101, "category_id": 3, "bbox": [1, 2, 3, 4]}
    truth = {"images": [{"id": 101, "file_name": "test_1.png"}], "annotations": [box], "categories": categories}
    (tmp_path / "instances_test.json").write_text(json.dumps(truth))
    (tmp_path / "detections_test.json").write_text(json.dumps([box | {"score": 0.25}]))
    for file, score in (("instances_test.json", 1.0), ("detections_test.json", 0.25)):
        source = open_source({"path": str(path), "split": "test", "boxes": str(tmp_path / file)})
        regions = source[1].regions
        assert regions.boxes.dtype == np.float32 and regions.boxes.tolist() == [[1, 2, 4, 6]]
        assert regions.labels == ("dog",) and regions.scores.tolist() == [score]
        assert source[0].regions.boxes.shape == (0, 4)


def test_karpathy_empty_sentences_and_missing_file(tmp_path) -> None:
    path = write_karpathy(tmp_path, {"test": 2})
    content = json.loads(path.read_text())
    content["images"][0]["sentences"] = [{"raw": "  "}]
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    source = open_source(f"{path}@test")
    assert len(source) == 1 and source.skipped == [("test_0.png", "no caption that isn't empty")]
    with pytest.raises(UserError, match="no such file; dataset_coco.json.*caption_datasets.zip"):
        open_source({"format": "karpathy", "path": str(tmp_path / "dataset_coco.json")})
    path.write_text('{"images": [')
    with pytest.raises(UserError, match="dataset_tiny.json: not valid JSON"):
        open_source({"format": "karpathy", "path": str(path)})
    with pytest.raises(UserError, match="is a folder; name the JSON file in it"):
        open_source({"format": "karpathy", "path": str(tmp_path)})


def test_coco_captions(tmp_path) -> None:
    write_pictures(tmp_path / "val2017", ["1.png", "2.png"])
    content = {
        "images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}, {"id": 3, "file_name": "3.png"}],
        "annotations": [
            {"image_id": 2, "id": 0, "caption": "second\n"},
            {"image_id": 1, "id": 1, "caption": "first"},
            {"image_id": 2, "id": 2, "caption": "again"},
        ],
    }
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "captions_val2017.json"
    path.write_text(json.dumps(content))
    source = open_source(str(path))
    assert captions(source) == {"1.png": ("first",), "2.png": ("second", "again")}
    assert source.skipped == [("3.png", "no caption that isn't empty")]
    source[0].image.open()
    del content["annotations"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no 'annotations'"):
        open_source({"format": "coco", "path": str(path)})


def test_imagefolder(tmp_path) -> None:
    write_pictures(tmp_path, ["zebra/2.png", "zebra/deep/1.png", "ant_eater/1.PNG"])
    (tmp_path / "zebra" / "notes.txt").write_text("not a picture")
    (tmp_path / "zebra" / ".DS_Store").write_text("")
    source = open_source({"path": str(tmp_path), "templates": ["a photo of a {}.", "the {}"]})
    assert source.classes == ("ant_eater", "zebra")
    samples = [source[i] for i in range(3)]
    assert [(s.id, s.label) for s in samples] == [("ant_eater/1.PNG", 0), ("zebra/2.png", 1), ("zebra/deep/1.png", 1)]
    assert samples[0].captions == ("a photo of a ant eater.", "the ant eater")
    assert source.skipped == [("zebra/notes.txt", "not a picture by its suffix")]


def test_imagefolder_split_classes_and_file_list(tmp_path) -> None:
    write_pictures(tmp_path, ["val/a/1 2.png", "val/a/2.png", "val/b/1.png", "val/c/1.png"])
    spec = {"format": "imagefolder", "path": str(tmp_path), "split": "val"}
    assert len(open_source(spec)) == 4
    chosen = open_source({**spec, "classes": ["c", "a"]})
    assert chosen.classes == ("c", "a") and [chosen[i].label for i in range(3)] == [0, 1, 1]
    (tmp_path / "list.txt").write_text("a/1 2.png 0\r\n./b/1.png\r\n")
    listed = open_source({**spec, "files": str(tmp_path / "list.txt")})
    assert listed.ids == ["a/1 2.png", "b/1.png"] and listed.classes == ("a", "b", "c")
    with pytest.raises(UserError, match="no split folder 'vall'; it has val. Did you mean 'val'"):
        open_source({**spec, "split": "vall"})
    with pytest.raises(UserError, match="no class folder 'd'"):
        open_source({**spec, "classes": ["d"]})
    (tmp_path / "empty" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match="no pictures in class folders"):
        open_source({"format": "imagefolder", "path": str(tmp_path / "empty")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a.png,a cat\nb.png,a dog\n",
            "its first line has a picture's name, not those of columns; write image,caption",
        ),
        ("image,caption\nA.PNG,a cat\n", r"there is .*a\.png, which is another name"),
        ("image,caption\na.jpeg,a cat\n", r"looked for .*a\.jpeg, "),
    ],
)
def test_a_stranger_gets_a_sentence(tmp_path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(table(tmp_path, text))


def test_options_of_another_kind(tmp_path) -> None:
    path = table(tmp_path, "0,caption,split\na.png,a cat,2014\n")
    spec = {"format": "csv", "path": path, "image": 0, "split": 2014}
    assert captions(open_source(spec)) == {"a.png": ("a cat",)}  # YAML's numbers are names here
    with pytest.raises(UserError, match="data format 'csv': `caption` is {'a': 1}: input should be"):
        open_source({**spec, "caption": {"a": 1}})
    with pytest.raises(UserError, match=r"no column '7'; it has '0', 'caption', 'split'"):
        open_source({**spec, "image": 7})
    with pytest.raises(UserError, match=rf"{tmp_path}: a folder; name the table in it \(t.csv\)"):
        open_source({"format": "csv", "path": str(tmp_path)})
