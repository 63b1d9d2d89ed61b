"""Questions in batches: texts with tags, labels, soft targets; and stores that go stale when the texts change."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from data_files import write_csv
from question_files import annotation, pair, question, vcr_item, write_easy_vqa, write_snli_ve, write_vcr, write_vqa

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.fields import Label
from clipdistill.data.question_fields import AnswerTarget, ChoiceLabel, Choices, Hypothesis, Question, Rationales
from clipdistill.data.tagged_text import Tag, TaggedText
from clipdistill.engine.micro_batches import split
from clipdistill.errors import UserError


def batch(mixture: Mixture, fields: dict[str, Any], size: int = 2, workers: int = 0) -> dict[str, Any]:
    loader = Loader(mixture, fields, batch_size=size, plan=AugmentPlan(), seed=0, shuffle=False, workers=workers)
    return next(iter(loader.epoch(0)))


def vcr(folder: Any, *items: dict[str, Any], **options: Any) -> Mixture:
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, list(items)), **options}), None)])


FIELDS = {
    "question": Question(), "choices": Choices(), "rationales": Rationales(), "answer_label": ChoiceLabel(),
    "rationale_label": ChoiceLabel("rationale"),
}  # fmt: skip


def test_texts_and_labels_of_vcr(tmp_path) -> None:
    second = vcr_item(1, answer_label=3, rationale_label=0, question=["Who", "is", [0], "?"])
    del second["rationale_label"]
    found = batch(vcr(tmp_path, vcr_item(0), second), FIELDS)
    assert found["question"] == [
        TaggedText("Does Jessie feel comfortable?", (Tag(5, 11, 2),)),
        TaggedText("Who is Casey?", (Tag(7, 12, 0),)),
    ]
    assert found["choices"][0][1] == TaggedText("No she does not.") and len(found["choices"][1]) == 4
    assert found["rationales"][0][3].tags == (Tag(0, 6, 2),)
    assert found["answer_label"].tolist() == [1, 3] and found["rationale_label"].tolist() == [1, -1]
    assert found["answer_label"].dtype == torch.int64
    first, last = split({key: found[key] for key in FIELDS}, 1)
    assert first["question"] == found["question"][:1] and last["choices"] == found["choices"][1:]


def test_unlabelled_parts_have_no_label(tmp_path) -> None:
    mixture = vcr(tmp_path, vcr_item(0), vcr_item(1), unlabelled=True)
    found = batch(mixture, FIELDS)
    assert found["answer_label"].tolist() == [-1, -1] == found["rationale_label"].tolist()
    assert len(found["choices"][0]) == 4


def test_hypotheses_come_with_classes(tmp_path) -> None:
    source = open_source({"format": "snli_ve", "path": write_snli_ve(tmp_path, [pair(1), pair(2, "contradiction")])})
    found = batch(Mixture([(source, None)]), {"hypothesis": Hypothesis(), "label": Label()})
    assert found["hypothesis"] == ["Dogs, number 1.", "Dogs, number 2."] and found["label"].tolist() == [0, 2]


def test_soft_targets_over_the_vocabulary(tmp_path) -> None:
    answers = [["red"] * 6 + ["pink"] * 3 + ["rose"], ["blue"] * 10]
    (tmp_path / "answers.txt").write_text("pink\nred\nno\n")
    folder = write_vqa(tmp_path, [question(0), question(1)], [annotation(k, answers[k]) for k in range(2)])
    spec = {"format": "vqa_v2", "path": str(folder), "answers": str(tmp_path / "answers.txt")}
    mixture = Mixture([(open_source(spec), None)])
    target = AnswerTarget(mixture)
    found = batch(mixture, {"question": Question(), "target": target})
    assert torch.allclose(found["answer_target"], torch.tensor([[0.9, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found["answer_known"].tolist() == [True, True] and found["question"][0] == TaggedText("What is this?")
    unlabelled = Mixture([(open_source({**spec, "unlabelled": True}), None)])
    found = batch(unlabelled, {"target": AnswerTarget(unlabelled)})
    assert found["answer_known"].tolist() == [False, False] and not found["answer_target"].any()
    assert target == AnswerTarget(unlabelled) == pickle.loads(pickle.dumps(target))


def test_vocabularies_must_be_there_and_agree(tmp_path) -> None:
    first = open_source({"path": str(write_easy_vqa(tmp_path / "a", [["?", "red", 0]])), "name": "a"})
    other = open_source({"path": str(write_easy_vqa(tmp_path / "b", [["?", "red", 0]], "red\n")), "name": "b"})
    with pytest.raises(UserError, match=r"'b' has another vocabulary of answers \(1\) than the first \(3\)"):
        AnswerTarget(Mixture([(first, None), (other, None)]))
    write_vqa(tmp_path / "c", [question(0)], None)
    bare = open_source({"format": "vqa_v2", "path": str(tmp_path / "c"), "name": "c"})
    with pytest.raises(UserError, match="'c' has no vocabulary of answers; set its 'answers' to a file"):
        AnswerTarget(Mixture([(bare, None)]))


def test_data_without_questions_is_refused_before_a_batch(tmp_path) -> None:
    mixture = Mixture([(open_source({"path": str(write_csv(tmp_path, 2))}), None)])
    for field, message in (
        (Question(), "has no 'question', and training needs questions .formats vcr"),
        (Choices(), "has no 'choices', and training needs questions with options"),
        (Hypothesis(), "has no 'hypothesis', and training needs hypotheses"),
    ):
        with pytest.raises(UserError, match=message):
            batch(mixture, {"x": field})


def test_stores_that_read_the_texts_go_stale_with_them(tmp_path) -> None:
    """`READS` names the fields; their fingerprint changes with a word, with a tag, and with nothing else."""

    def prints(folder: str, **changes: Any) -> dict[str, str]:
        names = {name for field in (Question(), Choices()) for name in field.READS}
        return vcr(tmp_path / folder, vcr_item(0, **changes)).fields_fingerprint(names)

    same = prints("a")
    assert set(same) == {"question", "question_tags", "choices", "choice_tags"}
    assert prints("b", answer_label=0) == same
    word = prints("c", question=["Will", [2], "feel", "comfortable", "?"])
    assert {name for name in same if same[name] != word[name]} == {"question"}
    tag = prints("d", question=["Does", "Jessie", "feel", "comfortable", "?"])  # the same text, and names no region
    assert {name for name in same if same[name] != tag[name]} == {"question_tags"}
    choice = prints("e", answer_choices=[["a"], ["b"], ["c"], ["d"]])
    assert {name for name in same if same[name] != choice[name]} == {"choices"}


def test_fields_travel_to_workers_and_equal_ones_are_one(tmp_path) -> None:
    assert Question() == Question() and Choices() != Rationales() and ChoiceLabel() != ChoiceLabel("rationale")
    mixture = vcr(tmp_path, *(vcr_item(k) for k in range(4)))
    assert batch(mixture, FIELDS, workers=1)["choices"] == batch(mixture, FIELDS)["choices"]
