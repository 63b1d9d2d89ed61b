"""MME: two yes-no questions a picture; accuracy and accuracy-plus of each category, perception and cognition.

Source: Fu et al. 2023 and their eval_tool/calculation.py; LLaVA's convert_answer_to_mme.py; lmms-eval's `mme`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from clipdistill.data.sources.base import IMAGE_SUFFIXES
from clipdistill.errors import UserError
from clipdistill.evaluate.rows import read_text
from clipdistill.evaluate.vlm.base import SHORT, Answers, Benchmark, Metrics, Question, mean
from clipdistill.files import write_text

NAME = "mme"
PERCEPTION = tuple("existence count position color posters celebrity scene landmark artwork OCR".split())
COGNITION = tuple("commonsense_reasoning numerical_calculation text_translation code_reasoning".split())
YES_OR_NO = "Please answer yes or no."
HOW = "give MME_Benchmark_release_version, with a folder a category, or the eval tool's folder of CATEGORY.txt files"


def read_mme(path: str | Path, split: str | None = None) -> list[Question]:  # noqa: ARG001
    """Read the categories that are there, in the official tool's order; those that aren't are left out.

    A category's folder holds pictures and `PICTURE.txt` of lines question, tab, answer, together or in `images` and
    `questions_answers_YN`. The eval tool's form is `CATEGORY.txt`, of lines picture, question, answer (and perhaps a
    model's answer, which isn't read), with tabs. Ids are CATEGORY/PICTURE#1 and #2, the picture without its suffix.

    Raises:
        UserError: no category, a line that isn't of this form, or a picture without exactly two questions.
    """
    root = Path(path)
    root = next((one for one in (root / "MME_Benchmark_release_version", root) if one.is_dir()), root)
    root = next((one for one in (root / "MME_Benchmark", root) if one.is_dir()), root)
    found = []
    for category in PERCEPTION + COGNITION:
        if (root / f"{category}.txt").is_file():
            found += _of_the_tool(category, root / f"{category}.txt")
        elif (root / category).is_dir():
            found += _of_a_folder(category, root / category)
    if not found:
        raise UserError(f"{NAME}: {root} holds no category; {HOW}")
    return found


def _of_the_tool(category: str, file: Path) -> list[Question]:
    pictures: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for number, (picture, question, gold) in _lines(file, ("picture", "question", "answer")):
        pictures[Path(picture).stem].append((question, _gold(file, number, gold), picture))
    return [one for stem, pairs in pictures.items() for one in _pair(category, stem, pairs, file)]


def _of_a_folder(category: str, folder: Path) -> list[Question]:
    apart = (folder / "images").is_dir() and (folder / "questions_answers_YN").is_dir()
    texts, images = (folder / "questions_answers_YN", folder / "images") if apart else (folder, folder)
    suffixes = {one.stem: one.suffix for one in images.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES}
    found = []
    for file in sorted(texts.glob("*.txt")):
        name = f"{category}{'/images' if apart else ''}/{file.stem}{suffixes.get(file.stem, '')}"
        lines = _lines(file, ("question", "answer"))
        pairs = [(question, _gold(file, number, gold), name) for number, (question, gold) in lines]
        if file.stem not in suffixes:
            pairs = [(question, gold, "") for question, gold, _ in pairs]
        found += _pair(category, file.stem, pairs, file)
    return found


def _lines(file: Path, fields: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    found = []
    for number, line in enumerate(read_text(file, HOW, NAME).split("\n"), 1):
        if not line.strip():
            continue
        parts = line.rstrip("\r").split("\t")
        if len(parts) < len(fields):
            raise UserError(f"{NAME}: {file}, line {number}: lacks `{fields[len(parts)]}` behind a tab; {HOW}")
        found.append((number, parts[: len(fields)]))
    return found


def _gold(file: Path, number: int, answer: str) -> str:
    gold = answer.strip().lower()
    if gold not in ("yes", "no"):
        raise UserError(f"{NAME}: {file}, line {number}, `answer`: is '{answer.strip()}', neither yes nor no; {HOW}")
    return gold


def _pair(category: str, stem: str, pairs: Sequence[tuple[str, str, str]], file: Path) -> list[Question]:
    if len(pairs) != 2:
        raise UserError(f"{NAME}: {file}: picture {stem} has {len(pairs)} questions, not 2; {HOW}")
    groups = {"category": category, "picture": f"{category}/{stem}"}
    return [
        Question(
            f"{category}/{stem}#{n}",
            f"{_plain(text)}\n{SHORT}",
            (gold,),
            image or None,
            groups=groups | {"asked": text},
        )
        for n, (text, gold, image) in enumerate(pairs, 1)
    ]


def _plain(text: str) -> str:
    """A question without what asks for yes or no, or for a word: LLaVA asks in its own way."""
    return " ".join(text.replace(SHORT, " ").replace(YES_OR_NO, " ").split())


def parse_official(said: str) -> str:
    """yes or no within the first four characters of the answer in lower case, yes before no; else "other".

    So "know" is a no, and a "yes" behind two spaces is none.
    """
    start = said.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def parse_lmms_eval(said: str) -> str:
    """As the official tool, but spaces around the answer and all full stops go first, and "y" and "n" count."""
    plain = said.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(plain, parse_official(plain))


def score_mme(questions: Sequence[Question], answers: Answers, rule: str = "official") -> Metrics:
    """`perception` and `cognition`: sums over categories of `score/CATEGORY`, (accuracy + accuracy-plus) x 100.

    Accuracy-plus is the share of pictures of which both questions are answered rightly. Perception ends at 2,000 and
    cognition at 800 where all categories are there; `categories` counts them. `other` counts answers that are neither.
    """
    parse: Callable[[str], str] = parse_official if rule == "official" else parse_lmms_eval
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    other = 0
    for question in questions:
        said = parse(answers[question.id]) if question.id in answers else ""
        other += said == "other"
        right[question.groups["category"]][question.groups["picture"]].append(said == question.gold[0])
    accuracy = {name: mean(one for pair in part.values() for one in pair) for name, part in right.items()}
    plus = {name: mean(all(pair) for pair in part.values()) for name, part in right.items()}
    scores = {name: 100 * (accuracy[name] + plus[name]) for name in right}
    found: Metrics = {
        "perception": sum(scores.get(name, 0.0) for name in PERCEPTION),
        "cognition": sum(scores.get(name, 0.0) for name in COGNITION),
        "categories": len(right),
        "other": other,
    }
    for kind, values in (("score", scores), ("accuracy", accuracy), ("accuracy_plus", plus)):
        found |= {f"{kind}/{name}": value for name, value in values.items()}
    return found


def place_mme(questions: Sequence[Question]) -> Callable[[str, str], list[str]]:
    """LLaVA's answers carry the picture's path, twice: the question is told by its words."""
    ids = {question.id for question in questions}
    asked = {(one.groups["picture"], one.prompt.split("\n")[0]): one.id for one in questions}

    def place(number: str, prompt: str) -> list[str]:
        category, _, name = number.partition("/")
        key = f"{category}/{Path(name).stem}", _plain(prompt.removeprefix("<image>"))
        return [number] if number in ids else [asked[key]] if key in asked else []

    return place


def write_results(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write a folder of what calculation.py reads: CATEGORY.txt, of lines picture, question, answer, model's answer.

    Line breaks and tabs within an answer become spaces. The tool takes lines in pairs, so both of a picture follow
    each other.
    """
    lines: dict[str, list[str]] = defaultdict(list)
    for one in questions:
        picture = (one.image or one.groups["picture"]).rsplit("/", 1)[-1]
        said = " ".join(answers.get(one.id, "").split())
        row = (picture, one.groups["asked"], one.gold[0].capitalize(), said)
        lines[one.groups["category"]].append("\t".join(row) + "\n")
    for category, some in lines.items():
        write_text(path / f"{category}.txt", "".join(some))


MME = Benchmark(
    NAME,
    ("official", "lmms_eval"),
    HOW,
    read_mme,
    score_mme,
    write_results,
    {name: ("mme", f"mme_{name}_score") for name in ("perception", "cognition")},
    place=place_mme,
)
