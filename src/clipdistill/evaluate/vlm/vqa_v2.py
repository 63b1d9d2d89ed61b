"""VQA v2 by generated answers: questions and annotations JSON, the official score and what others make of it.

Source: Goyal et al. 2017; GT-Vision-Lab's scorer; lmms-eval's `vqav2_val`; TinyLLaVA Factory's conversion
for the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdistill.data.sources.vqa_v2 import files_of
from clipdistill.data.vqa_answers import ANSWERS
from clipdistill.evaluate.rows import Row, read_json
from clipdistill.evaluate.submissions import write_vqa_submission
from clipdistill.evaluate.vlm.base import SHORT, Answers, Benchmark, Metrics, Question, by_group
from clipdistill.evaluate.vlm.textvqa import evalai_answer
from clipdistill.evaluate.vqa_score import vqa_score

NAME = "vqa_v2"
HOW = "give the folder of v2_OpenEnded_mscoco_val2014_questions.json and v2_mscoco_val2014_annotations.json"


def read_vqa_v2(path: str | Path, split: str | None = None) -> list[Question]:
    """Read a folder's questions of a split ("val" unless said), with ten answers each where it has annotations.

    A questions file alone has no answers: good for a submission. Groups: `answer_type`, `question_type`.

    Raises:
        UserError: a file or field is missing or wrong, or a question has no annotation.
    """
    place = Path(path)
    file, annotated = files_of(place, split or "val") if place.is_dir() else (place, None)
    content = Row(file, "the object", read_json(file, HOW, NAME), HOW, NAME)
    known = {}
    if annotated is not None:
        annotations = Row(annotated, "the object", read_json(annotated, HOW, NAME), HOW, NAME)
        known = {row.number("question_id"): row for row in annotations.rows("annotations")}
    pictures = str(content.values.get("data_subtype") or "val2014").replace("-dev", "")  # test-dev's are test's
    found = []
    for row in content.rows("questions"):
        number = row.number("question_id")
        if annotated is not None and number not in known:
            raise row.bad("question_id", f"{number} has no annotation in {annotated}")
        gold, groups = _annotation(known[number]) if annotated is not None else ((), {})
        image = f"COCO_{pictures}_{row.number('image_id'):012d}.jpg"
        found.append(Question(str(number), f"{row.text('question')}\n{SHORT}", gold, image, groups=groups))
    return found


def _annotation(row: Row) -> tuple[tuple[str, ...], dict[str, str]]:
    given = tuple(one.get("answer") for one in row.rows("answers"))
    if not all(isinstance(one, str) for one in given):
        raise row.bad("answers", "holds an answer without a text in `answer`")
    if len(given) != ANSWERS:
        raise row.bad("answers", f"holds {len(given)}, not {ANSWERS}")
    return given, {kind: str(row.values.get(kind) or "") for kind in ("answer_type", "question_type")}


def score_vqa_v2(questions: Sequence[Question], answers: Answers, rule: str = "official") -> Metrics:
    """`accuracy`, and by type of answer and of question.

    official: answers on which all ten agree are compared letter by letter, others are processed first. lmms_eval:
    always processed. tinyllava: the answer goes to the official server as TextVQA's processing leaves it.
    """
    scores = []
    for question in questions:
        said = answers.get(question.id)
        if said is not None and rule == "tinyllava":
            said = evalai_answer(said)
        always = rule == "lmms_eval"
        scores.append(0.0 if said is None else vqa_score(said, question.gold, always_normalise=always))
    return by_group(questions, scores, ("answer_type", "question_type"))


def write_answers(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write the server's JSON of every question; where an answer is missing it is empty, for the server wants all."""
    ids = [question.id for question in questions]
    write_vqa_submission(path, [int(one) for one in ids], [answers.get(one, "") for one in ids])


VQA_V2 = Benchmark(
    NAME,
    ("official", "lmms_eval", "tinyllava"),
    HOW,
    read_vqa_v2,
    score_vqa_v2,
    write_answers,
    {"accuracy": ("vqav2_val", "exact_match")},
    splits=True,
)
