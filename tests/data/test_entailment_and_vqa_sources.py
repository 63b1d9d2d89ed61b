"""SNLI-VE, VQA v2 and easy-VQA: official files, answer vocabularies, and bad lines that are named and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from question_files import (
    annotation,
    pair,
    question,
    write_easy_vqa,
    write_snli_ve,
    write_vqa,
)

from clipdistill.data.sources import guess_format, open_source
from clipdistill.data.sources.base import fingerprint_samples
from clipdistill.data.vqa_answers import (
    load_vocabulary,
    make_vocabulary,
    process_answer,
    process_punctuation,
    score,
    soft_targets,
    write_vocabulary,
)
from clipdistill.errors import UserError


def test_snli_ve_reads_every_spelling_of_the_picture(tmp_path) -> None:
    lines = [pair(1), pair(2, "neutral"), pair(3, "contradiction")]
    for number, spelling in enumerate(("Flikr30kID", "Flickr30kID", "Flickr30K_ID")):
        del lines[number]["Flikr30kID"]
        lines[number][spelling] = "2" if number else "1.jpg"  # with or without suffix
    source = open_source(write_snli_ve(tmp_path, lines))
    assert source.classes == ("entailment", "neutral", "contradiction")
    assert [source[k].label for k in range(3)] == [0, 1, 2] and source.name == "snli_ve_train"
    sample = source[1]
    assert sample.fields == {"hypothesis": "Dogs, number 2.", "premise": "Two dogs run."}
    assert sample.captions == ("Two dogs run.",) and sample.id == "2.jpg#0r1e"
    assert sample.image.open().size == (12, 10) and "2.jpg" in repr(sample.image)
    assert source.fingerprint() == fingerprint_samples(source)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gold_label": "entails"}, "label 'entails' is none of entailment, neutral, contradiction"),
        ({"gold_label": "-"}, "label '-' is none of entailment, neutral, contradiction (the annotators didn't agree)"),
        ({"gold_label": None}, "no 'gold_label'"),
        ({"sentence2": " "}, "no hypothesis in 'sentence2'"),
        ({"Flikr30kID": "3.jpg"}, "no picture 3.jpg in "),
    ],
)
def test_a_bad_pair_is_left_out_and_named(tmp_path, changes: dict[str, Any], reason: str) -> None:
    source = open_source({"format": "snli_ve", "path": write_snli_ve(tmp_path, [pair(1), pair(2, **changes), "x"])})
    assert len(source) == 1 and source.skipped[1] == ("line 3", "not JSON")
    assert source.skipped[0][0] == "2.jpg#0r1e" and source.skipped[0][1].startswith(reason)


def test_a_misspelt_picture_field_is_named(tmp_path) -> None:
    wrong = pair(1)
    wrong["flickr30kId"] = wrong.pop("Flikr30kID")
    with pytest.raises(UserError, match="no 'Flikr30kID' .nor Flickr30kID nor Flickr30K_ID. Is it 'flickr30kId'?"):
        open_source({"format": "snli_ve", "path": write_snli_ve(tmp_path, [wrong])})


def test_snli_ve_folders_and_pictures_elsewhere(tmp_path) -> None:
    write_snli_ve(tmp_path, [pair(1)], "snli_ve_dev.jsonl")
    assert open_source(f"snli_ve:{tmp_path}@dev").name == "snli_ve_dev"
    (tmp_path / "flickr30k-images").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="its pictures are not there .looked in .*set 'root'"):
        open_source(f"snli_ve:{tmp_path}@dev")
    spec = {"format": "snli_ve", "path": str(tmp_path), "split": "dev", "root": str(tmp_path / "elsewhere")}
    assert len(open_source(spec)) == 1


def test_soft_scores_are_the_official_accuracies() -> None:
    assert [score(count) for count in range(6)] == pytest.approx([0, 0.3, 0.6, 0.9, 1, 1])
    # By the formula: the mean over ten leave-one-out nines of min(1, matches / 3).
    for count in range(11):
        given = [True] * count + [False] * (10 - count)
        nines = [min(1.0, (sum(given) - given[k]) / 3) for k in range(10)]
        assert score(count) == pytest.approx(sum(nines) / 10)
    answers = ["red"] * 6 + ["pink"] * 3 + ["rose"]
    assert soft_targets(answers, {"pink": 0, "red": 1}) == ((0, pytest.approx(0.9)), (1, 1.0))


@pytest.mark.parametrize(
    ("answer", "processed"),
    [
        ("The Two dogs", "2 dogs"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldn'tve", "couldn't've"),
        ("it's", "it's"),
        ("red/blue", "red blue"),  # a mark between letters becomes a space
        ("red / blue", "red blue"),  # beside a space it goes
        ("1,000 men", "1000 men"),
        ("1,000-2,000", "10002000"),  # digit, comma, digit: every mark goes
        ("3.5", "3.5"),
        ("yes.", "yes"),
    ],
)
def test_answers_are_processed_as_the_scorer_does(answer: str, processed: str) -> None:
    assert process_answer(answer) == processed


def test_at_most_32_full_stops_go() -> None:
    assert process_punctuation("." * 40 + "x") == "." * 8 + "x"


def test_the_vocabulary_is_made_by_the_usual_rule(tmp_path) -> None:
    most_given = ["yes"] * 12 + ["Two"] * 5 + ["2"] * 4 + ["red"] * 8
    assert make_vocabulary(most_given) == ("yes", "2")  # "Two" and "2" are one answer, nine times
    assert make_vocabulary(["e", "d", "c", "c"], min_count=1, most=2) == ("c", "d")
    write_vocabulary(tmp_path / "answers.txt", ("yes", "2"))
    assert load_vocabulary(str(tmp_path / "answers.txt")) == ("yes", "2")
    (tmp_path / "ans2label.json").write_text(json.dumps({"no": 1, "yes": 0}))
    assert load_vocabulary(str(tmp_path / "ans2label.json")) == ("yes", "no")
    for content, message in (
        ('["a", "a"]', 'answer "a" stands in it twice'),
        ('{"a": 3}', "not a mapping of answers to the numbers 0 to 0"),
        ("3", "neither a list of answers"),
        ("[]", "no answers"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(UserError, match=message):
            load_vocabulary(str(tmp_path / "bad.json"))


def vqa_folder(root: Any) -> str:
    questions = [question(k, f"Question {k}?", 9 + k % 2) for k in range(4)]
    answers = [["yes"] * 10, ["yes"] * 7 + ["no"] * 3, ["yes"] * 9 + ["maybe"], ["red"] * 2 + ["yes"] * 8]
    write_vqa(root, questions, [annotation(k, answers[k], 9 + k % 2) for k in range(4)])
    write_vqa(root, [question(9)], [annotation(9, ["no"] * 10)], "val2014")
    write_vqa(root, [question(7)], None, "test2015")
    write_vqa(root, [question(8)], None, "test-dev2015")
    return str(root)


def test_vqa_splits_of_a_folder(tmp_path) -> None:
    folder = vqa_folder(tmp_path)
    source = open_source({"format": "vqa_v2", "path": folder, "split": "train", "min_count": 1, "name": "vqa"})
    assert source.ids == ["0", "1", "2", "3"] and source.answers == ("yes",)
    sample = source[1]
    assert sample.fields["question"] == "Question 1?" and sample.fields["question_id"] == 1
    assert sample.fields["answers"] == ("yes",) * 7 + ("no",) * 3
    assert sample.fields["answer_scores"] == ((0, 1.0),) and sample.fields["question_tags"] == ()
    assert (sample.fields["question_type"], sample.fields["answer_type"]) == ("what", "other")
    assert "COCO_train2014_000000000010.jpg" in repr(sample.image)
    both = open_source({"format": "vqa_v2", "path": folder, "split": "train+val", "min_count": 1})
    assert len(both) == 5 and both.answers == ("yes", "no")
    assert both[1].fields["answer_scores"] == ((0, 1.0), (1, pytest.approx(0.9)))
    # A validation split against the vocabulary of the training split's annotations.
    training = str(tmp_path / "v2_mscoco_train2014_annotations.json")
    val = open_source({"format": "vqa_v2", "path": folder, "split": "val", "answers": training, "min_count": 1})
    assert val.answers == ("yes",) and val[0].fields["answer_scores"] == ()
    assert val.fingerprint() == fingerprint_samples(val)


def test_vqa_test_splits_have_no_annotations(tmp_path) -> None:
    folder = vqa_folder(tmp_path)
    test = open_source({"format": "vqa_v2", "path": folder, "split": "test"})
    assert test.ids == ["7"] and test.answers == () and "answers" not in test[0].fields
    (tmp_path / "test-dev2015").rename(tmp_path / "unused")
    dev = open_source({"format": "vqa_v2", "path": folder, "split": "test-dev"})
    assert dev.ids == ["8"] and "COCO_test2015_" in repr(dev[0].image)  # its pictures are test2015's
    with pytest.raises(UserError, match="no questions of split 'dev'; it has v2_OpenEnded"):
        open_source({"format": "vqa_v2", "path": folder, "split": "dev"})


def test_a_bad_question_is_left_out(tmp_path) -> None:
    yes = ["yes"] * 10
    questions = [
        question(0), question(1), question(1), question(2, "  "), question(3, image=77), question(4), question(5),
        {"question_id": 6, "image_idd": 9, "question": "?"}, "x", question(8, image=10), question(9),
    ]  # fmt: skip
    annotations = [annotation(k, yes) for k in (0, 1, 2, 3, 8)]
    annotations += [annotation(4, ["yes"] * 3), annotation(6, yes), annotation(20, yes), {"answers": []}]
    annotations += [{**annotation(9, yes), "answers": [{"answer": 3}] * 10}]
    folder = write_vqa(tmp_path, questions, annotations)
    source = open_source({"format": "vqa_v2", "path": str(folder), "min_count": 1})
    assert source.ids == ["0", "1"]
    assert source.skipped == [
        ("annotation 8", "no 'question_id'"),
        ("1", "question_id comes twice"),
        ("2", "no question in 'question'"),
        ("3", f"no picture of image_id 77 in {tmp_path}/train2014"),
        ("4", "3 answers, not 10"),
        ("5", "no annotation"),
        ("6", "no 'image_id'"),
        ("question 8", "not a JSON object"),
        ("8", "its annotation is of image_id 9, not 10"),
        ("9", "an answer without text in 'answer'"),
        ("20", "an annotation without a question"),
    ]
    with pytest.raises(UserError, match="no answer is the most given one of 9 questions; lower 'min_count'"):
        open_source({"format": "vqa_v2", "path": str(folder)})


def test_a_questions_file_by_itself(tmp_path) -> None:
    vqa_folder(tmp_path)
    file = str(tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json")
    assert guess_format(file)["format"] == "vqa_v2"
    assert "answers" not in open_source(file)[0].fields
    annotated = {"path": file, "annotations": str(tmp_path / "v2_mscoco_train2014_annotations.json"), "min_count": 1}
    assert open_source(annotated)[0].fields["answer_scores"] == ((0, 1.0),)
    with pytest.raises(UserError, match="not VQA's questions"):
        open_source({"format": "vqa_v2", "path": annotated["annotations"]})


def test_easy_vqa(tmp_path) -> None:
    rows = [["what colour is it?", "red", 0], ["is it?", "yes", 1], ["?", "pink", 0], ["?", "red", 5], ["?"]]
    folder = write_easy_vqa(tmp_path, rows)
    assert guess_format(folder)["format"] == "easy_vqa"
    source = open_source({"path": str(folder), "split": "test"})
    assert source.ids == ["test-0", "test-1"] and source.answers == ("red", "blue", "yes")
    assert source[1].fields["answers"] == ("yes",) and source[1].fields["answer_scores"] == ((2, 1.0),)
    assert "1.png" in repr(source[1].image)
    assert [why for _, why in source.skipped] == [
        "answer 'pink' isn't in answers.txt",
        f"no picture 5.png in {tmp_path}/test/images",
        "not a list of question, answer and picture number",
    ]
    with pytest.raises(UserError, match="no split 'val'; there are train, test"):
        open_source({"path": str(folder), "split": "val"})
