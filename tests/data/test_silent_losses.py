"""Files from which samples or captions used to go missing, or wrong ones to come, without a word."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_files import encoded, picture, write_pictures
from question_files import annotation, question, write_vqa

from clipdistill.data.sources import Source, open_source
from clipdistill.data.vqa_answers import load_vocabulary
from clipdistill.errors import UserError


def captions(source: Source) -> list[tuple[str, ...]]:
    return [source[i].captions for i in range(len(source))]


def table(folder: Path, lines: list[str], name: str) -> str:
    write_pictures(folder, [f"{number}.png" for number in range(len(lines))])
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def test_quotes_at_the_start_of_cc3ms_captions_are_text(tmp_path: Path) -> None:
    """100 lines, every other of which begins with a quote that isn't closed: 100 samples, not 50."""
    said = [f'"{number} , a caption' if number % 2 else f'{number} "said" he' for number in range(100)]
    path = table(tmp_path, ["image\tcaption", *(f"{n}.png\t{one}" for n, one in enumerate(said))], "cc3m.tsv")
    assert captions(open_source(path)) == [(one,) for one in said]


def test_quotes_that_enclose_cells_of_a_table_with_tabs_are_quotes(tmp_path: Path) -> None:
    lines = ["image\tcaption", '0.png\t"one ""two"" three"', '"1.png"\t"over', 'lines"', "2.png\tplain"]
    assert captions(open_source(table(tmp_path, lines, "t.tsv"))) == [('one "two" three',), ("over lines",), ("plain",)]
    spec = {"format": "tsv", "path": str(tmp_path / "t.tsv"), "quotes": "none"}
    assert captions(open_source(spec))[0] == ('"one ""two"" three"',)


def test_a_quote_that_is_never_closed_in_a_csv_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, ["image,caption", "0.png,fine", '1.png,"open', "2.png,more", "3.png,more"], "t.csv")
    with pytest.raises(UserError, match="in line 3 a quote opens that is never closed.*quotes: none"):
        open_source(path)
    assert captions(open_source({"format": "csv", "path": path, "quotes": "none"}))[1] == ('"open',)
    path = table(tmp_path, ["image,caption", "0.png,fine", '1.png,"Hi" she says', '2.png,"open', '3.png,"b"'], "u.csv")
    source = open_source(path)
    assert captions(source) == [("fine",)]
    assert [(where, why[:20]) for where, why in source.skipped] == [  # type: ignore[attr-defined]
        ("line 3", "quotes that don't fi"), ("lines 4 to 5", "quotes that don't fi"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="quotes 'single' is unknown; write auto, double, none"):
        open_source({"format": "csv", "path": path, "quotes": "single"})


def test_pipes_between_columns(tmp_path: Path) -> None:
    path = table(tmp_path, ["image|caption", "0.png|one, two", "1.png|three; four"], "t.csv")
    assert captions(open_source(path)) == [("one, two",), ("three; four",)]


def test_words_for_a_missing_caption_are_none(tmp_path: Path) -> None:
    lines = ["image,caption", *(f"{n}.png,{one}" for n, one in enumerate(["nan", "None", "NaN", "a nan", "none"]))]
    source = open_source(table(tmp_path, lines, "t.csv"))
    assert captions(source) == [("a nan",), ("none",)] and len(source.skipped) == 3  # type: ignore[attr-defined]


def test_links_in_an_imagefolder_add_nothing(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{kind}/sub/{n}.png" for kind in "ab" for n in range(4)])
    os.symlink("..", tmp_path / "a" / "loop")
    os.symlink("../b", tmp_path / "a" / "other")
    os.symlink("sub", tmp_path / "b" / "z_again")
    source = open_source({"format": "imagefolder", "path": str(tmp_path)})
    assert len(source) == 8 and [source[i].label for i in range(8)] == [0] * 4 + [1] * 4
    assert len(source.skipped) == 3  # type: ignore[attr-defined]
    os.symlink("b", tmp_path / "c")
    with pytest.raises(UserError, match="the class folders 'b' and 'c' are one folder"):
        open_source({"format": "imagefolder", "path": str(tmp_path)})
    assert len(open_source({"format": "imagefolder", "path": str(tmp_path), "classes": ["a", "c"]})) == 8
    (tmp_path / "c").unlink()
    os.symlink(".", tmp_path / "c")
    with pytest.raises(UserError, match="c: a link to a folder that holds the whole data set"):
        open_source({"format": "imagefolder", "path": str(tmp_path)})


def test_class_folders_may_be_links_to_where_the_pictures_are(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["store/x/0.png", "store/y/1.png"])
    (tmp_path / "data").mkdir()
    for kind in "xy":
        os.symlink(tmp_path / "store" / kind, tmp_path / "data" / kind)
    source = open_source({"format": "imagefolder", "path": str(tmp_path / "data")})
    assert [source[i].id for i in range(2)] == ["x/0.png", "y/1.png"]


@pytest.mark.parametrize("labels", [np.array([0.0, 1.7]), np.array([0.0, 1.0]), np.array([True, False])])
def test_labels_that_are_no_whole_numbers(labels: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros((2, 4, 4, 3), np.uint8))
    np.save(tmp_path / "train_labels.npy", labels)
    (tmp_path / "classes.json").write_text('["a", "b"]')
    with pytest.raises(UserError, match=f"train_labels.npy is {labels.dtype}; labels are whole numbers"):
        open_source({"format": "arrays", "path": str(tmp_path)})


def test_a_label_of_a_thousand_billion_is_no_class(tmp_path: Path) -> None:
    import datasets

    rows = {"image": [encoded(picture(n)) for n in range(2)], "kind": [0, 10**12]}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(UserError, match="column 'kind' has the label 1,000,000,000,000"):
        open_source({"format": "huggingface", "path": str(tmp_path / "t.parquet"), "image": "image", "label": "kind"})


def shard(samples: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key, text in samples:
            for suffix, data in (("png", encoded(picture())), ("txt", text)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_text_of_a_shard_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(shard([("a", b"fine"), ("b", "grün".encode("latin-1"))]))
    source = open_source(str(tmp_path / "x.tar"))
    assert captions(source) == [("fine",)]
    assert source.skipped == [("b", "its .txt isn't UTF-8")]  # type: ignore[attr-defined]


def test_a_second_tar_behind_the_first_is_refused(tmp_path: Path) -> None:
    first, second = shard([("a", b"one")]), shard([("b", b"two")])
    (tmp_path / "x.tar").write_bytes(first + bytes(4096))
    assert len(open_source(str(tmp_path / "x.tar"))) == 1
    (tmp_path / "x.tar").write_bytes(first + second)
    with pytest.raises(UserError, match="x.tar: behind its end, at byte .*a second tar"):
        open_source(str(tmp_path / "x.tar"))


def test_an_index_of_an_earlier_reading_is_made_again(tmp_path: Path) -> None:
    """Its captions had signs in place of what isn't UTF-8."""
    (tmp_path / "x.tar").write_bytes(shard([("a", b"fine"), ("b", b"\xff")]))
    open_source(str(tmp_path / "x.tar"))
    index = tmp_path / ".x.tar.index.json"
    kept = json.loads(index.read_text())
    kept["stamp"][0] = 1
    kept["rows"].append(["b", 0, 1, ["\ufffd"], None])
    index.write_text(json.dumps(kept))
    assert captions(open_source(str(tmp_path / "x.tar"))) == [("fine",)]


def test_a_list_of_answers_that_is_no_text_and_annotations_that_are_no_objects(tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_bytes(b"yes\nno\xf8\n")
    with pytest.raises(UserError, match=r"answers\.txt: line 2 is not utf-8-sig; save it as UTF-8"):
        load_vocabulary(str(tmp_path / "answers.txt"))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": ["x", 3, None]}))
    with pytest.raises(UserError, match="no answer is the most given one"):
        load_vocabulary(str(tmp_path / "a.json"))


def test_a_parquet_file_damaged_inside_is_named(tmp_path: Path) -> None:
    from datasets import Dataset

    path = tmp_path / "t.parquet"
    Dataset.from_dict({"image": ["a.png"] * 50, "caption": [f"words {n}" for n in range(50)]}).to_parquet(path)
    content = bytearray(path.read_bytes())
    content[8:60] = bytes(52)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.parquet: can't be read as parquet \(.*\); copy it again"):
        open_source(str(path))


def test_questions_whose_number_is_a_list(tmp_path: Path) -> None:
    questions = [question(1), {**question(2), "question_id": [2]}, {**question(3), "question_id": None}, question(1)]
    write_vqa(tmp_path, questions, [annotation(1, ["yes"] * 10)])
    spec = {"format": "vqa_v2", "path": str(tmp_path), "split": "train2014", "answers": str(tmp_path / "answers.txt")}
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    source = open_source(spec)
    assert len(source) == 1 and sorted(why for _, why in source.skipped) == [  # type: ignore[attr-defined]
        "question_id comes twice", "question_id isn't a whole number", "question_id isn't a whole number",
    ]  # fmt: skip
