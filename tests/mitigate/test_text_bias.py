"""Table 9 on three questions by hand, and the two baselines that only count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdistill.data.wordnet import WordNet
from clipdistill.errors import UserError
from clipdistill.mitigate import vcr_bias
from clipdistill.mitigate.overlap import Overlap, tag_baseline, word_baseline
from clipdistill.mitigate.text_bias import paper_table
from tests.mitigate.vcr_records import record, write_vcr

# Labels of the picture: person, dog, traffic light. Numbers behind: shared with the question, with the labels.
ONE = record(
    "Is [0] running from the dogs ?",
    [
        "[0] runs , runs from a dog .",  # 3 (tag, runs once, dog), 2 (the tag's object, dog)
        "[1] likes to run .",  # 1, 1
        "he is not here .",  # 0, 0: stop words don't count
        "[0] and [2] like lights .",  # 1, 3
    ],
    0,
    annot_id="val-1",
)
TWO = record(
    "Where is the red goose ?",
    ["geese are red .", "a reddish fox .", "a red fox .", "the traffic stops ."],  # 2 1 ... right is the third
    2,
    annot_id="val-2",
)
THREE = record("Why ?", ["[0] .", "he .", "it .", "she ."], 3, annot_id="val-3")  # nothing with the question


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_vcr(tmp_path, [ONE, TWO, THREE])


def test_three_questions_by_hand(file: Path, wordnet_folder: Path, tmp_path: Path) -> None:
    found = vcr_bias(file, wordnet=wordnet_folder, json_path=tmp_path / "bias.json")
    # Question: ONE 3 | 1 0 1, TWO 1 | 2 0 0, THREE 0 | 0 0 0. Labels: ONE 2 | 1 0 3, TWO 0 | 0 0 1, THREE 0 | 1 0 0.
    assert found["all"]["right"] == {
        "question_tokens": 1.3333, "question_more": 66.67, "labels_tokens": 0.6667, "labels_more": 33.33,
    }  # fmt: skip
    assert found["all"]["wrong"] == {
        "question_tokens": 0.4444, "question_more": 0.0, "labels_tokens": 0.6667, "labels_more": 66.67,
    }  # fmt: skip
    assert (found["n"], found["all"]["n"], "im" in found) == (3, 3, False)
    # By tags ONE's first answer is right, and ties are the first's: TWO's and THREE's are wrong. Words change nothing.
    assert found["all"]["tag_baseline"] == found["all"]["word_baseline"] == 33.33
    assert json.loads((tmp_path / "bias.json").read_text()) == found


def test_groups_by_what_implicit_mitigation_left(file: Path, wordnet_folder: Path, tmp_path: Path) -> None:
    kept = write_vcr(tmp_path, [TWO, THREE], "val-im.jsonl")
    found = vcr_bias(file, kept, wordnet=wordnet_folder)
    assert (found["im"]["n"], found["im_left_out"]["n"]) == (2, 1)
    assert found["im"]["right"]["question_tokens"] == 0.5
    assert found["im_left_out"]["right"] == {
        "question_tokens": 3.0, "question_more": 100.0, "labels_tokens": 2.0, "labels_more": 100.0,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"1 of its questions aren't in .*val-im.jsonl, such as 'val-1'"):
        vcr_bias(kept, file, wordnet=wordnet_folder)


def test_baselines_take_the_first_of_several(wordnet_folder: Path) -> None:
    overlap = Overlap(WordNet(wordnet_folder))
    item = record("Is [0] with [1] and a dog ?", ["so .", "[0] .", "[0] and [1] .", "[1,0] and dogs ."])
    assert (tag_baseline(item), word_baseline(item, overlap)) == (2, 3)
    assert tag_baseline(record("Why ?", ["[0] ."] * 4)) == 0
    assert tag_baseline(record("Is [0] here ?", ["[10000] .", "[0,0] .", "so .", "so ."])) == 1  # a masked tag is none


def test_the_printed_table() -> None:
    table = paper_table()
    assert table["im"]["right"] == {
        "question_tokens": 3.14, "question_more": 77.81, "labels_tokens": 0.98, "labels_more": 48.16,
    }  # fmt: skip
    assert [list(table[group]) for group in table] == [["right", "wrong"]] * 2


def test_without_labels(tmp_path: Path, wordnet_folder: Path) -> None:
    file = write_vcr(tmp_path, [{k: v for k, v in ONE.items() if not k.endswith("label")}])
    with pytest.raises(UserError, match="has no labels"):
        vcr_bias(file, wordnet=wordnet_folder)
