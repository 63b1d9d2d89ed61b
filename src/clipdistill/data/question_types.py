"""Types of questions by their words: rules from a YAML file, and the table of their shares beside printed ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipdistill.data.sources.base import existing
from clipdistill.errors import UserError, nearest
from clipdistill.yaml_files import read_yaml

FOLDER = Path(__file__).parent / "question_rules"
POLICIES = ("first", "all")


class TypeShare(NamedTuple):
    """One line of the table: how many questions are of the type, their share of all questions and of all matches, in
    per cent, and the printed share of matches (None = none is printed)."""

    type: str
    questions: int
    share: float
    of_matches: float
    printed: float | None


@dataclass(frozen=True)
class QuestionTypes:
    """Rules: a question is of a type when it holds one of the type's words or phrases, as whole words.

    words: type -> its words, in order of priority. policy: "first" = the first type that matches, "all" = every one, in
    that order. fallback: the type of a question that none matches. printed: type -> share of matches in the paper.
    """

    words: dict[str, tuple[str, ...]]
    policy: str = "first"
    fallback: str = "other"
    printed: dict[str, float] | None = None

    def __post_init__(self) -> None:
        patterns = {
            name: re.compile(r"(?<!\w)(?:" + "|".join(_pattern(one) for one in words) + r")(?!\w)", re.IGNORECASE)
            for name, words in self.words.items()
        }
        object.__setattr__(self, "_patterns", patterns)

    @property
    def names(self) -> tuple[str, ...]:
        """The types, without the fallback."""
        return tuple(self.words)

    def of(self, question: str) -> tuple[str, ...]:
        """Return the types of a question, at least one."""
        patterns: dict[str, re.Pattern[str]] = self._patterns  # type: ignore[attr-defined]
        found = []
        for name, pattern in patterns.items():
            if pattern.search(question):
                found.append(name)
                if self.policy == "first":
                    break
        return tuple(found) or (self.fallback,)


def load_question_types(name: str | Path) -> QuestionTypes:
    """Read rules: "vcr" or "petri" (in the package), or a YAML file with `types`, and perhaps `policy`, `fallback`.

    Raises:
        UserError: no such file, or not such rules; names the file, the field and what is allowed.
    """
    shipped = FOLDER / f"{name}.yaml"
    file = shipped if shipped.is_file() else existing(name, "file of question types", "or write vcr or petri")
    content = read_yaml(file)
    if not isinstance(content, dict) or not isinstance(content.get("types"), dict) or not content["types"]:
        raise UserError(f"{file}: no mapping 'types' in it, such as types: {{scene: {{words: [where, near]}}}}")
    known = ("about", "policy", "fallback", "types")
    for key in content:
        if key not in known:
            raise UserError(f"{file}: unknown key '{key}'; there are {', '.join(known)}.{nearest(str(key), known)}")
    policy = content.get("policy", "first")
    if policy not in POLICIES:
        raise UserError(f"{file}: policy '{policy}' is not one of {', '.join(POLICIES)}")
    words: dict[str, tuple[str, ...]] = {}
    printed: dict[str, float] = {}
    for one, rule in content["types"].items():
        given: Any = rule.get("words") if isinstance(rule, dict) else None
        if not isinstance(given, list) or not given or not all(isinstance(w, str) and w.strip() for w in given):
            raise UserError(f"{file}: type '{one}' needs 'words', a list of words or phrases in quotes where YAML asks")
        words[str(one)] = tuple(given)
        if isinstance(rule.get("share"), int | float):
            printed[str(one)] = float(rule["share"])
    fallback = str(content.get("fallback", "other"))
    if fallback in words:
        raise UserError(f"{file}: fallback '{fallback}' is a type of its own; give it another name")
    return QuestionTypes(words, policy, fallback, printed or None)


def type_shares(types: QuestionTypes, questions: Iterable[str]) -> list[TypeShare]:
    """Count the questions of each type, the fallback last; see `TypeShare`. Empty when there are no questions."""
    counts = dict.fromkeys((*types.names, types.fallback), 0)
    total = 0
    for question in questions:
        total += 1
        for name in types.of(question):
            counts[name] += 1
    if not total:
        return []
    matches = sum(counts[name] for name in types.names)
    printed = types.printed or {}
    return [
        TypeShare(
            name,
            count,
            100 * count / total,
            100 * count / matches if matches and name != types.fallback else 0.0,
            printed.get(name),
        )
        for name, count in counts.items()
    ]


def shares_table(shares: Iterable[TypeShare]) -> str:
    """The table as Markdown, the printed shares in the last column."""
    lines = ["| type | questions | share | of matches | printed |", "|---|---|---|---|---|"]
    for one in shares:
        printed = "" if one.printed is None else f"{one.printed:g} %"
        lines.append(f"| {one.type} | {one.questions:,} | {one.share:.1f} % | {one.of_matches:.1f} % | {printed} |")
    return "\n".join(lines)


def _pattern(phrase: str) -> str:
    return r"\s+".join(re.escape(word) for word in phrase.split())
