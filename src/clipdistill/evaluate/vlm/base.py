"""What the benchmarks of vision-language models share: questions, rules, answers that are missing or too many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipdistill.errors import UserError, nearest

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
"""How LLaVA 1.5 asks for an answer (its docs/Evaluation.md)."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Metrics = dict[str, float]
"""Name -> value. Rates lie between 0 and 1, MME's scores are points, and what counts something is a whole number."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark.

    Attributes:
        id: names it among the benchmark's questions.
        prompt: as LLaVA asks it, without the place of the picture; empty where the file has no question.
        gold: what is right: one answer, several of which each is right, or those of ten people; none = not published.
        image: its picture, relative to the benchmark's folder of pictures; None = it has none, or the file names none.
        options: of multiple choice, in the order of their letters.
        groups: what it belongs to: kind of group -> group.
    """

    id: str
    prompt: str
    gold: tuple[str, ...]
    image: str | None = None
    options: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


Answers = Mapping[str, str]
"""Id of a question -> what the model said, word for word."""
Score = Callable[[Sequence[Question], Answers, str], Metrics]
Place = Callable[[Sequence[Question]], Callable[[str, str], list[str]]]
"""Of questions, a function of an answers file's (question_id, prompt) that gives the ids it may stand for."""


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is read, scored and handed in.

    Attributes:
        name: what commands call it.
        rules: ways of scoring; the first is what published numbers of such models follow.
        how: where its files are, and their names.
        read: (path, split) -> questions; the split is None where nothing is said.
        score: (questions, answers, rule) -> metrics; see `check` for what was looked at before.
        write: (path, questions, answers) writes the file or folder that the benchmark's own tool or server takes.
        lmms: metric -> (lmms-eval's task, its metric), of what rule `lmms_eval` gives.
        splits: whether it has any.
        place: which questions an answer may stand for, where the usual files don't carry their ids.
    """

    name: str
    rules: tuple[str, ...]
    how: str
    read: Callable[[Path, str | None], list[Question]]
    score: Score
    write: Callable[[Path, Sequence[Question], Answers], None]
    lmms: Mapping[str, tuple[str, str]]
    splits: bool = False
    place: Place | None = None


def check(name: str, questions: Sequence[Question], answers: Answers) -> list[str]:
    """Return the ids of questions without an answer, in order. What is missing counts as wrong.

    Raises:
        UserError: no questions, two with the same id, a gold answer that isn't published, or an answer to a question
            that isn't there.
    """
    counts = Counter(question.id for question in questions)
    if not counts:
        raise UserError(f"{name}: no questions")
    twice, count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(f"{name}: question '{twice}' is there {count} times; give each an id of its own")
    without = [question.id for question in questions if not question.gold]
    if without:
        raise UserError(
            f"{name}: {len(without)} of {len(questions)} questions have no published answer, the first: "
            f"'{without[0]}'; write a submission instead"
        )
    unknown = [one for one in answers if one not in counts]
    if unknown:
        raise UserError(
            f"{name}: {len(unknown)} answers to questions that aren't there, the first: '{unknown[0]}'."
            f"{nearest(unknown[0], counts) if len(counts) < 10_000 else ''}"
        )
    return [question.id for question in questions if question.id not in answers]


def require_rule(benchmark: Benchmark, rule: str | None) -> str:
    """Return the rule, or the default for None. Raises `UserError` for one that the benchmark hasn't."""
    if rule is None:
        return benchmark.rules[0]
    if rule not in benchmark.rules:
        rules = ", ".join(benchmark.rules)
        raise UserError(f"{benchmark.name}: no rule '{rule}'; there are {rules}.{nearest(rule, benchmark.rules)}")
    return rule


def mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing."""
    kept = list(values)
    return sum(kept) / len(kept) if kept else 0.0


def by_group(questions: Sequence[Question], scores: Sequence[float], kinds: Iterable[str]) -> Metrics:
    """`accuracy`, and `accuracy/GROUP` of each group of these kinds, in alphabetical order within a kind."""
    found: Metrics = {"accuracy": mean(scores)}
    for kind in kinds:
        parts: dict[str, list[float]] = defaultdict(list)
        for question, score in zip(questions, scores, strict=True):
            if group := question.groups.get(kind):
                parts[group].append(score)
        found |= {f"accuracy/{group}": mean(part) for group, part in sorted(parts.items())}
    return found


def with_options(question: str, options: Sequence[str], form: str = "{}. {}") -> str:
    """A question and its options, a line each."""
    return "\n".join([question, *(form.format(*each) for each in zip(LETTERS, options, strict=False))])
