"""Data that isn't the user's own: pipes, devices, pictures no one can mean, paths that lead elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from data_files import encoded, picture, write_csv, write_pictures
from PIL import Image

from clipdistill.data import BadImage, ImageRef
from clipdistill.data import decode as decode_module
from clipdistill.data.sources import open_source
from clipdistill.data.sources.base import existing, find_root
from clipdistill.errors import UserError
from clipdistill.recipe_files import load_recipe


def test_a_pipe_or_a_device_as_a_picture_is_no_picture(tmp_path: Path) -> None:
    """Without a writer a pipe would be waited for, without end; /dev/zero never ends."""
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        with pytest.raises(BadImage, match=f"{path}: a pipe or a device, not a file"):
            ImageRef.from_path(path).open()
    with pytest.raises(BadImage, match="a folder, not a file"):
        ImageRef.from_path(tmp_path).read()


def test_a_path_that_no_file_can_have_is_no_picture(tmp_path: Path) -> None:
    for name in ("a\x00.png", "a\ud800.png"):
        picture = ImageRef.from_path(tmp_path / name)
        with pytest.raises(BadImage, match="no name of a file"):
            picture.open()
        assert picture.byte_size() == -1


def test_half_of_a_character_is_left_out_where_it_can_be_said(tmp_path: Path) -> None:
    """JSON may hold one (a lone surrogate); no tokenizer takes it, and no file of ours."""
    write_pictures(tmp_path, ["a.png", "b.png"])
    rows = [("a.png", "a \ud800 b"), ("a.png", "fine"), ("b\ud800.png", "words"), ("b.png", "too")]
    lines = [json.dumps({"filepath": name, "caption": said}) for name, said in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    source = open_source(str(tmp_path / "t.jsonl"))
    assert [source[i].captions for i in range(len(source))] == [("fine",), ("too",)]
    assert "half of a character" in dict(source.skipped)["'b\\ud800.png'"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", ["pairID", "sentence1", "sentence2"])
def test_half_of_a_character_in_a_pair_of_snli_ve_is_left_out(tmp_path: Path, field: str) -> None:
    write_pictures(tmp_path, ["images/a.jpg"])
    fine = {"pairID": "1", "Flikr30kID": "a", "sentence1": "p", "sentence2": "h", "gold_label": "neutral"}
    lines = [json.dumps(fine), json.dumps(fine | {"pairID": "2"} | {field: "b\ud800"})]
    (tmp_path / "snli_ve_train.jsonl").write_text("\n".join(lines))
    source = open_source(f"snli_ve:{tmp_path}@train")
    assert [source[i].id for i in range(len(source))] == ["1"]
    ((_, why),) = source.skipped  # type: ignore[attr-defined]
    assert "half of a character" in why


def test_a_name_longer_than_any_files_is_a_picture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its pictures are not there"):
        find_root([tmp_path], ["a" * 5000 + "/b.jpg", "c" * 5000 + ".jpg"], tmp_path / "t.xml")
    with pytest.raises(UserError, match="no such"):
        existing("x" * 5000, "file")


@pytest.mark.parametrize("name", ["t.csv", "dataset_x.json"])
def test_a_pipe_as_a_table_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: a pipe or a device, not a"):
        open_source(str(tmp_path / name))
    with pytest.raises(UserError, match="/dev/null: a pipe or a device, not a file"):
        existing("/dev/null", "file")


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (2, 1_002)])
def test_a_line_of_pixels_is_no_picture(size: tuple[int, int]) -> None:
    """Resized until its shorter side is 224 it would have 2.5 billion."""
    data = encoded(Image.new("RGB", size))
    with pytest.raises(BadImage, match=f"{size[0]} x {size[1]} pixels: one side is more than 500 times the other"):
        ImageRef.from_bytes(data).open()
    ImageRef.from_bytes(encoded(Image.new("RGB", (2, 1_000)))).open()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipdistill.data import sample

    assert sample.MOST_BYTES == decode_module.MOST_BYTES
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(sample, "MOST_BYTES", 10)
    with pytest.raises(BadImage, match=r"bytes are more than the limit of 10"):
        ImageRef.from_path(tmp_path / "a.png").open()


@pytest.mark.parametrize("wrong", ["../secret.png", "images/../../secret.png", "{outside}/secret.png"])
def test_captions_do_not_lead_out_of_their_folder(tmp_path: Path, wrong: str) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    write_csv(data, 3)
    write_pictures(tmp_path, ["secret.png", "outside/secret.png"])
    wrong = wrong.format(outside=outside)
    with open(data / "captions.csv", "a") as file:
        file.write(f"{wrong},x\n")
    said = rf"{wrong} lies outside {data}, as do 0 others; if that is right, set 'root' to a folder that holds them all"
    with pytest.raises(UserError, match=said):
        open_source(str(data / "captions.csv"))


def test_whole_paths_are_read_where_the_recipe_says_so(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", ["a.png", "b/c.png"])
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "t.csv"
    rows = [f"{tmp_path}/pictures/{name},words" for name in ("a.png", "b/c.png")]
    table.write_text("\n".join(["image,caption", *rows]))
    with pytest.raises(UserError, match=f"as do 1 others.*such as 'root: {tmp_path}/pictures'"):
        open_source(str(table))
    for root in (f"{tmp_path}/pictures", "/", str(tmp_path)):
        source = open_source({"format": "csv", "path": str(table), "root": root})
        assert source[1].image.open().size == (12, 10)
    (tmp_path / "pictures" / "t.csv").write_text(table.read_text())
    assert len(open_source(str(tmp_path / "pictures" / "t.csv"))) == 2  # they lie in the table's own folder


def test_other_formats_too(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["secret.png", "data/a.png"])
    images = [{"filename": name, "split": "train", "sentences": [{"raw": "x"}]} for name in ("a.png", "../secret.png")]
    (tmp_path / "data" / "dataset_x.json").write_text(json.dumps({"images": images}))
    with pytest.raises(UserError, match="secret.png lies outside"):
        open_source({"format": "karpathy", "path": str(tmp_path / "data" / "dataset_x.json"), "split": "train"})
    talk = [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "this"}]
    content = [
        {"id": str(n), "image": name, "conversations": talk} for n, name in enumerate(("a.png", "../secret.png"))
    ]
    (tmp_path / "data" / "talk.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="secret.png lies outside"):
        open_source({"format": "llava", "path": str(tmp_path / "data" / "talk.json")})


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../x", "..", "a//b", "a\\..\\b", ""])
def test_a_recipe_named_out_of_its_study_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.yaml").write_text(f"extends: petri/quickstart\nname: {json.dumps(name)}\n")
    with pytest.raises(UserError, match="`name`.*a folder's name too"):
        load_recipe(tmp_path / "r.yaml")
