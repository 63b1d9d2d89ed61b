"""GQA: testdev_balanced_questions.json, exact match.

Source: Hudson and Manning 2019 and their eval.py; the conversion of LLaVA and TinyLLaVA Factory; lmms-eval's `gqa`.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path

from clipdistill.evaluate.rows import json_rows
from clipdistill.evaluate.vlm.base import SHORT, Answers, Benchmark, Metrics, Question, by_group
from clipdistill.files import write_text

NAME = "gqa"
FILE = "testdev_balanced_questions.json"
HOW = f"give {FILE} of GQA's questions1.2, or its folder"
_WITHOUT_MARKS = str.maketrans("", "", string.punctuation)


def read_gqa(path: str | Path, split: str | None = None) -> list[Question]:
    """Read GQA's questions, an object of id -> question; of a folder, those of a split ("testdev_balanced").

    Groups: `form` (binary, or open where the structural type is "query"), `structural`, `semantic`. Questions that
    aren't balanced are left out, as the official script leaves them out of the accuracy.

    Raises:
        UserError: a file or field is missing or wrong.
    """
    file = Path(path)
    if file.is_dir():
        file = file / f"{split or 'testdev_balanced'}_questions.json"
    found = []
    for row in json_rows(file, HOW, NAME, keyed=True):
        if row.values.get("isBalanced") is False:
            continue
        number = row.place.removeprefix("row '").removesuffix("'")
        groups = {}
        if "types" in row.values:
            types = row.nested("types")
            groups = {kind: types.text(kind) for kind in ("structural", "semantic")}
            groups["form"] = "open" if groups["structural"] == "query" else "binary"
        gold = (row.text("answer"),) if "answer" in row.values else ()
        image = f"{row.text('imageId')}.jpg"
        found.append(Question(number, f"{row.text('question')}\n{SHORT}", gold, image, groups=groups))
    return found


RULES: dict[str, Callable[[str], str]] = {
    "tinyllava": lambda text: text.rstrip(".").lower(),
    "official": lambda text: text,
    "lmms_eval": lambda text: text.lower().translate(_WITHOUT_MARKS),
}
"""Rule -> what is compared. lmms-eval treats the gold answer so too; those of GQA are lower case and without stops."""


def score_gqa(questions: Sequence[Question], answers: Answers, rule: str = "tinyllava") -> Metrics:
    """`accuracy`, and by form (binary, open), structural and semantic type.

    tinyllava (and LLaVA): full stops at the end go, lower case, then the official exact match. official: word for word;
    it was made for answers from a list, and "Yes" isn't "yes". lmms_eval: lower case, no punctuation, on both sides.
    """
    plain = RULES[rule]
    wanted = plain if rule == "lmms_eval" else str
    scores = [
        float(question.id in answers and plain(answers[question.id]) == wanted(question.gold[0]))
        for question in questions
    ]
    return by_group(questions, scores, ("form", "structural", "semantic"))


def write_predictions(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write the predictions that the official eval.py reads, as LLaVA converts them; it wants all questions."""
    plain = RULES["tinyllava"]
    rows = [{"questionId": one.id, "prediction": plain(answers.get(one.id, ""))} for one in questions]
    write_text(path, json.dumps(rows, ensure_ascii=False) + "\n")


GQA = Benchmark(
    NAME, tuple(RULES), HOW, read_gqa, score_gqa, write_predictions, {"accuracy": ("gqa", "exact_match")}, splits=True
)
