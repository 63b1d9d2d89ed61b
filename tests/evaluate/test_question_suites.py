"""The suites vcr, snli_ve and vqa with a dual encoder that sees and reads colours."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.evaluate.suites import find_suite, open_suite
from tests.evaluate import question_data as made

VCR = [
    made.vcr_item(0, "red", 0, 3),  # answers red, green, blue, grey; rationales the other way round
    made.vcr_item(1, "green", 1, 0, "How does"),  # the rationale is labelled wrongly
    made.vcr_item(2, "blue", 0, 1),  # and here the answer
    made.vcr_item(3, "broken", 0, 0),
]


@pytest.fixture
def vcr(tmp_path: Path) -> Path:
    return made.write_vcr(tmp_path / "vcr", VCR)


def test_vcr_by_matching_the_answer(model, vcr):
    (found,) = evaluate_suite(model, "vcr", vcr, options={"name": "colours"})
    assert found.data == "colours" and found.n == 3
    metrics = {key: value for key, value in found.metrics.items() if "/" not in key}
    assert metrics == pytest.approx({"q2a": 2 / 3, "qa2r": 2 / 3, "q2ar": 1 / 3, "q2ar_product": 4 / 9})
    assert found.metrics["q2a/explanation"] == pytest.approx(2 / 3) and found.artifacts["types"] == {"explanation": 3}
    assert [item["id"] for item in found.artifacts["bad"]] == ["val-3"]
    assert found.artifacts["match"] == "ia" and "red wins." in model.texts_seen
    (answers,) = evaluate_suite(model, "vcr", vcr, options={"mode": "q2a"})
    assert answers.metrics == {name: value for name, value in found.metrics.items() if name.split("/")[0] == "q2a"}


def test_iqa_puts_the_question_and_the_answer_before(model, vcr):
    (found,) = evaluate_suite(model, "vcr", vcr, options={"match": "iqa"})
    assert "Why is Casey here? red wins." in model.texts_seen
    assert "Why is Casey here? red wins. all blue here." in model.texts_seen
    assert found.metrics["q2a"] == pytest.approx(2 / 3)


def test_a_pictures_questions_share_its_embedding(model, tmp_path):
    seen = []
    inner = model.encode_image
    model.encode_image = lambda pixels: seen.append(len(pixels)) or inner(pixels)
    root = made.write_vcr(tmp_path, [made.vcr_item(k, "red", 0, 3) for k in range(5)])
    (found,) = evaluate_suite(model, "vcr", root)
    assert seen == [1] and found.n == 5 and found.metrics["q2ar"] == 1


def test_vcrs_submission_and_a_test_file_without_labels(model, tmp_path):
    root = made.write_vcr(tmp_path / "data", [made.vcr_item(k, c, None, None) for k, c in enumerate(made.COLOURS)])
    with pytest.raises(UserError, match="no labels to measure by; set `submission: FILE`"):
        evaluate_suite(model, "vcr", root)
    path = tmp_path / "out" / "vcr.csv"
    (found,) = evaluate_suite(model, "vcr", root, options={"submission": str(path)})
    rows = list(csv.DictReader(path.open()))
    assert found.metrics == {} and [row["annot_id"] for row in rows] == ["val-0", "val-1", "val-2"]
    assert len(rows[0]) == 21 and float(rows[1]["answer_1"]) > 0.99
    assert float(rows[2]["rationale_conditioned_on_a3_1"]) > 0.99  # blue is the second rationale, whatever the answer


def test_several_models_write_files_of_their_own(model, vcr, tmp_path):
    suite = find_suite("vcr")
    opened = open_suite(suite, str(vcr), suite.read_options({"submission": str(tmp_path / "out.csv")}))
    for role in ("student", "teacher 1"):
        (found,) = opened.run(model, role=role)
        assert Path(found.artifacts["submission"]).is_file()
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.student.csv", "out.teacher_1.csv"]


def test_an_ensemble_of_runs(model, vcr, tmp_path):
    file = tmp_path / "first.npz"
    (alone,) = evaluate_suite(model, "vcr", vcr, options={"predictions": str(file)})
    with np.load(file) as saved:
        arrays = dict(saved)
    # A surer model that always takes the third answer: the mean of both takes it too, where the first isn't sure.
    arrays["answers"] = np.tile(np.array([0, 0, 3, 0], np.float32), (3, 1))
    np.savez(tmp_path / "second.npz", **arrays)
    (both,) = evaluate_suite(model, "vcr", vcr, options={"ensemble": [str(tmp_path / "second.npz")]})
    assert alone.metrics["q2a"] == pytest.approx(2 / 3) and both.metrics["q2a"] == 0
    assert both.metrics["qa2r"] == alone.metrics["qa2r"] and both.artifacts["ensemble"] == 2
    with pytest.raises(UserError, match=r"ensemble: .*none.npz: no such file"):
        evaluate_suite(model, "vcr", vcr, options={"ensemble": [str(tmp_path / "none.npz")]})


def test_rationales_of_another_model(model, vcr, tmp_path):
    file = tmp_path / "reasons.npz"
    (alone,) = evaluate_suite(model, "vcr", vcr, options={"predictions": str(file)})
    with np.load(file) as saved:
        arrays = dict(saved)
    arrays["rationales"] = np.tile(np.array([1, 0, 0, 0], np.float32), (3, 4, 1))
    np.savez(file, **arrays)
    (both,) = evaluate_suite(model, "vcr", vcr, options={"rationales": str(file)})
    assert both.metrics["q2a"] == alone.metrics["q2a"] and both.metrics["qa2r"] == pytest.approx(1 / 3)
    np.savez(file, ids=arrays["ids"], names=arrays["names"], answers=arrays["answers"])
    with pytest.raises(UserError, match=r"rationales: .*reasons.npz: holds no rationales"):
        evaluate_suite(model, "vcr", vcr, options={"rationales": str(file)})


PAIRS = [
    ("red", "all red", "entailment"), ("green", "green and green", "entailment"),
    ("red", "red and blue", "neutral"), ("blue", "green or blue", "contradiction"),  # labelled wrongly
    ("red", "blue", "contradiction"), ("green", "red", "contradiction"),
]  # fmt: skip


def test_snli_ve_by_clusters_of_similarities(model, tmp_path):
    root = made.write_snli_ve(tmp_path, PAIRS)
    (found,) = evaluate_suite(model, "snli_ve", root)
    # Cosines: 1, 1, 0.71, 0.71, 0, 0: three clusters, and the two of 0.71 are called neutral.
    assert found.metrics == {
        "accuracy": pytest.approx(5 / 6), "accuracy/entailment": 1, "accuracy/neutral": 1,
        "accuracy/contradiction": pytest.approx(2 / 3),
    }  # fmt: skip
    assert found.artifacts["clusters"] == pytest.approx([0, 0.7071, 1], abs=0.02)
    assert found.artifacts["accuracy_of_the_best_mapping"] == pytest.approx(5 / 6)
    assert found.artifacts["confusion"] == [[2, 0, 0], [0, 1, 0], [0, 1, 2]]
    few = made.write_snli_ve(tmp_path / "few", PAIRS[:2])
    with pytest.raises(UserError, match="don't make three clusters"):
        evaluate_suite(model, "snli_ve", few)
    # Two pairs make no clusters of their own, but fall into those of other data: CLIP-TD's, of the validation set.
    fit = {"format": "snli_ve", "path": str(root), "split": "dev"}
    (found,) = evaluate_suite(model, "snli_ve", few, options={"fit": fit})
    assert found.metrics["accuracy"] == 1 and found.n == 2 and found.artifacts["clusters_of"] == "snli_ve_dev"
    assert found.artifacts["clusters"] == pytest.approx([0, 0.7071, 1], abs=0.02)
    with pytest.raises(UserError, match="fit: .*nowhere"):
        evaluate_suite(model, "snli_ve", few, options={"fit": {**fit, "path": "nowhere"}})


def test_vqa_with_answers_as_prompts(model, tmp_path):
    root = made.write_vqa(tmp_path, [("red", ["red"] * 10), ("green", ["green"] * 2 + ["lime"] * 8)])
    data = {"format": "vqa_v2", "path": str(root), "answers": str(root / "answers.txt")}
    file = tmp_path / "vqa.json"
    (found,) = evaluate_suite(model, "vqa", data, options={"submission": str(file)})
    assert found.metrics == pytest.approx({"accuracy": 0.8, "accuracy/other": 0.8})
    assert found.artifacts["by_question_type"] == pytest.approx({"what": 0.8})
    assert json.loads(file.read_text()) == [
        {"question_id": 100, "answer": "red"}, {"question_id": 101, "answer": "green"},
    ]  # fmt: skip
    assert "question: What colour is it? answer: red" in model.texts_seen
    model.texts_seen.clear()
    predictions = tmp_path / "vqa.npz"
    (plain,) = evaluate_suite(
        model, "vqa", data, options={"template": "a {answer} thing", "predictions": str(predictions)}
    )
    assert plain.metrics == found.metrics and len(model.texts_seen) == 4  # the answers once, whatever is asked
    with np.load(predictions) as saved:
        assert saved["answers"].shape == (2, 4) and saved["names"].tolist() == ["red", "green", "blue", "grey"]
    (again,) = evaluate_suite(model, "vqa", data, options={"ensemble": [str(predictions)]})
    assert again.metrics == found.metrics and again.artifacts["ensemble"] == 2


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("vqa", {"template": "a thing"}, "has no {answer} in it"),
        ("vcr", {"match": "qa"}, "match"),
        ("snli_ve", {"restarts": 0}, "restarts"),
        ("snli_ve", {"submission": "x"}, "submission"),
    ],
)
def test_wrong_options_are_named(suite, options, message):
    with pytest.raises(UserError, match=message):
        find_suite(suite).read_options(options)


def test_data_that_a_suite_cannot_use(model, vcr, tmp_path):
    with pytest.raises(UserError, match="the suite vqa reads vqa_v2 or easy_vqa, and this is of format vcr"):
        evaluate_suite(model, "vqa", {"format": "vcr", "path": str(vcr)})
    with pytest.raises(UserError, match="`path` is missing"):
        evaluate_suite(model, "vcr", {"format": "vcr"})
    root = made.write_vqa(tmp_path / "vqa", [("red", None)])
    with pytest.raises(UserError, match="no vocabulary of answers; set `answers`"):
        evaluate_suite(model, "vqa", {"format": "vqa_v2", "path": str(root)})
    with pytest.raises(UserError, match="one file can't hold 2 sources"):
        evaluate_suite(model, "vcr", {"a": str(vcr), "b": str(vcr)}, options={"submission": str(tmp_path / "x.csv")})
    with pytest.raises(UserError, match="name: 'c' is for one source"):
        evaluate_suite(model, "vcr", {"a": str(vcr), "b": str(vcr)}, options={"name": "c"})
    assert [each.data for each in evaluate_suite(model, "vcr", {"a": str(vcr), "b": str(vcr)})] == ["a", "b"]


def test_the_whole_picture_or_its_middle(model, tmp_path):
    from PIL import Image

    root = made.write_vcr(tmp_path, [made.vcr_item(0, "red", 0, 3)])
    wide = Image.new("RGB", (100, 20), (0, 0, 255))
    wide.paste((255, 0, 0), (40, 0, 60, 20))  # red in the middle, blue at the sides
    wide.save(root / "vcr1images" / "red.jpg", quality=95)
    metadata = {"boxes": [[0, 0, 10, 10, 1.0]], "width": 100, "height": 20, "names": ["person"], "segms": [[]]}
    (root / "vcr1images" / "one.json").write_text(json.dumps(metadata))
    middle, whole = (
        evaluate_suite(model, "vcr", root, options={"crop": crop})[0].metrics["q2a"] for crop in ("centre", "resize")
    )
    assert (middle, whole) == (1, 0)
    assert not torch.is_inference_mode_enabled()
