"""VCR: tags become words and regions, labels may be missing, and what is wrong with a line is said."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from question_files import METADATA, vcr_item, write_vcr

from clipdistill.data.sample import BadImage
from clipdistill.data.sources import guess_format, open_source, questions
from clipdistill.data.sources.base import fingerprint_samples
from clipdistill.data.tagged_text import NAMES, Tag, tagged_text
from clipdistill.errors import UserError

PEOPLE = ["person", "person", "person", "car"]


def test_the_official_sample_record(tmp_path) -> None:
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item()])})
    sample = source[0]
    assert source.name == "vcr_train" and sample.id == "train-0" and source.skipped == []
    fields = sample.fields
    assert fields["question"] == "Does Jessie feel comfortable?"  # object 2 is the third name
    assert fields["question_tags"] == (Tag(5, 11, 2),) and fields["question"][5:11] == NAMES[2]
    assert fields["choices"][2] == "Yes, she is wearing something with thin straps."
    assert fields["choice_tags"] == ((), (), (), ())
    assert fields["rationales"][3] == "Jessie is laying in bed but not sleeping. she looks sad."
    assert fields["rationale_tags"] == ((), (), (), (Tag(0, 6, 2),))
    assert (fields["answer_label"], fields["rationale_label"], sample.label) == (1, 1, None)
    assert sample.regions is not None and sample.regions.labels == ("person", "person", "person", "car")
    assert sample.regions.boxes[3].tolist() == [8.5, 4, 12, 10]  # over the edge of a picture 12 wide: cut
    assert sample.regions.boxes.dtype == np.float32 and sample.regions.scores[2] == np.float32(0.99)
    assert sample.image.open().size == (12, 10)


def test_objects_are_named_by_their_class_and_persons_by_their_number() -> None:
    text = tagged_text([[3], "is", "by", [0], "'", "s", "bag", "."], PEOPLE)
    assert text == ("car is by Casey's bag.", (Tag(0, 3, 3), Tag(10, 15, 0)))
    assert tagged_text([[16]], ["person"] * 17).text == NAMES[1]  # modulo 15


def test_groups_are_unjoined_as_the_authors_read_them_or_joined() -> None:
    tokens: list[Any] = ["What", "are", [0, 1, 3], "doing", "?"]
    assert tagged_text(tokens, PEOPLE).text == "What are Casey Riley car doing?"
    joined = tagged_text(tokens, PEOPLE, "and")
    assert joined.text == "What are Casey, Riley and car doing?"
    assert [joined.text[tag.start : tag.end] for tag in joined.tags] == ["Casey", "Riley", "car"]
    assert [tag.region for tag in joined.tags] == [0, 1, 3]


def test_masked_words_and_tags_of_the_adversarial_sets(tmp_path) -> None:
    choices = [["[MASK]", "is", [10002], "."], [[10000, 1], "sit", "."], ["no"], ["yes"]]
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(answer_choices=choices)])})
    fields = source[0].fields
    assert fields["choices"][:2] == ("[MASK] is [MASK].", "[MASK] Riley sit.")
    assert fields["choice_tags"][:2] == ((), (Tag(7, 12, 1),))  # a masked tag names no region


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": ["Is", [4], "?"]}, "question names object 4, and the picture has 4"),
        ({"answer_choices": [["a"], ["b"], [[10004]], ["c"]]}, "answer_choices 2 names object 10004"),
        ({"rationale_choices": [["a"], ["b"], [["x"]], ["c"]]}, "rationale_choices 2 holds the tag 'x'"),
        ({"question": ["Is", [], "?"]}, "question holds \\[\\], neither a word nor"),
        ({"question": "Is it?"}, "question isn't a list of words"),
        ({"answer_choices": [["a"], ["b"], ["c"]]}, "3 answer_choices, not 4"),
        ({"rationale_choices": None}, "no list of rationale_choices, not 4"),
        ({"answer_label": 4}, "answer_label 4 is none of 0 to 3"),
        ({"rationale_label": "1"}, "rationale_label '1' is none of 0 to 3"),
        ({"objects": ["person"] * 5}, "5 objects, and movie/shot@0.json has 4 boxes"),
        ({"objects": ["person"] * 4}, "other 'objects', and movie/shot@0.json"),
        ({"img_fn": "movie/none.png"}, "no picture movie/none.png"),
        ({"metadata_fn": "movie/none.json"}, "movie/none.json: no such file"),
        ({"img_fn": 3}, "'img_fn' isn't a file name"),
    ],
)
def test_a_bad_question_is_left_out_and_named(tmp_path, changes: dict[str, Any], reason: str) -> None:
    path = write_vcr(tmp_path, [vcr_item(0), vcr_item(1, **changes), "{", "[1]"])
    source = open_source({"format": "vcr", "path": path})
    assert source.ids == ["train-0"]
    told = dict(source.skipped)
    assert told["line 3"] == "not JSON" and told["line 4"] == "not a JSON object"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(told["train-1"])


def test_a_misspelt_field_is_named_with_what_it_might_be(tmp_path) -> None:
    item = vcr_item(1)
    item["image_fn"] = item.pop("img_fn")
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(), item])})
    assert source.skipped == [("train-1", "no 'img_fn' Is it 'image_fn'?")]
    with pytest.raises(UserError, match=r"no questions in it \(1 left out, the first: train-1: no 'img_fn'"):
        open_source({"format": "vcr", "path": write_vcr(tmp_path, [item])})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"boxes": [*METADATA["boxes"][:3], [12, 0, 20, 9, 0.5]]}, "box 3 (12, 0, 20, 9) lies outside of the 12 x 10"),
        ({"boxes": [*METADATA["boxes"][:3], [3, 3, 3, 9, 0.5]]}, "box 3 (3, 3, 3, 9) lies outside"),
        ({"boxes": [[1, 2, 3, 4]] * 4}, "'boxes' aren't lists of x1, y1, x2, y2 and score"),
        ({"boxes": METADATA["boxes"][:3]}, "3 boxes and 4 names"),
        ({"width": "wide"}, "not VCR's metadata"),
        ({"boxes": [*METADATA["boxes"][:3], [1, 2, 3]]}, "not VCR's metadata"),
    ],
)
def test_bad_metadata_is_named(tmp_path, metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item()], **metadata)})
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_test_files_have_no_labels_and_a_folder_has_splits(tmp_path) -> None:
    item = {key: value for key, value in vcr_item().items() if not key.endswith("_label")}
    write_vcr(tmp_path, [item], "test.jsonl")
    source = open_source(f"vcr:{tmp_path}@test")
    assert source.name == "vcr_test" and not {"answer_label", "rationale_label"} & set(source[0].fields)
    with pytest.raises(UserError, match=r"val.jsonl: no such file; it has test.jsonl"):
        open_source(f"vcr:{tmp_path}@val")
    with pytest.raises(UserError, match="is a file, so it has no split 'val'"):
        open_source({"format": "vcr", "path": str(tmp_path / "test.jsonl"), "split": "val"})


def test_pictures_elsewhere(tmp_path) -> None:
    path = write_vcr(tmp_path / "a", [vcr_item()])
    (tmp_path / "a/vcr1images").rename(tmp_path / "pictures")
    with pytest.raises(UserError, match="set 'root' to their folder"):
        open_source({"format": "vcr", "path": path})
    assert len(open_source({"format": "vcr", "path": path, "root": str(tmp_path / "pictures")})) == 1


def test_question_types_come_with_the_sample(tmp_path) -> None:
    items = [vcr_item(0, question=["Why", "is", [0], "here", "?"]), vcr_item(1, question=["How", "are", [0, 1], "?"])]
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, items)})
    assert [source[row].fields["question_types"] for row in (0, 1)] == [("explanation",), ("other",)]
    assert source.strata == ["explanation", "other"]


def test_it_travels_to_workers_and_fingerprints_its_samples(tmp_path) -> None:
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(k) for k in range(3)])})
    again = pickle.loads(pickle.dumps(source))
    assert again[2].fields == source[2].fields
    assert source.fingerprint() == fingerprint_samples(source) == again.fingerprint()
    assert guess_format(tmp_path / "train.jsonl")["format"] == "vcr"
    (tmp_path / "train.jsonl").write_text("{")
    with pytest.raises(BadImage, match="has changed while it was read"):
        again[1]


def test_questions_that_come_again_are_made_once_and_only_so_many_are_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(questions, "KEPT", 2)
    source = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(k) for k in range(3)])})
    made: list[int] = []
    make = source.make
    monkeypatch.setattr(source, "make", lambda row: made.append(row) or make(row))
    ids = [source[row].id for row in (0, 1, 0, 1, 2, 0)]
    assert made == [0, 1, 2, 0] and ids == [source.ids[row] for row in (0, 1, 0, 1, 2, 0)]


def test_a_byte_order_mark_and_windows_line_ends(tmp_path) -> None:
    path = write_vcr(tmp_path, [])
    lines = [json.dumps(vcr_item(k)) for k in range(2)]
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    source = open_source({"format": "vcr", "path": path})
    assert [source[k].fields["answer_label"] for k in range(2)] == [1, 1]
