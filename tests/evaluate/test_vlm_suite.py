"""The suite `vlm`: which picture is shown with which question, answers in batches, what is written, what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate import Result, evaluate_suite
from clipdistill.evaluate.vlm import read_questions, score_answers_file
from clipdistill.models.vlm import create_vlm
from tests.models.tiny_models import encoder

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
SCIENCE = {
    str(number): {
        "question": "Which colour?", "choices": ["red", "green", "blue"], "answer": number % 3, "hint": "",
        "image": "image.png" if number != 2 else None, "task": "closed choice", "grade": "grade2",
        "subject": "natural science", "topic": "", "category": "", "skill": "", "lecture": "", "solution": "",
        "split": "test",
    }
    for number in range(5)
}  # fmt: skip


class Looks:
    """Says the colour that it is shown, as a word or a letter; remembers how it was asked."""

    KIND, name, training = "vlm", "looks", False
    preprocess = {"size": [8, 8], "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
                  "resize_mode": "squash", "fill_color": 0}  # fmt: skip

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[bool], int]] = []

    def train(self, mode: bool = True) -> Looks:
        return self

    def to(self, device: Any) -> Looks:
        return self

    def answer(self, questions: Sequence[str], pixels: Tensor | None, shown: Sequence[bool], most: int) -> list[str]:
        self.asked.append((list(questions), list(shown), most))
        seen = iter([] if pixels is None else pixels.float().mean(dim=(2, 3)).argmax(dim=1).tolist())
        letters = ["A", "B", "C"] if "A. red" in questions[0] else list(COLOURS)
        return [letters[next(seen)] if picture else "nothing" for picture in shown]


@pytest.fixture
def vqa(tmp_path: Path) -> Path:
    """Five questions about three pictures under COCO's names, one of which isn't a picture."""
    folder = tmp_path / "vqa"
    (folder / "val2014").mkdir(parents=True)
    for number, colour in enumerate(COLOURS.values(), 1):
        Image.new("RGB", (10, 10), colour).save(folder / "val2014" / f"COCO_val2014_{number:012d}.jpg")
    (folder / "val2014" / f"COCO_val2014_{9:012d}.jpg").write_bytes(b"broken")
    asked = [(1, "red"), (2, "green"), (3, "blue"), (9, "red"), (1, "blue")]
    questions = [
        {"question_id": 10 + n, "image_id": image, "question": f"colour {n}?"} for n, (image, _) in enumerate(asked)
    ]
    gold = [
        {"question_id": 10 + n, "image_id": image, "answer_type": "other", "question_type": "what",
         "answers": [{"answer": word, "answer_id": k} for k in range(10)]}
        for n, (image, word) in enumerate(asked)
    ]  # fmt: skip
    for name, content in (("OpenEnded_mscoco_val2014_questions", {"questions": questions, "data_subtype": "val2014"}),
                          ("mscoco_val2014_annotations", {"annotations": gold})):  # fmt: skip
        (folder / f"v2_{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def run(model: Any, data: Path, size: int = 64, **options: Any) -> Result:
    (found,) = evaluate_suite(model, "vlm", str(data), batch_size=size, options=options)
    return found


@pytest.mark.parametrize("size", [1, 2, 64])
def test_each_question_is_asked_about_its_own_picture(vqa: Path, size: int) -> None:
    model = Looks()
    found = run(model, vqa, size, max_new_tokens=7)
    assert found.metrics["accuracy"] == pytest.approx(3 / 5) and (found.evaluator, found.data, found.n) == (
        "vlm",
        "vqa_v2",
        5,
    )
    assert found.artifacts["missing_ids"] == ["13"] and found.artifacts["rule"] == "official"
    (bad,) = found.artifacts["bad"]
    assert bad["id"] == "13" and "COCO_val2014_000000000009.jpg" in bad["reason"]
    assert all(most == 7 and all(shown) for _, shown, most in model.asked)
    asked = [text for texts, _, _ in model.asked for text in texts]
    assert asked == [f"colour {n}?\nAnswer the question using a single word or phrase." for n in (0, 1, 2, 4)]


def test_what_is_written_is_scored_the_same(vqa: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("answers.jsonl", "upload.json", "lmms.json")}
    found = run(Looks(), vqa, rule="lmms_eval", answers=files["answers.jsonl"], submission=files["upload.json"],
                lmms_eval=files["lmms.json"])  # fmt: skip
    again = score_answers_file("vqa_v2", vqa, files["answers.jsonl"], rule="lmms_eval", split="val")
    assert again.metrics == found.metrics and again.artifacts["missing"] == 1
    assert {one["question_id"]: one["answer"] for one in json.loads(files["upload.json"].read_text())}[14] == "red"
    results = json.loads(files["lmms.json"].read_text())["results"]
    assert results["vqav2_val"]["exact_match,none"] == found.metrics["accuracy"]


def test_pictures_by_number_and_some_that_lack(vqa: Path) -> None:
    for old in (vqa / "val2014").glob("*.jpg"):
        old.rename(old.with_name(f"{int(old.stem[-12:])}.jpg"))
    assert run(Looks(), vqa).metrics["accuracy"] == pytest.approx(3 / 5)
    (vqa / "val2014" / "3.jpg").unlink()
    lacking = run(Looks(), vqa)
    assert lacking.metrics["accuracy"] == pytest.approx(2 / 5)
    assert "no picture COCO_val2014_000000000003.jpg" in lacking.artifacts["bad"][0]["reason"]


def test_questions_without_a_picture_among_others(tmp_path: Path) -> None:
    """ScienceQA: a letter each; question 2 shows nothing."""
    folder = tmp_path / "science"
    for number in (0, 1, 3, 4):
        (folder / str(number)).mkdir(parents=True)
        Image.new("RGB", (9, 9), list(COLOURS.values())[number % 3]).save(folder / str(number) / "image.png")
    (folder / "problems.json").write_text(json.dumps(SCIENCE), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps({"test": list(SCIENCE)}), encoding="utf-8")
    model = Looks()
    found = run(model, folder, benchmark="scienceqa")
    assert [shown for _, shown, _ in model.asked] == [[True, True, False, True, True]]
    assert found.metrics["accuracy"] == pytest.approx(4 / 5)


def test_a_real_model_answers_alone_as_in_a_batch(vqa: Path, tmp_path: Path) -> None:
    model = create_vlm(encoder("clip"), "petri-lm-tiny", seed=0)
    other = torch.randn(model.llava.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
    model.llava.lm_head.weight = torch.nn.Parameter(other)
    said = []
    for size, at_once in ((1, None), (64, None), (64, 3)):
        file = tmp_path / f"{size}{at_once}.jsonl"
        run(model, vqa, size, answers=file, max_new_tokens=5, questions_at_once=at_once)
        said.append([json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()])
    assert said[0] == said[1] == said[2] and len(said[0]) == 4 and all(said[0])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"benchmark": "vqa"}, "no benchmark 'vqa'"),
    ({"rule": "offical"}, "no rule 'offical'"),
    ({"lmms_eval": "x.json"}, "lmms-eval's results are of rule 'lmms_eval'"),
    ({"ocr": "x.json"}, "`ocr` is of textvqa"),
    ({"max_new_tokens": 0}, "max_new_tokens"),
    ({"split": "test"}, "no questions of split 'test'"),
    ({"images": "nowhere"}, "set `images`"),
]


@pytest.mark.parametrize(("options", "piece"), WRONG, ids=lambda each: str(each)[:40])
def test_what_is_wrong_in_one_line(vqa: Path, options: dict[str, Any], piece: str) -> None:
    with pytest.raises(UserError) as said:
        run(Looks(), vqa, **options)
    assert piece in str(said.value) and "\n" not in str(said.value)


def test_unpublished_answers_want_a_file(vqa: Path, tmp_path: Path) -> None:
    (vqa / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(UserError, match="aren't published; set `submission` or `answers`"):
        run(Looks(), vqa)
    found = run(Looks(), vqa, submission=tmp_path / "upload.json")
    assert found.metrics == {} and found.n == 4 and len(json.loads((tmp_path / "upload.json").read_text())) == 5
    assert len(read_questions("vqa_v2", vqa)) == 5


def test_other_kinds_of_models_are_told_where_to_go(vqa: Path) -> None:
    with pytest.raises(UserError, match="vlm takes a model of kind vlm, and this is a dual_encoder"):
        evaluate_suite(encoder("clip"), "vlm", str(vqa))
