"""TextVQA: val JSON, ten answers a question, EvalAI's processing of answers; with OCR tokens in the prompt or without.

Source: Singh et al. 2019; the M4C evaluator of MMF (Pythia), which LLaVA and TinyLLaVA Factory use; lmms-eval's
`textvqa_val`. All score alike; they differ in the prompt: LLaVA's has OCR tokens, lmms-eval's default has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from clipdistill.data.vqa_answers import ANSWERS
from clipdistill.evaluate.rows import Row, read_json
from clipdistill.evaluate.submissions import write_vqa_submission
from clipdistill.evaluate.vlm.base import SHORT, Answers, Benchmark, Metrics, Question, by_group
from clipdistill.evaluate.vqa_score import leave_one_out, normalise

NAME = "textvqa"
FILE = "TextVQA_0.5.1_val.json"
OCR = "Reference OCR token: "
HOW = f"give {FILE}, or its folder (textvqa.org)"


def read_textvqa(path: str | Path, split: str | None = None, ocr: str | Path | None = None) -> list[Question]:
    """Read TextVQA_0.5.1_val.json.

    split: of a folder, the file's last word: "val" unless said.
    ocr: TextVQA_Rosetta_OCR_v0.2_val.json: its tokens go into the prompt, as in LLaVA's questions; none = they don't.

    Raises:
        UserError: a file or field is missing or wrong, or a picture has no OCR tokens.
    """
    file = Path(path)
    if file.is_dir():
        file = file / FILE.replace("val", split or "val")
    tokens = _tokens(Path(ocr)) if ocr is not None else None
    found = []
    for row in Row(file, "the object", read_json(file, HOW, NAME), HOW, NAME).rows("data"):
        image, lines = row.text("image_id"), [row.text("question")]
        if tokens is not None:
            if image not in tokens:
                raise row.bad("image_id", f"'{image}' has no OCR tokens in {ocr}")
            lines.append(OCR + ", ".join(tokens[image]))
        gold = row.texts("answers", 1) if "answers" in row.values else ()
        if gold and len(gold) != ANSWERS:
            raise row.bad("answers", f"holds {len(gold)}, not {ANSWERS}")
        found.append(Question(str(row.number("question_id")), "\n".join([*lines, SHORT]), gold, f"{image}.jpg"))
    return found


def _tokens(file: Path) -> dict[str, tuple[str, ...]]:
    how = "give TextVQA_Rosetta_OCR_v0.2_val.json"
    rows = Row(file, "the object", read_json(file, how, NAME), how, NAME).rows("data")
    return {row.text("image_id"): row.texts("ocr_tokens", 0) for row in rows}


def evalai_answer(text: str) -> str:
    """The M4C evaluator's way: lower case, no commas or question marks, "'s" apart; then that of VQA's scorer."""
    plain = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return normalise(plain.replace("\n", " ").replace("\t", " ").strip())


def score_textvqa(questions: Sequence[Question], answers: Answers, rule: str = "official") -> Metrics:  # noqa: ARG001
    """`accuracy`: the mean over ten leave-one-out subsets of min(1, matches / 3), answers processed on both sides."""
    scores = []
    for question in questions:
        said = evalai_answer(answers.get(question.id, ""))
        scores.append(leave_one_out([evalai_answer(one) == said for one in question.gold]))
        if question.id not in answers:
            scores[-1] = 0.0  # "the" becomes nothing, and so would an answer that is missing
    return by_group(questions, scores, ())


def place_textvqa(questions: Sequence[Question]) -> Callable[[str, str], list[str]]:
    """LLaVA's answers carry the picture's id: the question is told by its words, which the prompt begins with."""
    ids = {question.id for question in questions}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for question in questions:
        found[Path(question.image or "").stem, question.prompt.split("\n")[0].lower()].append(question.id)

    def place(number: str, prompt: str) -> list[str]:
        lines = [line for line in prompt.removeprefix("<image>\n").split("\n") if not line.startswith(OCR.strip())]
        return [number] if number in ids else found.get((number, lines[0].lower() if lines else ""), [])

    return place


def write_answers(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write EvalAI's JSON, of the same shape as VQA's."""
    ids = [question.id for question in questions]
    write_vqa_submission(path, [int(one) for one in ids], [answers.get(one, "") for one in ids])


TEXTVQA = Benchmark(
    NAME,
    ("official", "lmms_eval"),
    HOW,
    read_textvqa,
    score_textvqa,
    write_answers,
    {"accuracy": ("textvqa_val", "exact_match")},
    splits=True,
    place=place_textvqa,
)
